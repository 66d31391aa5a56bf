package tokenauth

import (
	"context"
	"net/http"
	"sync/atomic"
	"time"
)

// deadlines make the context of each call of the storage and of the host's code.
type deadlines struct {
	timeout time.Duration
	current atomic.Pointer[moment] // of reads
}

// call returns the context of a call: the parent, with the timeout. The caller
// calls cancel.
func (d *deadlines) call(parent context.Context) (ctx context.Context, cancel context.CancelFunc) {
	return context.WithTimeout(parent, d.timeout)
}

// read returns the context in which the storage is asked about a token. It has
// the values of the parent and ends after the timeout, or up to a moment before.
//
// All reads that begin within a moment share one deadline, and so one timer:
// a timer would cost as much as a tenth of the read. And a client that goes away
// does not interrupt a read, since drivers close the connection for that: clients
// that come and go must not cost the database connections. A parent whose own
// deadline is earlier interrupts the read in every case: a caller from Go asked
// for it.
func (d *deadlines) read(parent context.Context) (ctx context.Context, cancel context.CancelFunc) {
	now := time.Now()
	if deadline, ok := parent.Deadline(); ok && deadline.Before(now.Add(d.timeout)) {
		return d.call(parent)
	}
	return &readContext{d.moment(now), parent}, func() {}
}

// A moment is how long a deadline is shared: a fortieth of the timeout.
type moment struct {
	context.Context
	cancel context.CancelFunc
	ends   time.Time
}

const momentsPerTimeout = 40

func (d *deadlines) moment(now time.Time) *moment {
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

// Value asks the moment first, so that package context finds what ends it and
// makes children of it without a goroutine.
func (c *readContext) Value(key any) any {
	if v := c.moment.Value(key); v != nil {
		return v
	}
	return c.parent.Value(key)
}

// A hostPanic is a panic in the host's code that says whose code it was.
type hostPanic struct {
	in    string
	value any
}

// calling is deferred around each call of the host's code. A panic goes on, and
// says whose code it was.
func calling(in string) {
	switch p := recover(); p.(type) {
	case nil:
	case *hostPanic:
		panic(p)
	default:
		if p == http.ErrAbortHandler {
			panic(p)
		}
		panic(&hostPanic{in, p})
	}
}

// plainPanic is deferred in methods that a host calls: a panic of its own code
// reaches it as it was.
func plainPanic() {
	switch p := recover().(type) {
	case nil:
	case *hostPanic:
		panic(p.value)
	default:
		panic(p)
	}
}
