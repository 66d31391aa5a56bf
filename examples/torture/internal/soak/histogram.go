package soak

import (
	"math/bits"
	"time"
)

// A histogram counts durations in constant space, with an error of at most 3 %.
type histogram struct {
	n      int64
	worst  time.Duration
	counts [64 * perDoubling]int64
}

const perDoubling = 32

func bucketOf(d time.Duration) int {
	n := uint64(max(d, 0))
	if n < perDoubling {
		return int(n)
	}
	shift := bits.Len64(n) - bits.Len64(perDoubling)
	return (shift+1)*perDoubling + int(n>>shift) - perDoubling
}

// middleOf returns the middle of a bucket.
func middleOf(bucket int) time.Duration {
	if bucket < perDoubling {
		return time.Duration(bucket)
	}
	shift := bucket/perDoubling - 1
	return time.Duration(uint64(bucket%perDoubling+perDoubling)<<shift + 1<<shift/2)
}

func (h *histogram) add(d time.Duration) {
	h.n++
	h.worst = max(h.worst, d)
	h.counts[bucketOf(d)]++
}

// quantile returns the quantile q, 0 to 1, of all durations. It is zero if there are
// none.
func (h *histogram) quantile(q float64) time.Duration {
	left := int64(q * float64(h.n))
	for bucket, n := range h.counts {
		if left -= n; left < 0 {
			return min(middleOf(bucket), h.worst)
		}
	}
	return h.worst
}
