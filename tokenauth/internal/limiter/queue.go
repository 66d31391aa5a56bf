package limiter

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/bearerkit/bearerkit/tokenauth/throttle"
)

// A queue is where attempts of one account and source wait for pending ones.
type queue struct {
	pending int // in this process
	turns   []chan struct{}
}

// queues has the queues that are not empty, by account and source.
type queues struct {
	mu      sync.Mutex
	waiting int // in all of them
	byKey   map[throttle.Key]*queue
}

// maxWaiting is how many attempts wait in all queues together. Each holds its
// request and nothing more.
const maxWaiting = 4096

var errQueueFull = errors.New("too many sign-ins wait for pending ones")

// wait returns when this attempt should try again: a pending one was settled,
// or, if none is pending in this process, after a while in which one of another
// source or process may have been.
func (qs *queues) wait(ctx context.Context, key throttle.Key) error {
	const elsewhere = 100 * time.Millisecond
	turn := make(chan struct{})
	qs.mu.Lock()
	if qs.waiting >= maxWaiting {
		qs.mu.Unlock()
		return errQueueFull
	}
	qs.waiting++
	q := qs.queue(key)
	q.turns = append(q.turns, turn)
	alone := q.pending == 0
	qs.mu.Unlock()

	var timeout <-chan time.Time
	if alone {
		timer := time.NewTimer(elsewhere)
		defer timer.Stop()
		timeout = timer.C
	}
	select {
	case <-turn:
		return nil
	case <-timeout:
		qs.leave(key, turn)
		return nil
	case <-ctx.Done():
		qs.leave(key, turn)
		qs.wake(key, 0) // the turn goes to the next
		return ctx.Err()
	}
}

func (qs *queues) enter(key throttle.Key) {
	qs.mu.Lock()
	defer qs.mu.Unlock()
	qs.queue(key).pending++
}

// wake gives the first in the queue its turn, after so many were settled.
func (qs *queues) wake(key throttle.Key, settled int) {
	qs.mu.Lock()
	defer qs.mu.Unlock()
	q := qs.queue(key)
	q.pending -= settled
	if len(q.turns) > 0 {
		close(q.turns[0])
		q.turns = q.turns[1:]
		qs.waiting--
	}
	qs.drop(key, q)
}

func (qs *queues) leave(key throttle.Key, turn chan struct{}) {
	qs.mu.Lock()
	defer qs.mu.Unlock()
	q := qs.queue(key)
	if i := slices.Index(q.turns, turn); i >= 0 {
		q.turns = slices.Delete(q.turns, i, i+1)
		qs.waiting--
	}
	qs.drop(key, q)
}

// queue returns the queue of the key. The caller holds the lock.
func (qs *queues) queue(key throttle.Key) *queue {
	q := qs.byKey[key]
	if q == nil {
		q = new(queue)
		qs.byKey[key] = q
	}
	return q
}

// drop removes an empty queue. The caller holds the lock.
func (qs *queues) drop(key throttle.Key, q *queue) {
	if q.pending == 0 && len(q.turns) == 0 {
		delete(qs.byKey, key)
	}
}
