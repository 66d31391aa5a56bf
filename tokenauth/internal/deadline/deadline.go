// Package deadline makes contexts for calls that must not end when a client
// disconnects.
//
// A database driver closes its connection if a query's context is cancelled. So
// a client that often disconnects would make the service open connections again
// and again. With the contexts of this package, a call ends by itself or at a
// deadline.
package deadline

import (
	"context"
	"sync/atomic"
	"time"
)

// A Timeout limits how long calls take. Set Duration before the first call of
// [Timeout.Call]. It is safe for concurrent use.
type Timeout struct {
	Duration time.Duration
	current  atomic.Pointer[moment]
}

// Call returns a context for one call. The context has the values of the
// parent. It ends after the timeout, or at the parent's deadline if that is
// earlier. It does not end when the parent is cancelled. The caller must call
// cancel.
//
// Calls that begin at nearly the same time share one deadline, and therefore
// one timer. So a context may end early, by up to a fortieth of the timeout. A
// timer for each call would add about a tenth to the cost of reading a token
// from the storage.
//
// If the parent has already ended, Call returns the parent's error, and the
// call must not begin.
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

// Half returns a context that ends when half of the time until the deadline of
// ctx has passed. It is for a call with an alternative, which gets the other
// half. Without a deadline, Half returns ctx. The caller must call cancel.
func Half(ctx context.Context) (half context.Context, cancel context.CancelFunc) {
	deadline, ok := ctx.Deadline()
	if !ok {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, time.Until(deadline)/2)
}

// Ended reports whether the context has ended or its deadline has passed.
// Checking the context alone is not enough, because a call with the same
// deadline may return shortly before the context ends.
func Ended(ctx context.Context) bool {
	deadline, ok := ctx.Deadline()
	return ctx.Err() != nil || ok && !time.Now().Before(deadline)
}

// A moment is a context whose deadline is shared by all calls that begin in a
// short period. The period is a fortieth of the timeout.
type moment struct {
	context.Context
	cancel context.CancelFunc
	ends   time.Time // end of the period
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

// Value asks the moment first, so that package context recognizes the moment as
// the parent. The package then needs no goroutine for a context that is derived
// from this one.
func (c *callContext) Value(key any) any {
	if v := c.moment.Value(key); v != nil {
		return v
	}
	return c.parent.Value(key)
}
