package redisstore

import (
	"sync"

	"github.com/redis/rueidis"
)

// A pulse receives all invalidations on one connection. It counts the
// invalidations of the heartbeat hash, and passes all other invalidations on to
// its function report.
type pulse struct {
	report func(names []string) // called with the names of all other keys; see reporter.invalidated

	mu      sync.Mutex
	key     string // the name of the heartbeat hash; empty on a master without slots
	notices int    // how often the hash was invalidated
}

// invalidated receives the names of keys that have changed. The connection
// calls it in the order in which the server sends the messages. An empty list
// means that any key may have changed.
func (p *pulse) invalidated(keys []rueidis.RedisMessage) {
	if len(keys) == 0 {
		p.report(nil)
		return
	}
	var others []string
	for i := range keys {
		name, err := keys[i].ToString()
		if err != nil || !isBeat(name) {
			others = append(others, name)
			continue
		}
		p.mu.Lock()
		if name == p.key {
			p.notices++
		}
		p.mu.Unlock()
	}
	if len(others) > 0 {
		p.report(others)
	}
}

// listen makes the pulse count the invalidations of key, starting from zero.
func (p *pulse) listen(key string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.key, p.notices = key, 0
}

func (p *pulse) heard() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.notices
}
