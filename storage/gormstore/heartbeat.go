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
	// patience is how long Watch waits for a heartbeat before it fails, as a multiple
	// of its parameter beat.
	patience = 4
	// slowest is the timeout of a statement on the heartbeat row, as a multiple of
	// beat.
	slowest = 2
)

// A heartbeat proves that the feed reports changes. In each interval of length beat,
// one of the processes that watch the table writes a new nonce to the heartbeat row,
// as the row's stamp. The other processes read the nonce.
//
// The proof has three parts:
//
//   - At the time asOf, the row had a nonce other than the current nonce.
//   - The store wrote or read the current nonce through its own pool.
//   - The listener received the current nonce after asOf.
//
// So the current nonce was committed after asOf. PostgreSQL delivers notifications in
// commit order, so all changes that were committed before asOf have arrived.
//
// A nonce that only the listener received, or that only the pool saw, proves nothing,
// because the listener and the pool may be connected to different databases. A nonce
// that arrived before asOf proves nothing, either, for two reasons. The row may have
// been restored from a backup. Or the pool's connections may see different rows, for
// example because of different search paths.
type heartbeat struct {
	row  beatRow
	beat time.Duration
	feed tokenauth.Invalidator
	wake chan struct{} // signals a nonce that the pool has not seen

	mu       sync.Mutex
	received [64]receipt // a ring buffer of the latest receipts
	next     int         // the index in received of the next receipt
	unread   bool        // whether the listener received a nonce that the pool has not seen
	nonce    string      // the nonce that the pool saw last, or ""
	seen     time.Time   // the start of the last statement that found this nonce in the row
	asOf     time.Time   // a time at which the row had a different nonce; zero if unknown
	proven   time.Time   // the asOf of the last reported heartbeat
	alive    time.Time   // when the last heartbeat was reported; at first, when Watch began

	// Only run uses the fields below.
	version string    // the trigger version
	writeAt time.Time // when to write, unless another process writes earlier
	problem error     // the error of the last statement, or nil
}

// A receipt is a nonce that the listener received, and the time of its arrival.
type receipt struct {
	nonce string
	at    time.Time
}

func newHeartbeat(row beatRow, beat time.Duration, feed tokenauth.Invalidator) *heartbeat {
	now := time.Now()
	return &heartbeat{row: row, beat: beat, feed: feed, wake: make(chan struct{}, 1), alive: now, writeAt: now}
}

// receive records a nonce that the listener received.
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

// prove reports a heartbeat if the proof is complete and h.asOf is later than the
// asOf of the last reported heartbeat. The caller must hold h.mu.
func (h *heartbeat) prove() {
	if h.nonce == "" || !h.asOf.After(h.proven) || !slices.ContainsFunc(h.received[:], func(r receipt) bool {
		return r.nonce == h.nonce && !r.at.Before(h.asOf)
	}) {
		return
	}
	h.feed.Heartbeat(h.asOf)
	h.proven, h.alive = h.asOf, time.Now()
}

// run writes and reads the heartbeat row until the context ends or the feed fails. It
// returns an error that says why it stopped.
func (h *heartbeat) run(ctx context.Context) (err error) {
	defer func() {
		if r := recover(); r != nil { // such as a panic of the database driver
			err = fmt.Errorf("gormstore: writing or reading the feed's heartbeat panicked: %v", r)
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

// step writes or reads the row if a write or read is due. It returns when the next step
// is due.
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

// write writes a new nonce, unless another process has written one since this process
// last saw the row. The first call always writes, so that the first heartbeat comes
// without delay.
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
	h.unread = false // a nonce that arrives from now on needs another read
	h.mu.Unlock()
	at := time.Now()
	saw, err := h.row.read(ctx)
	if err == nil {
		h.see(saw, at)
	}
	return err
}

// see records the state of the heartbeat row that a statement found or wrote. The
// parameter at is the time when that statement began.
func (h *heartbeat) see(saw sighting, at time.Time) {
	if saw.version != "" {
		if h.version != "" && h.version != saw.version {
			h.feed.InvalidateAll() // the trigger may have been missing for a moment
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
		h.unread = false // the pool has seen every nonce that the listener received
	}
	h.prove()
}

// times returns three values: over is when to give up if no heartbeat arrives, readAt
// is the earliest time for the next read, and unread is whether a read is needed. Reads
// are at least a quarter of h.beat apart, because another process with a shorter beat
// may write more often than this process needs to read.
func (h *heartbeat) times() (over, readAt time.Time, unread bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.alive.Add(patience * h.beat), h.seen.Add(h.beat / 4), h.unread
}

// later returns when to write, unless another process writes earlier. The time
// includes a random part, so that usually one process writes first and the others
// need not write.
func (h *heartbeat) later(now time.Time) time.Time {
	return now.Add(h.beat - mathrand.N(h.beat/4+1))
}

// lost returns an error that explains why no heartbeat arrived. The explanation is the
// last statement's error if that statement failed and no statement that began more than
// h.beat after the last heartbeat succeeded. Otherwise lost lists other possible causes.
func (h *heartbeat) lost() error {
	span := patience * h.beat
	if h.problem != nil && h.seen.Before(h.alive.Add(h.beat)) {
		return fmt.Errorf("gormstore: for %v the feed's heartbeat could not be written to table %stokens, or could not be read from it%s: %w", span, h.row.prefix, h.exhausted(), h.problem)
	}
	err := fmt.Errorf("gormstore: the feed's heartbeat was written to table %stokens, but no notification of it arrived for %v: the listener is connected to another database than the store, or through a proxy that pools transactions, such as PgBouncer; give the listener a DSN that leads to the store's database directly (pgxfeed.Listener.DSN). Or this process was stopped for that long, or the connections of the pool lead to different tables", h.row.prefix, span)
	if h.problem != nil {
		err = fmt.Errorf("%w. The last statement on the heartbeat's row failed, too: %w", err, h.problem)
	}
	return err
}

// exhausted returns a clause for the error text of lost if the last statement timed out
// and all connections of the pool are in use. Otherwise it returns "".
func (h *heartbeat) exhausted() string {
	pool, err := h.row.db.DB()
	if err != nil || !errors.Is(h.problem, context.DeadlineExceeded) {
		return ""
	}
	stats := pool.Stats()
	if stats.MaxOpenConnections == 0 || stats.InUse < stats.MaxOpenConnections {
		return ""
	}
	return fmt.Sprintf(", because all %d connections of the pool are in use (SetMaxOpenConns)", stats.MaxOpenConnections)
}
