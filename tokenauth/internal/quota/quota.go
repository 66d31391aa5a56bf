// Package quota bounds how many records of one sort a log gets: from each source,
// and from all together.
package quota

import "time"

const (
	perSource      = 100 // records at once, and one more each sourceInterval
	sourceInterval = 100 * time.Millisecond

	total         = 1000 // of all sources, and one more each totalInterval
	totalInterval = 10 * time.Millisecond

	// reserve is the part of total of which each source gets one record in
	// reserveInterval. In that time it refills more often than there are sources
	// in the tables, so that a source which records little is never suppressed
	// for long.
	reserve         = total / 2
	reserveInterval = time.Minute

	// maxSources is the size of each of the two tables: about 400 KB for both. Of
	// more sources in one minute, some are forgotten early, and then they share
	// the reserve with those that record little.
	maxSources = 2048
)

// A Quota counts the records of one sort. The zero value is ready. It is not safe
// for concurrent use.
type Quota struct {
	all        bucket
	suppressed int

	// Sources move from recent to older, and are forgotten: by then they have
	// their full quota again.
	recent, older map[uint64]*source
	turned        time.Time
}

// A bucket fills up when it is used, and empties with time.
type bucket struct {
	used  int
	since time.Time // when used was last brought up to date
}

type source struct {
	bucket
	reserved time.Time // when it last had a record of the reserve
}

// Admit reports whether a record of the source is to be written, and if so, how
// many of all sources were not written since the last one.
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
