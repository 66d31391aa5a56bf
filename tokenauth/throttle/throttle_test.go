package throttle_test

import (
	"testing"
	"time"

	"github.com/bearerkit/bearerkit/tokenauth/throttle"
)

const day = 24 * time.Hour

const codeForgiven = 365 * day / 150

// A storage may drop a counter that no longer counts. An account's counter
// counts for 100 days. A source's counter counts for a much shorter time,
// because there can be very many sources.
func TestCountersExpireByLayer(t *testing.T) {
	t.Parallel()
	now := time.Now().UnixMilli()
	for layer, want := range []time.Duration{day, 100 * day, 15 * time.Minute, 15 * time.Minute, 100 * day, codeForgiven, 100 * day} {
		key := throttle.Key{byte(layer)}
		c := throttle.Counter{Failures: 1, FailedAt: now}
		end := now + want.Milliseconds()
		if got := c.ExpiresAt(key); got != end {
			t.Errorf("key kind %d: ExpiresAt = %d, want %d", layer, got, end)
		}
		if before, after := c.FailuresNow(key, end-1), c.FailuresNow(key, end); before != 1 || after != 0 {
			t.Errorf("key kind %d: FailuresNow = %d before it expires and %d after, want 1 and 0", layer, before, after)
		}
		c.SucceededAt = now
		if got := c.ExpiresAt(key); got != now+max(want, 30*day).Milliseconds() {
			t.Errorf("key kind %d with a success: ExpiresAt = %d", layer, got)
		}
	}
	pending := throttle.Counter{Pending: 2, PendingAt: now}
	end := pending.ExpiresAt(throttle.Key{})
	if before, after := pending.PendingNow(end-1), pending.PendingNow(end); before != 2 || after != 0 || end != now+60_000 {
		t.Errorf("PendingNow = %d before %d and %d after, want 2 and 0 at one minute", before, end, after)
	}
}

// A source's counter loses one failure each quarter of an hour. When it
// expires, it equals the zero value.
func TestFailuresOfASourceAreForgivenOneByOne(t *testing.T) {
	t.Parallel()
	now := time.Now().UnixMilli()
	for _, failures := range []int64{1, 7, 100, 1 << 40} {
		key := throttle.Key{2}
		c := throttle.Counter{Failures: failures, FailedAt: now}
		for _, quarters := range []int64{0, 1, 5, 99} {
			at := now + quarters*(15*time.Minute).Milliseconds()
			if got, want := c.FailuresNow(key, at), max(0, failures-quarters); got != want {
				t.Errorf("of %d failures, %d count after %d quarters of an hour, want %d", failures, got, quarters, want)
			}
		}
		end := c.ExpiresAt(key)
		if got := c.FailuresNow(key, end); got != 0 || end > now+(100*day).Milliseconds() {
			t.Errorf("of %d failures, %d count when the counter expires, after %v; want 0, and at most 100 days", failures, got, time.Duration(end-now)*time.Millisecond)
		}
		if got := c.FailuresNow(key, now-day.Milliseconds()); got != failures {
			t.Errorf("of %d failures, %d count after the clock was set back, want all", failures, got)
		}
	}
}

// The counter of codes in a year loses one failure every 58.4 hours, and all of
// 150 in 365 days.
func TestCodesOfAYearAreForgivenOneByOne(t *testing.T) {
	t.Parallel()
	now := time.Now().UnixMilli()
	key := throttle.Key{5}
	for _, failures := range []int64{1, 7, 150} {
		c := throttle.Counter{Failures: failures, FailedAt: now}
		for _, n := range []int64{0, 1, 5, 149, 150} {
			at := now + n*codeForgiven.Milliseconds()
			if got, want := c.FailuresNow(key, at), max(0, failures-n); got != want {
				t.Errorf("of %d wrong codes, %d count after %d intervals, want %d", failures, got, n, want)
			}
			if got, want := c.FailuresNow(key, at-1), min(failures, max(0, failures-n+1)); got != want {
				t.Errorf("of %d wrong codes, %d count just before %d intervals, want %d", failures, got, n, want)
			}
		}
		if end := c.ExpiresAt(key); end != now+failures*codeForgiven.Milliseconds() {
			t.Errorf("%d wrong codes expire after %v", failures, time.Duration(end-now)*time.Millisecond)
		}
	}
	corrupt := throttle.Counter{Failures: 1 << 60, FailedAt: now}
	if end := corrupt.ExpiresAt(key); end != now+(365*day).Milliseconds() {
		t.Errorf("a corrupt counter expires after %v, want a year", time.Duration(end-now)*time.Millisecond)
	}
}

// A day without a failure resets the failures of an account from a source. But
// if the user signed in from that source before, only a success or the end of
// that time resets them.
func TestFailuresOfAKnownSourceAreCountedInARow(t *testing.T) {
	t.Parallel()
	now := time.Now().UnixMilli()
	c := throttle.Counter{Failures: 99, FailedAt: now, SucceededAt: now - (10 * day).Milliseconds()}
	for days, want := range map[int64]int64{0: 99, 2: 99, 19: 99, 21: 0} {
		if got := c.FailuresNow(throttle.Key{}, now+days*day.Milliseconds()); got != want {
			t.Errorf("%d failures count after %d days, want %d", got, days, want)
		}
	}
}
