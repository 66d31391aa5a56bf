package quota

import (
	"testing"
	"time"
)

var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// admitted returns how many of n records of a source are written.
func admitted(q *Quota, id uint64, now time.Time, n int) (written int) {
	for range n {
		if _, ok := q.Admit(id, now); ok {
			written++
		}
	}
	return written
}

func TestSourceHasABurstAndThenARate(t *testing.T) {
	t.Parallel()
	var q Quota
	if got := admitted(&q, 1, start, 1000); got != 100 {
		t.Errorf("%d are written at once", got)
	}
	now := start
	written := 0
	for range 1000 { // ten seconds
		now = now.Add(10 * time.Millisecond)
		written += admitted(&q, 1, now, 3)
	}
	if written != 100 {
		t.Errorf("%d are written in ten seconds", written)
	}
	if got := admitted(&q, 1, now.Add(time.Hour), 1000); got != 100 {
		t.Errorf("%d are written after an hour", got)
	}
}

func TestSourceDoesNotUseUpAnothers(t *testing.T) {
	t.Parallel()
	var q Quota
	admitted(&q, 1, start, 1000)
	if got := admitted(&q, 2, start, 1000); got != 100 {
		t.Errorf("%d of another source are written", got)
	}
	if got := admitted(&q, 1, start, 1); got != 0 {
		t.Error("the first source got some of the second one's")
	}
}

// Each record that is not written is counted in one that is.
func TestSuppressedRecordsAreCounted(t *testing.T) {
	t.Parallel()
	var q Quota
	written, counted := 0, 0
	const sent = 100_000
	for i := range sent {
		// Sources by the thousand, so that many are forgotten.
		if suppressed, ok := q.Admit(uint64(i%10_000), start.Add(time.Duration(i)*time.Millisecond)); ok {
			written++
			counted += suppressed
		}
	}
	if got := written + counted + q.suppressed; got != sent || q.suppressed == sent || counted == 0 {
		t.Errorf("%d written, %d counted and %d not yet, of %d", written, counted, q.suppressed, sent)
	}
}

// However many sources there are, the log is bounded.
func TestTotalBoundsAnyNumberOfSources(t *testing.T) {
	t.Parallel()
	for _, sources := range []int{20, 1000, 5000, 100_000} {
		var q Quota
		written := 0
		for i := range 100_000 { // in ten seconds
			written += admitted(&q, uint64(i%sources), start.Add(time.Duration(i)*100*time.Microsecond), 1)
		}
		if written > 1000+1000 || written < 1000 {
			t.Errorf("%d records of %d sources are written in ten seconds", written, sources)
		}
	}
}

// While others flood the log, a source that records little is written after a
// short time.
func TestFloodDoesNotSuppressQuietSourcesForLong(t *testing.T) {
	t.Parallel()
	for _, sources := range []int{1, 9, 30, 500, 2000} {
		var q Quota
		const perSecond = 5000
		silent, late := 0, 0
		for second := range 180 {
			for i := range perSecond {
				now := start.Add(time.Duration(second)*time.Second + time.Duration(i)*time.Second/perSecond)
				q.Admit(uint64(1000+(second*perSecond+i)%sources), now)
				if i != perSecond/2 {
					continue
				}
				// One source tries each second until it is written, once in two
				// minutes; others come once and never again.
				if second%120 == 0 {
					silent = 0
				}
				if silent >= 0 {
					silent++
					if _, ok := q.Admit(1, now); ok {
						silent = -1
					}
				}
				if silent > 45 {
					t.Fatalf("beside %d sources, a quiet one is suppressed for %d seconds", sources, silent)
				}
				if _, ok := q.Admit(uint64(1_000_000+second), now); !ok && second >= 60 {
					late++
				}
			}
		}
		if late > 12 {
			t.Errorf("beside %d sources, %d of 120 new ones are suppressed", sources, late)
		}
	}
}

func TestMemoryIsBounded(t *testing.T) {
	t.Parallel()
	var q Quota
	for i := range 100_000 {
		q.Admit(uint64(i), start.Add(time.Duration(i)*time.Microsecond))
		if n := len(q.recent) + len(q.older); n > 2*maxSources {
			t.Fatalf("there are %d sources", n)
		}
	}
}

// A source whose quota is not full again is not forgotten.
func TestSourcesAreRememberedForAMinute(t *testing.T) {
	t.Parallel()
	var q Quota
	now := start
	for step := range 1000 {
		now = now.Add(time.Second)
		q.Admit(uint64(step), now)
		for back := range 60 {
			if id := uint64(step - back); back <= step && q.recent[id] == nil && q.older[id] == nil {
				t.Fatalf("a source is forgotten after %d seconds", back)
			}
		}
	}
}

func TestClockThatStepsBackSuppressesNothingForEver(t *testing.T) {
	t.Parallel()
	var q Quota
	admitted(&q, 1, start, 1000)
	if got := admitted(&q, 2, start.Add(-time.Hour), 1000); got != 100 {
		t.Errorf("%d of another source are written", got)
	}
	if got := admitted(&q, 1, start.Add(time.Minute), 1000); got != 100 {
		t.Errorf("%d are written a minute later", got)
	}
}
