// Package deadline makes the contexts of calls that a client must not interrupt
// by leaving.
//
// A driver closes its connection if the context of a query is cancelled. Clients
// that come and go would cost the database its connections. So a call that has
// begun ends by itself or at a deadline.
package deadline

import (
	"context"
	"sync/atomic"
	"time"
)

// Timeout bounds calls. Nobody changes Duration after the first call. It is safe
// for concurrent use.
type Timeout struct {
	Duration time.Duration
	current  atomic.Pointer[moment]
}

// Call returns the context of a call, or the parent's error if the parent has
// ended: no call begins then. The context has the values of the parent. It ends
// after the timeout, or up to a moment before, or at the parent's deadline if that
// is earlier. It does not end when the parent is cancelled. The caller calls
// cancel.
//
// All calls that begin within a moment share one deadline, and so one timer: a
// timer would cost as much as a tenth of a read.
func (t *Timeout) Call(parent context.Context) (ctx context.Context, cancel context.CancelFunc, err error) {
	if err := parent.Err(); err != nil {
		return nil, nil, err
	}
	now := time.Now()
	if deadline, ok := parent.Deadline(); ok && deadline.Before(now.Add(t.Duration)) {
		ctx, cancel = context.WithDeadline(context.WithoutCancel(parent), deadline)
		return ctx, cancel, nil
	}
	return &callContext{t.moment(now), parent}, func() {}, nil
}

// Ended reports whether the context has ended or is about to: its deadline has
// passed. A call that its parent's deadline ended may return before the parent
// does.
func Ended(ctx context.Context) bool {
	deadline, ok := ctx.Deadline()
	return ctx.Err() != nil || ok && !time.Now().Before(deadline)
}

// A moment is how long a deadline is shared: a fortieth of the timeout.
type moment struct {
	context.Context
	cancel context.CancelFunc
	ends   time.Time
}

const momentsPerTimeout = 40

func (t *Timeout) moment(now time.Time) *moment {
	m := t.current.Load()
	if m != nil && now.Before(m.ends) {
		return m
	}
	next := &moment{ends: now.Add(t.Duration / momentsPerTimeout)}
	next.Context, next.cancel = context.WithDeadline(context.Background(), now.Add(t.Duration))
	if t.current.CompareAndSwap(m, next) {
		return next
	}
	next.cancel()
	return t.current.Load()
}

// A callContext ends with its moment and has the values of its parent.
type callContext struct {
	*moment
	parent context.Context
}

// Value asks the moment first, so that package context finds what ends it and
// makes children of it without a goroutine.
func (c *callContext) Value(key any) any {
	if v := c.moment.Value(key); v != nil {
		return v
	}
	return c.parent.Value(key)
}
