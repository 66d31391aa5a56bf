// Package deadline makes contexts for calls that must not end when a client
// disconnects.
//
// A database driver closes its connection if the context of a query is
// cancelled. So clients that disconnect often would cost the database its
// connections. With these contexts a call ends by itself or at a deadline.
package deadline

import (
	"context"
	"sync/atomic"
	"time"
)

// Timeout bounds calls. Set Duration before the first call of [Timeout.Call].
// It is safe for concurrent use.
type Timeout struct {
	Duration time.Duration
	current  atomic.Pointer[moment]
}

// Call returns a context for one call. The context has the values of the
// parent. It ends after the timeout (or up to a fortieth of it earlier), or at
// the parent's deadline if that is earlier. It does not end when the parent is
// cancelled. The caller must call cancel.
//
// If the parent has already ended, Call returns the parent's error, and the
// call must not begin.
//
// Calls that begin at nearly the same time share one deadline, and so one
// timer. A timer for each call would cost a tenth of a read.
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

// Ended reports whether the context has ended or its deadline has passed. The
// two can differ for a short time: a call with the same deadline may return
// before the context ends.
func Ended(ctx context.Context) bool {
	deadline, ok := ctx.Deadline()
	return ctx.Err() != nil || ok && !time.Now().Before(deadline)
}

// A moment is the deadline that the calls of a short period share. The period
// is a fortieth of the timeout.
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

// Value asks the moment first. So package context finds the moment that ends
// it, and derives contexts from it without a goroutine.
func (c *callContext) Value(key any) any {
	if v := c.moment.Value(key); v != nil {
		return v
	}
	return c.parent.Value(key)
}
