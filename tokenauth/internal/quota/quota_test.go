package quota

import (
	"testing"
	"time"
)

var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// admitted returns how many of n records of a source may be written.
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
		t.Errorf("%d records are written at once, want 100", got)
	}
	now := start
	written := 0
	for range 1000 { // ten seconds
		now = now.Add(10 * time.Millisecond)
		written += admitted(&q, 1, now, 3)
	}
	if written != 100 {
		t.Errorf("%d records are written in ten seconds, want 100", written)
	}
	if got := admitted(&q, 1, now.Add(time.Hour), 1000); got != 100 {
		t.Errorf("%d records are written after an hour, want 100", got)
	}
}

func TestSourcesHaveSeparateQuotas(t *testing.T) {
	t.Parallel()
	var q Quota
	admitted(&q, 1, start, 1000)
	if got := admitted(&q, 2, start, 1000); got != 100 {
		t.Errorf("%d records of another source are written, want 100", got)
	}
	if got := admitted(&q, 1, start, 1); got != 0 {
		t.Error("the first source used the quota of the second one")
	}
}

// Each suppressed record is counted in a later written one.
func TestSuppressedRecordsAreCounted(t *testing.T) {
	t.Parallel()
	var q Quota
	written, counted := 0, 0
	const sent = 100_000
	for i := range sent {
		// Use so many sources that many are dropped.
		if suppressed, ok := q.Admit(uint64(i%10_000), start.Add(time.Duration(i)*time.Millisecond)); ok {
			written++
			counted += suppressed
		}
	}
	if got := written + counted + q.suppressed; got != sent || q.suppressed == sent || counted == 0 {
		t.Errorf("%d records are written, %d counted and %d not yet counted; want %d in all", written, counted, q.suppressed, sent)
	}
}

// The number of records is bounded for any number of sources.
func TestTotalBoundsAnyNumberOfSources(t *testing.T) {
	t.Parallel()
	for _, sources := range []int{20, 1000, 5000, 100_000} {
		var q Quota
		written := 0
		for i := range 100_000 { // in ten seconds
			written += admitted(&q, uint64(i%sources), start.Add(time.Duration(i)*100*time.Microsecond), 1)
		}
		if written > 1000+1000 || written < 1000 {
			t.Errorf("%d records of %d sources are written in ten seconds, want 1000 to 2000", written, sources)
		}
	}
}

// While other sources flood the log, a source that writes few records gets one
// within a short time.
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
				// Every two minutes, source 1 begins to try each second until one
				// record is written. Each of the other sources tries only once.
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
					t.Fatalf("beside %d sources, a quiet source is suppressed for %d seconds", sources, silent)
				}
				if _, ok := q.Admit(uint64(1_000_000+second), now); !ok && second >= 60 {
					late++
				}
			}
		}
		if late > 12 {
			t.Errorf("beside %d sources, %d of 120 new sources are suppressed, want at most 12", sources, late)
		}
	}
}

func TestMemoryIsBounded(t *testing.T) {
	t.Parallel()
	var q Quota
	for i := range 100_000 {
		q.Admit(uint64(i), start.Add(time.Duration(i)*time.Microsecond))
		if n := len(q.recent) + len(q.older); n > 2*maxSources {
			t.Fatalf("%d sources are kept", n)
		}
	}
}

// A source is kept until its quota is full again.
func TestSourcesAreKeptForAMinute(t *testing.T) {
	t.Parallel()
	var q Quota
	now := start
	for step := range 1000 {
		now = now.Add(time.Second)
		q.Admit(uint64(step), now)
		for back := range 60 {
			if id := uint64(step - back); back <= step && q.recent[id] == nil && q.older[id] == nil {
				t.Fatalf("a source is dropped after %d seconds, want at least 60", back)
			}
		}
	}
}

func TestClockSetBackDoesNotSuppressRecords(t *testing.T) {
	t.Parallel()
	var q Quota
	admitted(&q, 1, start, 1000)
	if got := admitted(&q, 2, start.Add(-time.Hour), 1000); got != 100 {
		t.Errorf("%d records of another source are written, want 100", got)
	}
	if got := admitted(&q, 1, start.Add(time.Minute), 1000); got != 100 {
		t.Errorf("%d records are written a minute later, want 100", got)
	}
}
