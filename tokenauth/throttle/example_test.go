package throttle_test

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/bearerkit/bearerkit/tokenauth/throttle"
)

// counters is the smallest throttle.Storage: a map and a lock. A real one also
// drops each counter after its ExpiresAt.
type counters struct {
	mu sync.Mutex
	m  map[throttle.Key]throttle.Counter
}

func (c *counters) UpdateCounters(_ context.Context, keys []throttle.Key, change func([]throttle.Counter)) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	values := make([]throttle.Counter, len(keys))
	for i, key := range keys {
		values[i] = c.m[key]
	}
	change(values)
	for i, key := range keys {
		c.m[key] = values[i]
	}
	return nil
}

// A storage implements one method, which reads, changes and stores counters in
// one step.
func ExampleStorage() {
	var storage throttle.Storage = &counters{m: make(map[throttle.Key]throttle.Counter)}
	source := throttle.Key{2} // 2: the counter of a source
	start := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC).UnixMilli()

	for range 3 {
		storage.UpdateCounters(context.Background(), []throttle.Key{source}, func(c []throttle.Counter) {
			c[0].Failures++
			c[0].FailedAt = start
		})
	}
	storage.UpdateCounters(context.Background(), []throttle.Key{source}, func(c []throttle.Counter) {
		fmt.Println("failures now:", c[0].FailuresNow(source, start))
		fmt.Println("an hour later:", c[0].FailuresNow(source, start+time.Hour.Milliseconds()))
		fmt.Println("may be dropped from:", time.UnixMilli(c[0].ExpiresAt(source)).UTC().Format(time.TimeOnly))
	})
	// Output:
	// failures now: 3
	// an hour later: 0
	// may be dropped from: 12:45:00
}
