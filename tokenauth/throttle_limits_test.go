package tokenauth

import (
	"net/netip"
	"testing"
	"time"
)

// What a storage keeps of a failure goes when it no longer counts: an account's
// after a hundred days, and the many that a crowd of made-up names leaves
// behind, one for each source, much sooner.
func TestCountersExpireByKind(t *testing.T) {
	t.Parallel()
	th, err := newThrottle(nil, ThrottleOptions{MaxCounters: 1000}, time.Now, func(error) {})
	if err != nil {
		t.Fatal(err)
	}
	keys := th.keys("alice", netip.MustParseAddr("2001:db8::1"))
	now := time.Now().UnixMilli()
	for i, want := range []time.Duration{24 * time.Hour, 100 * 24 * time.Hour, time.Hour, time.Hour} {
		c := Counter{Failures: 1, FailedAt: now}
		if got := time.Duration(c.ForgetAt(keys[i])-now) * time.Millisecond; got != want {
			t.Errorf("layer %d is forgotten after %v, want %v", i, got, want)
		}
		c.SucceededAt = now
		if got := time.Duration(c.ForgetAt(keys[i])-now) * time.Millisecond; got != max(want, 30*24*time.Hour) {
			t.Errorf("layer %d with a success is forgotten after %v", i, got)
		}
	}
	if got := (Counter{Failures: 1, FailedAt: now}).ForgetAt(CounterKey{255}); got != now+milliseconds(100*24*time.Hour) {
		t.Errorf("a key of another version is forgotten at %d", got)
	}
}
