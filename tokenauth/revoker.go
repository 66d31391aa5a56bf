package tokenauth

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"
)

const (
	revocationInterval = 500 * time.Millisecond
	// revocationGrace is the minimum time that a revocation stays in its queue
	// after a Service first saw it. In that time, every other running Service
	// also sees it.
	revocationGrace = 10 * time.Second
	// revocationsAtOnce is how many users one lane processes at the same time.
	revocationsAtOnce = 4
)

// A revoker reads the [RevocationQueue]s of its [Service]. It ends the tokens
// that the Service's storage holds for the users and clients in these queues.
//
// There are separate lanes, each with its own goroutines, for users'
// revocations, for retries of those that failed, for clients' revocations, and
// for removing finished revocations from the queue. So a user's revocation need
// not wait for the other lanes, which may be slow: ending a client's tokens may
// take a long time, and a retry or a removal may wait for one of the host's
// open transactions.
type revoker struct {
	*Service
	queues []RevocationQueue
	round  int
	known  map[Revocation]*queuedRevocation

	users, again, clients, removals revokerLane

	listing, ending, removing outage

	unread atomic.Bool // the last read of a queue failed
}

const mayStayValid = "tokens that must end may stay valid"

func (s *Service) newRevoker() *revoker {
	return &revoker{
		Service:  s,
		queues:   s.revocationQueues(),
		known:    make(map[Revocation]*queuedRevocation),
		users:    revokerLane{slots: make(chan struct{}, revocationsAtOnce)},
		again:    revokerLane{slots: make(chan struct{}, revocationsAtOnce)},
		clients:  revokerLane{slots: make(chan struct{}, 1)},
		removals: revokerLane{slots: make(chan struct{}, 1)},
		listing:  outage{doing: "reading the queue of revocations", effect: mayStayValid},
		ending:   outage{doing: "ending the tokens of a changed user or client", effect: mayStayValid},
		removing: outage{doing: "removing a revocation from its queue", effect: mayStayValid},
	}
}

// A queuedRevocation is a [Revocation] that this Service has seen in a queue.
type queuedRevocation struct {
	Revocation
	queue        RevocationQueue
	seen         time.Time
	round        int         // the number of the last poll that found the revocation in its queue
	busy, failed atomic.Bool // busy: in progress; failed: the last attempt failed
	done         atomic.Bool // the tokens have ended
}

func (r *revoker) run(ctx context.Context) {
	if len(r.queues) == 0 {
		return
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	ticker := time.NewTicker(revocationInterval)
	defer ticker.Stop()
	for ctx.Err() == nil {
		r.begin(ctx, &wg, r.poll(ctx))
		select {
		case <-ctx.Done():
		case <-ticker.C:
		}
	}
}

// poll reads the queues and returns the revocations to process. Some may no
// longer be in a queue, because another Service may remove a revocation before
// this Service has ended the tokens in its own storage. poll returns such a
// revocation until its tokens have ended, or until a later revocation for the
// same user or client is in a queue.
func (r *revoker) poll(ctx context.Context) (found []*queuedRevocation) {
	r.round++
	var failed error
	for _, queue := range r.queues {
		of, err := r.read(ctx, queue)
		found = append(found, of...)
		failed = errors.Join(failed, err)
	}
	r.listing.report(ctx, r.options.Logger, &r.unread, failed)
	if failed != nil {
		return found
	}
	queued := make(map[Revocation]bool) // the keys have no Change
	for _, q := range found {
		queued[q.of()] = true
	}
	for revocation, q := range r.known {
		switch {
		case q.round == r.round || q.busy.Load():
		case q.done.Load() || queued[q.of()]:
			r.outageOf(q).report(ctx, r.options.Logger, &q.failed, nil)
			delete(r.known, revocation)
		default:
			found = append(found, q)
		}
	}
	return found
}

// of returns the user or the client of the revocation, without its Change.
func (q *queuedRevocation) of() Revocation {
	return Revocation{UserID: q.UserID, ClientID: q.ClientID}
}

func (r *revoker) read(ctx context.Context, queue RevocationQueue) (found []*queuedRevocation, err error) {
	var after Revocation
	for {
		var page []Revocation
		err := r.call(ctx, func(ctx context.Context) (err error) {
			page, err = queue.PendingRevocations(ctx, after)
			return err
		})
		if err != nil {
			return found, err
		}
		more := false
		for _, revocation := range page {
			q := r.known[revocation]
			if q == nil {
				q = &queuedRevocation{Revocation: revocation, queue: queue, seen: time.Now()}
				r.known[revocation] = q
			}
			if q.round != r.round { // false if an earlier page or another queue has already listed q
				q.round, more = r.round, true
				found = append(found, q)
			}
		}
		if !more {
			return found, nil
		}
		after = page[len(page)-1]
	}
}

// begin starts to process the revocations, each in the lane for its kind.
func (r *revoker) begin(ctx context.Context, wg *sync.WaitGroup, found []*queuedRevocation) {
	var again, clients, old []*queuedRevocation
	late, stop := context.WithTimeout(ctx, revocationInterval)
	defer stop()
	for _, q := range found {
		switch {
		case q.busy.Load():
		case q.done.Load():
			if time.Since(q.seen) >= revocationGrace {
				old = append(old, q)
			}
		case q.UserID == "":
			clients = append(clients, q)
		case q.failed.Load():
			again = append(again, q)
		default:
			select {
			case r.users.slots <- struct{}{}:
				r.users.start(wg, []*queuedRevocation{q}, func(q *queuedRevocation) { r.end(ctx, q) })
			case <-late.Done(): // all slots are taken, so leave q to the next poll
			}
		}
	}
	for _, q := range again {
		r.again.try(wg, []*queuedRevocation{q}, func(q *queuedRevocation) { r.end(ctx, q) })
	}
	r.clients.try(wg, clients, func(q *queuedRevocation) { r.end(ctx, q) })
	r.removals.try(wg, old, func(q *queuedRevocation) { r.remove(ctx, q) })
}

// A revokerLane processes revocations in goroutines. Each goroutine takes one
// slot, so the number of slots is the maximum number of goroutines. A goroutine
// processes its revocations one after the other.
type revokerLane struct{ slots chan struct{} }

// try starts to process the revocations if a slot is free. Otherwise it does
// nothing, because the next poll returns them again.
func (l *revokerLane) try(wg *sync.WaitGroup, all []*queuedRevocation, do func(*queuedRevocation)) {
	if len(all) == 0 {
		return
	}
	select {
	case l.slots <- struct{}{}:
		l.start(wg, all, do)
	default:
	}
}

// start processes the revocations in a new goroutine. The caller must have
// taken a slot.
func (l *revokerLane) start(wg *sync.WaitGroup, all []*queuedRevocation, do func(*queuedRevocation)) {
	for _, q := range all {
		q.busy.Store(true)
	}
	wg.Go(func() {
		defer func() { <-l.slots }()
		for _, q := range all {
			do(q)
			q.busy.Store(false)
		}
	})
}
