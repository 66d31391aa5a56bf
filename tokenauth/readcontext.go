package tokenauth

import (
	"context"
	"sync/atomic"
	"time"
)

// readDeadlines make the contexts in which the storage is asked about tokens.
//
// All reads that begin within a moment share one deadline, and so one timer,
// which would else cost as much as a tenth of the read. And a read is not broken
// off when the client goes away, since drivers give the connection up for that:
// clients that come and go must not cost the database connections. It ends by
// itself before long.
type readDeadlines struct {
	timeout time.Duration
	current atomic.Pointer[moment]
}

// A moment is how long a deadline is shared: a fortieth of the timeout.
type moment struct {
	context.Context
	cancel context.CancelFunc
	ends   time.Time
}

const momentsPerTimeout = 40

// context returns a context with the values of the parent that ends after the
// timeout, or up to a moment before. A parent with a deadline of its own that
// is earlier is heeded in all: it is asked for by who calls from Go. End must be
// called.
func (d *readDeadlines) context(parent context.Context) (ctx context.Context, end func()) {
	now := time.Now()
	if deadline, ok := parent.Deadline(); ok && deadline.Before(now.Add(d.timeout)) {
		timed := withTimeout(parent, d.timeout)
		return timed, timed.end
	}
	return &readContext{d.moment(now), parent}, func() {}
}

func (d *readDeadlines) moment(now time.Time) *moment {
	m := d.current.Load()
	if m != nil && now.Before(m.ends) {
		return m
	}
	next := &moment{ends: now.Add(d.timeout / momentsPerTimeout)}
	next.Context, next.cancel = context.WithDeadline(context.Background(), now.Add(d.timeout))
	if d.current.CompareAndSwap(m, next) {
		return next
	}
	next.cancel()
	return d.current.Load()
}

// A readContext ends with its moment and has the values of its parent.
type readContext struct {
	*moment
	parent context.Context
}

// Value first lets package context find what ends the moment, so that children
// hang on it directly.
func (c *readContext) Value(key any) any {
	if v := c.moment.Value(key); v != nil {
		return v
	}
	return c.parent.Value(key)
}
