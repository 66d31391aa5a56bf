package limiter

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/bearerkit/bearerkit/tokenauth/throttle"
)

// A queue is where attempts of one account and source wait for pending ones.
type queue struct {
	pending int // in this process
	turns   []chan struct{}
}

// maxWaiting is how many attempts wait in all queues together. Each holds its
// request and nothing more.
const maxWaiting = 4096

var errQueueFull = errors.New("too many sign-ins wait for pending ones")

// wait returns when this attempt should try again: a pending one was settled,
// or, if none is pending in this process, after a while in which one of another
// source or process may have been.
func (l *Limiter) wait(ctx context.Context, key throttle.Key) error {
	const elsewhere = 100 * time.Millisecond
	turn := make(chan struct{})
	l.mu.Lock()
	if l.waiting >= maxWaiting {
		l.mu.Unlock()
		return errQueueFull
	}
	l.waiting++
	q := l.queue(key)
	q.turns = append(q.turns, turn)
	alone := q.pending == 0
	l.mu.Unlock()

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
		l.leave(key, turn)
		return nil
	case <-ctx.Done():
		l.leave(key, turn)
		l.wake(key, 0) // the turn goes to the next
		return ctx.Err()
	}
}

func (l *Limiter) enter(key throttle.Key) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.queue(key).pending++
}

// wake gives the first in the queue its turn, after so many were settled.
func (l *Limiter) wake(key throttle.Key, settled int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	q := l.queue(key)
	q.pending -= settled
	if len(q.turns) > 0 {
		close(q.turns[0])
		q.turns = q.turns[1:]
		l.waiting--
	}
	l.drop(key, q)
}

func (l *Limiter) leave(key throttle.Key, turn chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	q := l.queue(key)
	if i := slices.Index(q.turns, turn); i >= 0 {
		q.turns = slices.Delete(q.turns, i, i+1)
		l.waiting--
	}
	l.drop(key, q)
}

// queue returns the queue of the key. The caller holds the lock.
func (l *Limiter) queue(key throttle.Key) *queue {
	q := l.queues[key]
	if q == nil {
		q = new(queue)
		l.queues[key] = q
	}
	return q
}

// drop removes an empty queue. The caller holds the lock.
func (l *Limiter) drop(key throttle.Key, q *queue) {
	if q.pending == 0 && len(q.turns) == 0 {
		delete(l.queues, key)
	}
}
