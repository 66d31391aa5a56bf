// Package quota limits how many log records of one kind are written, for each
// source and for all sources together: see [Quota.Admit].
package quota

import "time"

const (
	perSource      = 100 // records at once from one source, plus one more per sourceInterval
	sourceInterval = 100 * time.Millisecond

	total         = 1000 // records at once from all sources, plus one more per totalInterval
	totalInterval = 10 * time.Millisecond

	// reserve is how many of the total records are kept for sources that write
	// few records. When only the reserve is left, each source may write only
	// one record per reserveInterval. In each reserveInterval, the reserve
	// regains more records than there are sources in the maps recent and older.
	// So a source that writes few records is never suppressed for long.
	reserve         = total / 2
	reserveInterval = time.Minute

	// maxSources is the maximum number of sources in each of the maps recent
	// and older. The two maps take about 400 KB together. With more sources in
	// a minute, a source may be forgotten early, and can then use the reserve
	// again within the minute.
	maxSources = 2048
)

// A Quota limits how many records of one kind are written. The zero value is
// ready to use. It is not safe for concurrent use.
type Quota struct {
	all        bucket
	suppressed int

	// When the map recent is full or a minute old, it replaces the map older,
	// whose sources are forgotten. A source that wrote nothing for a minute has
	// its full quota again anyway.
	recent, older map[uint64]*source
	turned        time.Time
}

// A bucket counts the records that were written. The count falls over time.
type bucket struct {
	used  int
	since time.Time // when the field used was last updated
}

type source struct {
	bucket
	reserved time.Time // when the source last used the reserve
}

// Admit reports whether a record of the source may be written. If so, it also
// returns how many records of all sources were suppressed since the last record
// that was written.
func (q *Quota) Admit(id uint64, now time.Time) (suppressed int, ok bool) {
	s := q.source(id, now)
	s.drain(now, sourceInterval)
	q.all.drain(now, totalInterval)
	low := q.all.used >= total-reserve
	if s.used == perSource || q.all.used == total || low && now.Sub(s.reserved) < reserveInterval {
		q.suppressed++
		return 0, false
	}
	if low {
		s.reserved = now
	}
	s.used++
	q.all.used++
	suppressed, q.suppressed = q.suppressed, 0
	return suppressed, true
}

func (q *Quota) source(id uint64, now time.Time) *source {
	if s := q.recent[id]; s != nil {
		return s
	}
	s := q.older[id]
	if s == nil {
		s = new(source)
	}
	if len(q.recent) == maxSources || now.Sub(q.turned) >= reserveInterval {
		q.recent, q.older, q.turned = make(map[uint64]*source), q.recent, now
	}
	q.recent[id] = s
	return s
}

func (b *bucket) drain(now time.Time, interval time.Duration) {
	switch n := now.Sub(b.since) / interval; {
	case n >= time.Duration(b.used):
		b.used, b.since = 0, now
	case n > 0:
		b.used -= int(n)
		b.since = b.since.Add(n * interval)
	}
}
