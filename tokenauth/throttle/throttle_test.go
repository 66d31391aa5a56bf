package throttle_test

import (
	"testing"
	"time"

	"github.com/bearerkit/bearerkit/tokenauth/throttle"
)

const day = 24 * time.Hour

// A storage may drop a counter when it no longer counts: an account's after a
// hundred days, and that of a source, of which there can be very many, much
// sooner.
func TestCountersExpireByLayer(t *testing.T) {
	t.Parallel()
	now := time.Now().UnixMilli()
	for layer, want := range []time.Duration{day, 100 * day, 15 * time.Minute, 15 * time.Minute, 100 * day} {
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

// The counter of a source equals the zero value when it expires, and has one
// failure less each quarter of an hour until then.
func TestFailuresOfASourceAreForgivenOneByOne(t *testing.T) {
	t.Parallel()
	now := time.Now().UnixMilli()
	for _, failures := range []int64{1, 7, 100, 1 << 40} {
		key := throttle.Key{2}
		c := throttle.Counter{Failures: failures, FailedAt: now}
		for _, quarters := range []int64{0, 1, 5, 99} {
			at := now + quarters*(15*time.Minute).Milliseconds()
			if got, want := c.FailuresNow(key, at), max(0, failures-quarters); got != want {
				t.Errorf("of %d failures %d count after %d quarters of an hour, want %d", failures, got, quarters, want)
			}
		}
		end := c.ExpiresAt(key)
		if got := c.FailuresNow(key, end); got != 0 || end > now+(100*day).Milliseconds() {
			t.Errorf("of %d failures %d count at the end, which is %v away", failures, got, time.Duration(end-now)*time.Millisecond)
		}
		if got := c.FailuresNow(key, now-day.Milliseconds()); got != failures {
			t.Errorf("of %d failures %d count when the clock was set back", failures, got)
		}
	}
}

// A day resets the failures of an account from a source, unless the user signed in
// from there before them: those have to be counted in a row.
func TestFailuresOfAKnownSourceAreCountedInARow(t *testing.T) {
	t.Parallel()
	now := time.Now().UnixMilli()
	c := throttle.Counter{Failures: 99, FailedAt: now, SucceededAt: now - (10 * day).Milliseconds()}
	for days, want := range map[int64]int64{0: 99, 2: 99, 19: 99, 21: 0} {
		if got := c.FailuresNow(throttle.Key{}, now+days*day.Milliseconds()); got != want {
			t.Errorf("%d failures after %d days, want %d", got, days, want)
		}
	}
}
