package redisstore

import (
	"testing"

	"github.com/bearerkit/bearerkit/tokenauth/throttle"
)

// Each counter has exactly one encoding, and each valid encoding is that of one
// counter.
func FuzzCounter(f *testing.F) {
	f.Add("\x01\x02\x02\x02\x02\x02", int64(3), int64(1_790_000_000_000), int64(-1), int64(0), int64(-1<<63))
	f.Add("\x01\x80\x00\x02\x02\x02\x02", int64(0), int64(0), int64(0), int64(0), int64(0))
	f.Fuzz(func(t *testing.T, value string, failures, failedAt, pending, pendingAt, succeededAt int64) {
		if c, err := decodeCounter(value); err == nil && encodeCounter(c) != value {
			t.Errorf("decoded and encoded again, %q becomes %q", value, encodeCounter(c))
		}
		c := throttle.Counter{Failures: failures, FailedAt: failedAt, Pending: pending, PendingAt: pendingAt, SucceededAt: succeededAt}
		if c == (throttle.Counter{}) {
			return
		}
		if got, err := decodeCounter(encodeCounter(c)); err != nil || got != c {
			t.Errorf("encoded and decoded again, %+v becomes %+v, error %v", c, got, err)
		}
	})
}
