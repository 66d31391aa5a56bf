// Package batch sends look-ups that wait at the same moment together, in one call.
//
// Two calls are in progress at most, beside those that are slow. A look-up that comes
// while there are fewer is sent alone and at once. Later look-ups wait, and go out
// together when a call comes back. A look-up joins only a call that was not sent yet,
// so it sees everything that was done before it began.
//
// tokenauth looks up tokens, and each call is a statement. However many requests there
// are, a database that answers in time sees two connections.
package batch

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/bearerkit/bearerkit/tokenauth/internal/deadline"
)

const (
	// maxInProgress is how many calls keep others waiting. database/sql keeps two
	// idle connections by default. With more calls it would open further ones, and
	// close them, all the time.
	maxInProgress = 2
	// maxCalls is how many calls there are, slow ones included.
	maxCalls = 16
	// slow is how long a call keeps others waiting. Its connection may be dead.
	slow = 100 * time.Millisecond
	// MaxKeys is how many keys a call has at most.
	MaxKeys = 64
)

// A Batcher gathers look-ups. New makes one. It is safe for concurrent use.
type Batcher[K comparable, R any] struct {
	find    func(context.Context, []K) ([]R, error)
	timeout *deadline.Timeout

	mu     sync.Mutex
	queue  []*lookup[K, R]     // unsent, in their order, and some that all callers left
	unsent map[K]*lookup[K, R] // those of the queue that have callers
	calls  []*call[K, R]       // in progress, without the slow ones, in their order
	slow   int                 // slow calls in progress
	looks  bool                // a timer runs that looks for slow calls
}

// A lookup is one key of one call, for all who asked for it before it was sent.
type lookup[K comparable, R any] struct {
	key     K
	callers int       // how many still wait; meaningless once it is sent
	until   time.Time // the last deadline of its callers, or zero if one has none
	done    chan struct{}
	result  R     // once done
	err     error // once done
}

// A call is a use of find.
type call[K comparable, R any] struct {
	lookups []*lookup[K, R]
	sent    time.Time
}

// New returns a Batcher. Find returns a result for each key, at the same index, or
// an error for all. It gets different keys, and a context without values that ends
// after the timeout, or with the last deadline of the callers. It must not panic: for
// several keys it runs in a goroutine of its own.
func New[K comparable, R any](timeout *deadline.Timeout, find func(context.Context, []K) ([]R, error)) *Batcher[K, R] {
	return &Batcher[K, R]{find: find, timeout: timeout, unsent: make(map[K]*lookup[K, R])}
}

// Find returns what was found for the key, by a call that was sent after Find was
// called, or the error of that call. It returns the context's error as soon as the
// context ends, and [context.DeadlineExceeded] after the timeout; the call goes on for
// the others who wait for it. A look-up that goes out alone is made in the caller's
// goroutine, and then only the timeout ends it, unless the context has a deadline.
// A cancelled context never ends a call: drivers would close the connection.
func (b *Batcher[K, R]) Find(ctx context.Context, key K) (result R, err error) {
	if err := ctx.Err(); err != nil {
		return result, err
	}
	until, impatient := ctx.Deadline()
	l, alone := b.enter(key, until)
	if alone != nil {
		// Another goroutine would cost a quarter of a read: the scheduler
		// wakes a thread for it, and another for the answer.
		if !impatient {
			b.run(alone, false)
			return l.result, l.err
		}
		go b.work(alone)
	}
	return b.wait(ctx, l)
}

// wait waits for the look-up, which the caller leaves when the context or the timeout
// ends.
func (b *Batcher[K, R]) wait(ctx context.Context, l *lookup[K, R]) (result R, err error) {
	patience, cancel, err := b.timeout.Call(ctx)
	if err == nil {
		defer cancel()
		select {
		case <-l.done:
			return l.result, l.err
		case <-ctx.Done():
			err = ctx.Err()
		case <-patience.Done():
			err = patience.Err()
		}
	}
	b.leave(l)
	return result, err
}

// enter returns the look-up of the key, and its call if it goes out alone, for the
// caller to make. Until is the caller's deadline, or zero.
func (b *Batcher[K, R]) enter(key K, until time.Time) (l *lookup[K, R], alone *call[K, R]) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if l = b.unsent[key]; l != nil {
		l.callers++
		l.until = later(l.until, until)
		return l, nil
	}
	l = &lookup[K, R]{key: key, callers: 1, until: until, done: make(chan struct{})}
	if b.maySend() { // so nothing else waits
		return l, b.begin(l)
	}
	b.unsent[key] = l
	b.queue = append(b.queue, l)
	b.send()
	return l, nil
}

// later returns the later of two deadlines, of which zero is none.
func later(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return a
	}
	return b
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
	for len(b.unsent) > 0 && b.maySend() {
		go b.work(b.begin(b.take()...))
	}
	if len(b.unsent) > 0 && len(b.calls) > 0 && !b.looks {
		b.looks = true
		time.AfterFunc(slow-time.Since(b.calls[0].sent), b.look)
	}
}

func (b *Batcher[K, R]) begin(lookups ...*lookup[K, R]) *call[K, R] {
	c := &call[K, R]{lookups, time.Now()}
	b.calls = append(b.calls, c)
	return c
}

// maySend reports whether another call may begin. The caller holds the lock.
func (b *Batcher[K, R]) maySend() bool {
	return len(b.calls) < maxInProgress && len(b.calls)+b.slow < maxCalls
}

// look lets slow calls keep others waiting no longer.
func (b *Batcher[K, R]) look() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.looks = false
	now := time.Now()
	for len(b.calls) > 0 && now.Sub(b.calls[0].sent) >= slow {
		b.calls = slices.Delete(b.calls, 0, 1)
		b.slow++
	}
	b.send()
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

// work makes calls for as long as there is work, beginning with one.
func (b *Batcher[K, R]) work(c *call[K, R]) {
	growStack()
	for c != nil {
		c = b.run(c, true)
	}
}

// run makes the call. It returns the next one, for the caller to make, if that is what
// it asked for.
func (b *Batcher[K, R]) run(c *call[K, R], more bool) (next *call[K, R]) {
	var results []R
	err := errExit
	defer func() { next = b.end(c, results, err, more && err != errExit) }()
	ctx, cancel, _ := b.timeout.Call(context.Background()) // which has not ended
	defer cancel()
	keys, until := make([]K, len(c.lookups)), c.lookups[0].until
	for i, l := range c.lookups {
		keys[i], until = l.key, later(until, l.until)
	}
	if !until.IsZero() { // no caller waits any longer
		ctx, cancel = context.WithDeadline(ctx, until)
		defer cancel()
	}
	results, err = b.find(ctx, keys)
	if err == nil && len(results) != len(keys) {
		err = fmt.Errorf("%d look-ups had %d results", len(keys), len(results))
	}
	return nil
}

// end answers those who wait for the call, and sends what waits for its end. It
// returns one call of that if the caller wants to make it.
func (b *Batcher[K, R]) end(c *call[K, R], results []R, err error, more bool) (next *call[K, R]) {
	b.mu.Lock()
	if i := slices.Index(b.calls, c); i >= 0 {
		b.calls = slices.Delete(b.calls, i, i+1)
	} else {
		b.slow--
	}
	if more && len(b.unsent) > 0 && b.maySend() {
		next = b.begin(b.take()...)
	}
	b.send()
	b.mu.Unlock()
	for i, l := range c.lookups {
		if l.err = err; err == nil {
			l.result = results[i]
		}
		close(l.done)
	}
	return next
}

// stackSize is what a driver of a database needs of a stack, more or less.
const stackSize = 6 << 10

// growStack makes room on the stack of a new goroutine at once. It would grow in
// several steps while the driver is at work, each of which copies it: a tenth of a
// look-up's time.
//
//go:noinline
func growStack() byte {
	var room [stackSize]byte
	return first(&room)
}

//go:noinline
func first(room *[stackSize]byte) byte { return room[0] }
