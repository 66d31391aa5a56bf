package gormstore

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/bearerkit/bearerkit/tokenauth"
)

const (
	// patience is after how many beats without a heartbeat Watch ends.
	patience = 4
	// slowest is how many beats a statement of the heartbeat may take.
	slowest = 2
)

// A heartbeat proves that changes arrive, by a change of the beat row whose stamp is
// a nonce that was never used before. Of all processes that watch the table, one
// writes in each beat; the others see it.
//
// The proof has three parts. At some moment the row had another nonce than it
// has now. The store has written or read the one that it has now, by its own pool.
// And the listener has received that one, after the moment. Its transaction
// committed after the moment, and PostgreSQL delivers in the order of commits, so
// everything that was committed before the moment has arrived. A nonce that only
// the listener knows, of another database, or only the pool, proves nothing. Nor does
// one that arrived before the moment: the pool's connections lead to several rows,
// by different search paths for example, or the row was restored from a backup.
type heartbeat struct {
	row  beatRow
	beat time.Duration
	feed tokenauth.Invalidator
	wake chan struct{} // the listener received what the pool has not seen

	mu       sync.Mutex
	received [64]receipt // the last ones, as a ring
	next     int         // in received
	unread   bool
	nonce    string    // that the pool saw last, or ""
	seen     time.Time // from before it was seen the last time
	asOf     time.Time // when the row had another nonce; or zero
	proven   time.Time // the asOf of the last heartbeat
	alive    time.Time // when that was, or Watch began

	// The rest belongs to run.
	version string    // of the triggers
	writeAt time.Time // unless another process does before
	problem error     // of the last statement
}

// A receipt is a nonce that the listener received, and when.
type receipt struct {
	nonce string
	at    time.Time
}

func newHeartbeat(row beatRow, beat time.Duration, feed tokenauth.Invalidator) *heartbeat {
	now := time.Now()
	return &heartbeat{row: row, beat: beat, feed: feed, wake: make(chan struct{}, 1), alive: now, writeAt: now}
}

// receive is told of each nonce that comes by the listener.
func (h *heartbeat) receive(nonce string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.received[h.next] = receipt{nonce, time.Now()}
	h.next = (h.next + 1) % len(h.received)
	if nonce == h.nonce {
		h.prove()
		return
	}
	h.unread = true
	select {
	case h.wake <- struct{}{}:
	default:
	}
}

// prove reports a heartbeat if there is one. The caller holds the lock.
func (h *heartbeat) prove() {
	if h.nonce == "" || !h.asOf.After(h.proven) || !slices.ContainsFunc(h.received[:], func(r receipt) bool {
		return r.nonce == h.nonce && !r.at.Before(h.asOf)
	}) {
		return
	}
	h.feed.Heartbeat(h.asOf)
	h.proven, h.alive = h.asOf, time.Now()
}

// run writes and reads the row until the context ends or the feed is lost, and
// returns why.
func (h *heartbeat) run(ctx context.Context) (err error) {
	defer func() {
		if r := recover(); r != nil { // in the host's pool; Watch's caller would have recovered
			err = fmt.Errorf("gormstore: the heartbeat of the feed panicked: %v", r)
		}
	}()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-h.wake:
		case <-timer.C:
		}
		due, err := h.step(ctx)
		if err != nil {
			return err
		}
		timer.Reset(time.Until(due))
	}
}

// step does what is due, and returns when the next is.
func (h *heartbeat) step(ctx context.Context) (due time.Time, err error) {
	now := time.Now()
	over, readAt, unread := h.times()
	switch {
	case !now.Before(over):
		return due, h.lost()
	case !now.Before(h.writeAt):
		h.writeAt = h.later(now)
		h.problem = h.write(ctx)
	case unread && !now.Before(readAt):
		h.problem = h.read(ctx)
	}
	if errors.Is(h.problem, errNoFeed) {
		return due, h.problem
	}
	over, due, unread = h.times()
	if !unread || h.writeAt.Before(due) {
		due = h.writeAt
	}
	if over.Before(due) {
		due = over
	}
	return due, nil
}

// write changes the row unless another process did since it was seen; the first
// time it does so anyway, for a heartbeat without delay.
func (h *heartbeat) write(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, slowest*h.beat)
	defer cancel()
	at := time.Now()
	saw, err := h.row.write(ctx, h.nonce, rand.Text())
	if err == nil {
		h.see(saw, at)
	}
	return err
}

func (h *heartbeat) read(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, slowest*h.beat)
	defer cancel()
	h.mu.Lock()
	h.unread = false // what arrives from now on is to be read again
	h.mu.Unlock()
	at := time.Now()
	saw, err := h.row.read(ctx)
	if err == nil {
		h.see(saw, at)
	}
	return err
}

// see is told of the row as it was at that moment or later.
func (h *heartbeat) see(saw sighting, at time.Time) {
	if saw.version != "" {
		if h.version != "" && h.version != saw.version {
			h.feed.InvalidateAll() // for a moment there may have been no trigger
		}
		h.version = saw.version
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if saw.stamp != h.nonce {
		switch {
		case saw.written:
			h.asOf = at
		case h.nonce != "":
			h.asOf = h.seen
		}
		h.nonce = saw.stamp
		h.writeAt = h.later(at)
	}
	h.seen = at
	if h.received[(h.next+len(h.received)-1)%len(h.received)].nonce == h.nonce {
		h.unread = false // the pool has seen all that the listener received
	}
	h.prove()
}

// times returns when the feed is over without a heartbeat, and when the row is to be
// read next if it is unread. Where others have a shorter beat, this one need not
// see each of theirs.
func (h *heartbeat) times() (over, readAt time.Time, unread bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.alive.Add(patience * h.beat), h.seen.Add(h.beat / 4), h.unread
}

// later returns when to write if the row does not change from now on. The jitter has
// one of several processes come before the others.
func (h *heartbeat) later(now time.Time) time.Time {
	return now.Add(h.beat - mathrand.N(h.beat/4+1))
}

// lost returns why there is no heartbeat. A statement that failed is the reason unless
// others worked for more than a beat.
func (h *heartbeat) lost() error {
	span := patience * h.beat
	if h.problem != nil && h.seen.Before(h.alive.Add(h.beat)) {
		return fmt.Errorf("gormstore: for %v the feed's heartbeat could not be written to table %stokens, or not be read there%s: %w", span, h.row.prefix, h.exhausted(), h.problem)
	}
	err := fmt.Errorf("gormstore: the feed's heartbeat was written to table %stokens, and for %v no notification of it arrived: the listener is connected to another database than the store, or through a proxy that pools transactions, such as PgBouncer; give it a DSN that leads to the store's database directly (pgxfeed.Listener.DSN). Or this process was stopped for that long, or the connections of the pool lead to different tables", h.row.prefix, span)
	if h.problem != nil {
		err = fmt.Errorf("%w; and the last statement failed: %w", err, h.problem)
	}
	return err
}

// exhausted returns that a statement waited for a connection, if it did.
func (h *heartbeat) exhausted() string {
	pool, err := h.row.db.DB()
	if err != nil || !errors.Is(h.problem, context.DeadlineExceeded) {
		return ""
	}
	stats := pool.Stats()
	if stats.MaxOpenConnections == 0 || stats.InUse < stats.MaxOpenConnections {
		return ""
	}
	return fmt.Sprintf(", as all %d connections of the pool are in use (SetMaxOpenConns)", stats.MaxOpenConnections)
}
