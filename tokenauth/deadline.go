package tokenauth

import (
	"context"
	"sync"
	"time"
)

// A deadlineContext is a context.WithTimeout that makes its timer only when
// somebody asks for Done. A storage in memory never does, and a validation
// then costs one small allocation instead of a timer.
type deadlineContext struct {
	context.Context // the parent
	deadline        time.Time

	mu     sync.Mutex
	timed  context.Context // made by the first Done
	cancel context.CancelFunc
	ended  bool
}

// withTimeout returns a context that ends after d. The caller must call end.
func withTimeout(parent context.Context, d time.Duration) *deadlineContext {
	return &deadlineContext{Context: parent, deadline: time.Now().Add(d)}
}

func (c *deadlineContext) Deadline() (time.Time, bool) {
	if d, ok := c.Context.Deadline(); ok && d.Before(c.deadline) {
		return d, true
	}
	return c.deadline, true
}

func (c *deadlineContext) Done() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.real().Done()
}

func (c *deadlineContext) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.timed == nil && !c.ended && c.Context.Err() == nil && time.Now().Before(c.deadline) {
		return nil
	}
	return c.real().Err() // which says the same from now on
}

// Value lets package context find the real context, so that children hang on
// it directly and not by a goroutine of their own.
func (c *deadlineContext) Value(key any) any {
	c.mu.Lock()
	timed := c.timed
	c.mu.Unlock()
	if timed != nil {
		return timed.Value(key)
	}
	return c.Context.Value(key)
}

// real makes the context that this one stands for. The caller holds the lock.
func (c *deadlineContext) real() context.Context {
	switch {
	case c.timed != nil:
	case c.ended && time.Now().Before(c.deadline):
		c.timed, c.cancel = context.WithCancel(context.WithoutCancel(c.Context))
		c.cancel()
	default:
		c.timed, c.cancel = context.WithDeadline(c.Context, c.deadline)
	}
	return c.timed
}

// end releases the timer.
func (c *deadlineContext) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ended = true
	if c.cancel != nil {
		c.cancel()
	}
}
