// Package batch sends look-ups that wait at the same moment together, in one call.
//
// A few calls are in progress at most. A look-up that comes while there are fewer is
// sent alone and at once: none waits for company. Those that come meanwhile wait, and
// go out together when a call comes back. A look-up joins only a call that was not
// sent yet, so it sees everything that was done before it began.
//
// tokenauth looks up tokens, and each call is a statement. However many requests
// there are, the database sees as many connections as calls.
package batch

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

const (
	// maxInProgress is how many calls keep others waiting.
	maxInProgress = 2
	// maxCalls is how many there are with those that are slow.
	maxCalls = 16
	// slow is how long a call keeps others waiting. Its connection may be dead.
	slow = 100 * time.Millisecond
	// MaxKeys is how many keys a call has at most.
	MaxKeys = 64
)

// A Batcher gathers look-ups. New makes one. It is safe for concurrent use.
type Batcher[K comparable, R any] struct {
	find    func(context.Context, []K) ([]R, error)
	timeout time.Duration

	mu      sync.Mutex
	queue   []*lookup[K, R]     // unsent, in their order, and some that all callers left
	unsent  map[K]*lookup[K, R] // those of the queue that have callers
	waiting int                 // calls in progress that keep others waiting
	calls   int                 // in progress
}

// A lookup is one key of one call, for all who asked for it before it was sent.
type lookup[K comparable, R any] struct {
	key     K
	callers int // who have not left; counts until it is sent
	done    chan struct{}
	result  R     // once done
	err     error // once done
}

// A call is a use of find.
type call[K comparable, R any] struct {
	lookups []*lookup[K, R]
	counts  bool // among those that keep others waiting
}

// New returns a Batcher. Find returns a result for each key, at the same index, or
// an error for all. It gets different keys, and a context that ends after the timeout
// and has no values. It runs in a goroutine of its own, and must not panic.
func New[K comparable, R any](timeout time.Duration, find func(context.Context, []K) ([]R, error)) *Batcher[K, R] {
	return &Batcher[K, R]{find: find, timeout: timeout, unsent: make(map[K]*lookup[K, R])}
}

// Find returns what was found for the key, by a call that was sent after Find was
// called. It returns the error of the call; or the context's, as soon as that ends;
// or [context.DeadlineExceeded] after the timeout. The call goes on for the others
// who wait for it.
func (b *Batcher[K, R]) Find(ctx context.Context, key K) (result R, err error) {
	if err := ctx.Err(); err != nil {
		return result, err
	}
	l := b.enter(key)
	timer := time.NewTimer(b.timeout)
	defer timer.Stop()
	select {
	case <-l.done:
		return l.result, l.err
	case <-ctx.Done():
		err = ctx.Err()
	case <-timer.C:
		err = context.DeadlineExceeded
	}
	b.leave(l)
	return result, err
}

// enter returns the look-up of the key, which is not sent yet or was sent just now.
func (b *Batcher[K, R]) enter(key K) *lookup[K, R] {
	b.mu.Lock()
	defer b.mu.Unlock()
	l := b.unsent[key]
	if l == nil {
		l = &lookup[K, R]{key: key, done: make(chan struct{})}
		b.unsent[key] = l
		b.queue = append(b.queue, l)
	}
	l.callers++
	b.send()
	return l
}

// leave is called for a caller who waits no longer. A look-up that all left is not
// sent.
func (b *Batcher[K, R]) leave(l *lookup[K, R]) {
	b.mu.Lock()
	defer b.mu.Unlock()
	l.callers--
	if l.callers > 0 || b.unsent[l.key] != l {
		return
	}
	delete(b.unsent, l.key)
	if len(b.queue) > 2*len(b.unsent)+MaxKeys { // not each time: all may leave at once
		b.queue = slices.DeleteFunc(b.queue, func(l *lookup[K, R]) bool { return l.callers == 0 })
	}
}

// send sends what waits, as far as calls may be in progress. The caller holds the
// lock.
func (b *Batcher[K, R]) send() {
	for len(b.unsent) > 0 && b.waiting < maxInProgress && b.calls < maxCalls {
		c := &call[K, R]{lookups: b.take(), counts: true}
		b.waiting++
		b.calls++
		go b.run(c)
	}
}

// take takes the first ones off the queue. The caller holds the lock.
func (b *Batcher[K, R]) take() (first []*lookup[K, R]) {
	first = make([]*lookup[K, R], 0, min(len(b.unsent), MaxKeys))
	taken := 0
	for _, l := range b.queue {
		if len(first) == cap(first) {
			break
		}
		taken++
		if l.callers > 0 {
			delete(b.unsent, l.key)
			first = append(first, l)
		}
	}
	b.queue = slices.Delete(b.queue, 0, taken)
	return first
}

// errExit is the error of a call that did not return: find called
// [runtime.Goexit].
var errExit = errors.New("the look-up ended its goroutine")

// run makes the call.
func (b *Batcher[K, R]) run(c *call[K, R]) {
	ctx, cancel := context.WithTimeout(context.Background(), b.timeout)
	overdue := time.AfterFunc(slow, func() { b.release(c) })
	var results []R
	err := errExit
	defer func() {
		cancel()
		overdue.Stop()
		b.end(c, results, err)
	}()
	keys := make([]K, len(c.lookups))
	for i, l := range c.lookups {
		keys[i] = l.key
	}
	results, err = b.find(ctx, keys)
	if err == nil && len(results) != len(keys) {
		err = fmt.Errorf("%d look-ups had %d results", len(keys), len(results))
	}
}

// release has a call keep nobody waiting any longer.
func (b *Batcher[K, R]) release(c *call[K, R]) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if c.counts {
		c.counts = false
		b.waiting--
		b.send()
	}
}

// end answers those who wait for the call, and sends those who wait for its end.
func (b *Batcher[K, R]) end(c *call[K, R], results []R, err error) {
	b.mu.Lock()
	if c.counts {
		c.counts = false
		b.waiting--
	}
	b.calls--
	b.send()
	b.mu.Unlock()
	for i, l := range c.lookups {
		if l.err = err; err == nil {
			l.result = results[i]
		}
		close(l.done)
	}
}
