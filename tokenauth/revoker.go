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
	// revocationGrace is how long a revocation stays in its queue, at least,
	// after a Service first saw it. In this time every other running Service
	// sees it, too.
	revocationGrace = 10 * time.Second
	// revocationsAtOnce is how many users' tokens are ended concurrently.
	revocationsAtOnce = 4
)

// A revoker ends the tokens of the users and clients that its
// [RevocationQueue]s name, in the storage of its [Service].
//
// Users, retries, clients and removals have separate lanes, each with
// goroutines of its own. So users need not wait for the others: the revocation
// of a client may take long, and a retry or removal may wait for an open
// transaction of the host.
type revoker struct {
	*Service
	queues []RevocationQueue
	round  int
	known  map[Revocation]*queuedRevocation

	users, again, clients, removals revokerLane

	listing, ending, removing outage

	unread atomic.Bool // the last read of a queue failed
}

func (s *Service) newRevoker() *revoker {
	return &revoker{
		Service:  s,
		queues:   s.revocationQueues(),
		known:    make(map[Revocation]*queuedRevocation),
		users:    revokerLane{slots: make(chan struct{}, revocationsAtOnce)},
		again:    revokerLane{slots: make(chan struct{}, revocationsAtOnce)},
		clients:  revokerLane{slots: make(chan struct{}, 1)},
		removals: revokerLane{slots: make(chan struct{}, 1)},
		listing:  outage{doing: "reading the queue of revocations"},
		ending:   outage{doing: "ending the tokens of a changed user or client"},
		removing: outage{doing: "removing a revocation from its queue"},
	}
}

// A queuedRevocation is a [Revocation] that this Service has seen in a queue.
type queuedRevocation struct {
	Revocation
	queue        RevocationQueue
	seen         time.Time
	round        int         // the number of the last poll that found it in its queue
	busy, failed atomic.Bool // in progress; the last attempt failed
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

// poll reads the queues and returns the revocations to process. Another Service
// may have removed a revocation from its queue before this one could end the
// tokens in its own storage. poll also returns such a revocation, until its
// tokens have ended or the queue has a later one for the same user or client.
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
			if q.round != r.round { // false if an earlier page or another queue has listed it
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

// begin starts to process the revocations, each kind in its own lane.
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
			case <-late.Done(): // all slots are taken: the next poll returns it again
			}
		}
	}
	for _, q := range again {
		r.again.try(wg, []*queuedRevocation{q}, func(q *queuedRevocation) { r.end(ctx, q) })
	}
	r.clients.try(wg, clients, func(q *queuedRevocation) { r.end(ctx, q) })
	r.removals.try(wg, old, func(q *queuedRevocation) { r.remove(ctx, q) })
}

// A revokerLane processes revocations in goroutines, one in each of its slots.
// Each goroutine processes its revocations one after the other.
type revokerLane struct{ slots chan struct{} }

// try starts to process the revocations if a slot is free. Otherwise the next
// poll returns them again.
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

// start processes the revocations in a new goroutine. The caller has taken a
// slot.
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
