package throttle_test

import (
	"testing"
	"time"

	"github.com/bearerkit/bearerkit/tokenauth/throttle"
)

// A storage may drop a counter when it no longer counts: an account's after a
// hundred days, and that of a source, of which there can be very many, much
// sooner.
func TestCountersExpireByLayer(t *testing.T) {
	t.Parallel()
	now := time.Now().UnixMilli()
	const day = 24 * time.Hour
	for layer, want := range []time.Duration{day, 100 * day, time.Hour, time.Hour, 100 * day} {
		key := throttle.Key{byte(layer)}
		c := throttle.Counter{Failures: 1, FailedAt: now}
		end := now + want.Milliseconds()
		if got := c.ExpiresAt(key); got != end {
			t.Errorf("layer %d expires at %d, want %d", layer, got, end)
		}
		if before, after := c.FailuresNow(key, end-1), c.FailuresNow(key, end); before != 1 || after != 0 {
			t.Errorf("layer %d has %d failures before its end and %d after it", layer, before, after)
		}
		c.SucceededAt = now
		if got := c.ExpiresAt(key); got != now+max(want, 30*day).Milliseconds() {
			t.Errorf("layer %d with a success expires at %d", layer, got)
		}
	}
	pending := throttle.Counter{Pending: 2, PendingAt: now}
	end := pending.ExpiresAt(throttle.Key{})
	if before, after := pending.PendingNow(end-1), pending.PendingNow(end); before != 2 || after != 0 || end != now+60_000 {
		t.Errorf("%d attempts are pending before %d and %d after it", before, end, after)
	}
}
