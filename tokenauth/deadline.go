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

func (c *deadlineContext) Done() <-chan struct{} { return c.real().Done() }

func (c *deadlineContext) Err() error {
	if err := c.Context.Err(); err != nil {
		return err
	}
	c.mu.Lock()
	timed := c.timed
	c.mu.Unlock()
	if timed != nil {
		return timed.Err()
	}
	if !time.Now().Before(c.deadline) {
		return context.DeadlineExceeded
	}
	return nil
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

func (c *deadlineContext) real() context.Context {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.timed == nil {
		c.timed, c.cancel = context.WithDeadline(c.Context, c.deadline)
		if c.ended {
			c.cancel()
		}
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
