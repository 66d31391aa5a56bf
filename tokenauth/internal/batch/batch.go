// Package batch combines concurrent look-ups into one call.
//
// A look-up is sent alone and at once if fewer than two calls are in progress.
// Otherwise it waits. When a call returns, the waiting look-ups are sent
// together. A slow call does not count as one of the two, so it does not make
// look-ups wait. A look-up never joins a call that was already sent. So it sees
// every change that was complete before it began.
//
// The package tokenauth uses it to look up tokens, and each call is one
// database statement. So a database that answers in time needs only two
// connections, whatever the number of requests.
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
	// While maxInProgress calls are in progress, further look-ups wait. The
	// number is 2 because database/sql keeps two idle connections by default.
	// With more calls at a time, it would constantly open and close
	// connections.
	maxInProgress = 2
	// maxCalls is the maximum number of calls in progress, including slow ones.
	maxCalls = 16
	// slow is the duration after which a call no longer makes look-ups wait,
	// because its connection may be dead.
	slow = 100 * time.Millisecond
	// MaxKeys is the maximum number of keys in one call.
	MaxKeys = 64
)

// A Batcher combines look-ups. [New] makes one. It is safe for concurrent use.
type Batcher[K comparable, R any] struct {
	find    func(context.Context, []K) ([]R, error)
	timeout *deadline.Timeout

	mu     sync.Mutex
	queue  []*lookup[K, R]     // unsent, in order of arrival; some may have no callers left
	unsent map[K]*lookup[K, R] // the look-ups of the queue that have callers
	calls  []*call[K, R]       // in progress except slow ones, in the order in which they were sent
	slow   int                 // slow calls in progress
	looks  bool                // whether a timer is set that will call the method look
}

// A lookup is one key of one call. All callers who ask for the key before the
// call is sent share the lookup.
type lookup[K comparable, R any] struct {
	key     K
	callers int       // how many still wait; unused once it is sent
	until   time.Time // the latest deadline of its callers; zero if one of them has none
	done    chan struct{}
	result  R     // valid once done is closed
	err     error // valid once done is closed
}

// A call is one call of Batcher.find.
type call[K comparable, R any] struct {
	lookups []*lookup[K, R]
	sent    time.Time
}

// New returns a [Batcher]. The func find returns a result for each key, at the
// same index, or an error for all keys. The keys of a call all differ. The
// context has no values, and ends after the timeout, or at the callers' latest
// deadline if that is earlier. find must not panic, because for several keys it
// runs in its own goroutine.
func New[K comparable, R any](timeout *deadline.Timeout, find func(context.Context, []K) ([]R, error)) *Batcher[K, R] {
	return &Batcher[K, R]{find: find, timeout: timeout, unsent: make(map[K]*lookup[K, R])}
}

// Find returns the result for the key, or the error of the call. The call is
// always sent after Find was called.
//
//   - Find returns the context's error as soon as the context ends, and
//     [context.DeadlineExceeded] after the timeout. The call continues for the
//     other callers.
//   - If the look-up is sent alone and the context has no deadline, the call
//     runs in the caller's goroutine. In this case Find returns only when the
//     call returns, even if the context is cancelled earlier.
//   - A cancelled context never ends a call, because database drivers would
//     then close the connection.
func (b *Batcher[K, R]) Find(ctx context.Context, key K) (result R, err error) {
	if err := ctx.Err(); err != nil {
		return result, err
	}
	until, impatient := ctx.Deadline()
	l, alone := b.enter(key, until)
	if alone != nil {
		// Without a deadline, make the call here. A goroutine would add a
		// quarter to the time of a look-up, because the scheduler would wake
		// one thread for the call, and another for the answer.
		if !impatient {
			b.run(alone, false)
			return l.result, l.err
		}
		go b.work(alone)
	}
	return b.wait(ctx, l)
}

// FindBoth is [Batcher.Find] for two different keys. It sends both in one call,
// unless so many look-ups wait that they do not fit. The error is that of the call.
func (b *Batcher[K, R]) FindBoth(ctx context.Context, first, second K) (one, two R, err error) {
	if err := ctx.Err(); err != nil {
		return one, two, err
	}
	until, impatient := ctx.Deadline()
	l, m, both := b.enterBoth(first, second, until)
	if both != nil {
		if !impatient {
			b.run(both, false)
			return l.result, m.result, l.err
		}
		go b.work(both)
	}
	if one, err = b.wait(ctx, l); err != nil {
		b.leave(m)
		return one, two, err
	}
	two, err = b.wait(ctx, m)
	return one, two, err
}

// enterBoth is like enter, for two keys. If both are to be sent alone, they are in
// one call.
func (b *Batcher[K, R]) enterBoth(first, second K, until time.Time) (l, m *lookup[K, R], both *call[K, R]) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.maySend() { // then no other look-up is waiting
		l, m = newLookup[K, R](first, until), newLookup[K, R](second, until)
		return l, m, b.begin(l, m)
	}
	l, m = b.join(first, until), b.join(second, until)
	b.send()
	return l, m, nil
}

// join returns the unsent look-up for the key. If there is none, it adds one to the
// queue. The caller holds the lock.
func (b *Batcher[K, R]) join(key K, until time.Time) *lookup[K, R] {
	if l := b.unsent[key]; l != nil {
		l.callers++
		l.until = later(l.until, until)
		return l
	}
	l := newLookup[K, R](key, until)
	b.unsent[key] = l
	b.queue = append(b.queue, l)
	return l
}

func newLookup[K comparable, R any](key K, until time.Time) *lookup[K, R] {
	return &lookup[K, R]{key: key, callers: 1, until: until, done: make(chan struct{})}
}

// wait waits for the look-up on behalf of [Batcher.Find], and returns its
// result. If the context or the timeout ends first, wait returns that error.
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

// enter returns the unsent look-up for the key if there is one, and otherwise a
// new one. If the look-up is to be sent alone, enter also returns its call,
// which the caller must make. The parameter until is the caller's deadline, or
// zero if there is none.
func (b *Batcher[K, R]) enter(key K, until time.Time) (l *lookup[K, R], alone *call[K, R]) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.maySend() { // then no other look-up is waiting
		l = newLookup[K, R](key, until)
		return l, b.begin(l)
	}
	l = b.join(key, until)
	b.send()
	return l, nil
}

// later returns the later of two deadlines. Zero means no deadline.
func later(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return a
	}
	return b
}

// leave removes a caller who no longer waits. A look-up without callers is not
// sent.
func (b *Batcher[K, R]) leave(l *lookup[K, R]) {
	b.mu.Lock()
	defer b.mu.Unlock()
	l.callers--
	if l.callers > 0 || b.unsent[l.key] != l {
		return
	}
	delete(b.unsent, l.key)
	if len(b.queue) > 2*len(b.unsent)+MaxKeys { // not every time, because that would be slow when many callers leave at once
		b.queue = slices.DeleteFunc(b.queue, func(l *lookup[K, R]) bool { return l.callers == 0 })
	}
}

// send sends waiting look-ups for as long as another call may begin. If some
// look-ups still wait after that, send sets the timer that will look for slow
// calls. The caller holds the lock.
func (b *Batcher[K, R]) send() {
	for len(b.unsent) > 0 && b.maySend() {
		go b.work(b.begin(b.take()...))
	}
	if len(b.unsent) > 0 && len(b.calls) > 0 && !b.looks {
		b.looks = true
		time.AfterFunc(slow-time.Since(b.calls[0].sent), b.look)
	}
}

// begin records a new call as in progress. The caller holds the lock.
func (b *Batcher[K, R]) begin(lookups ...*lookup[K, R]) *call[K, R] {
	c := &call[K, R]{lookups, time.Now()}
	b.calls = append(b.calls, c)
	return c
}

// maySend reports whether another call may begin. The caller holds the lock.
func (b *Batcher[K, R]) maySend() bool {
	return len(b.calls) < maxInProgress && len(b.calls)+b.slow < maxCalls
}

// look moves slow calls from b.calls to the count b.slow, so that they no
// longer make look-ups wait. It then sends the waiting look-ups.
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

// take removes up to MaxKeys look-ups from the front of the queue and returns
// them. It skips look-ups without callers. The caller holds the lock.
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

// errExit is the error of a call that did not return, because find called
// [runtime.Goexit].
var errExit = errors.New("the look-up did not return: it called runtime.Goexit")

// work makes the call, and then further calls until no look-up waits.
func (b *Batcher[K, R]) work(c *call[K, R]) {
	growStack()
	for c != nil {
		c = b.run(c, true)
	}
}

// run makes the call. If more is true and look-ups wait, run also returns the
// next call, which the caller must make.
func (b *Batcher[K, R]) run(c *call[K, R], more bool) (next *call[K, R]) {
	var results []R
	err := errExit
	defer func() { next = b.end(c, results, err, more && err != errExit) }()
	ctx, cancel, _ := b.timeout.Call(context.Background()) // no error, because the background context never ends
	defer cancel()
	keys, until := make([]K, len(c.lookups)), c.lookups[0].until
	for i, l := range c.lookups {
		keys[i], until = l.key, later(until, l.until)
	}
	if !until.IsZero() { // no caller waits after that time
		ctx, cancel = context.WithDeadline(ctx, until)
		defer cancel()
	}
	results, err = b.find(ctx, keys)
	if err == nil && len(results) != len(keys) {
		err = fmt.Errorf("a look-up of %d keys returned %d results, want one for each key", len(keys), len(results))
	}
	return nil
}

// end records that the call c has ended. It sends the look-ups that waited for
// c to return, and wakes the callers of c. If more is true, end returns one of
// the new calls instead of sending it, and the caller of end must make that
// call.
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

// stackSize is roughly the size of the stack that a database driver needs, in
// bytes.
const stackSize = 6 << 10

// growStack grows the stack of a new goroutine in one step. Otherwise the stack
// would grow in several steps while the driver runs. Each step copies the
// stack, which takes a tenth of a look-up's time.
//
//go:noinline
func growStack() byte {
	var room [stackSize]byte
	return first(&room)
}

//go:noinline
func first(room *[stackSize]byte) byte { return room[0] }
