package tokenauth

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"
)

// CacheOptions are what a host may want otherwise of the cache. The zero value
// is the advice.
type CacheOptions struct {
	// MaxEntries is how many tokens are kept at most; zero means 100,000. From
	// 1 to 100 million. A token takes about 300 bytes.
	MaxEntries int

	// Lease is how long the cache goes on serving when it no longer hears from
	// the storage: the longest that a token may outlive its end on a replica
	// behind a network that is half dead. Zero means 2 seconds. From 100
	// milliseconds to 1 minute. The storage is asked for a sign of life four
	// times in it.
	Lease time.Duration
}

func (o *CacheOptions) withDefaults() (CacheOptions, error) {
	c := *o
	setDefault(&c.MaxEntries, 100_000)
	setDefault(&c.Lease, 2*time.Second)
	if c.MaxEntries < 1 || c.MaxEntries > 100_000_000 {
		return c, fmt.Errorf("tokenauth: Options.Cache.MaxEntries is %d, must be from 1 to 100000000", c.MaxEntries)
	}
	if c.Lease < 100*time.Millisecond || c.Lease > time.Minute {
		return c, fmt.Errorf("tokenauth: Options.Cache.Lease is %v, must be from 100ms to 1m", c.Lease)
	}
	return c, nil
}

// CacheStats are figures of the cache since the Service was made.
type CacheStats struct {
	Hits          uint64 // validations answered from the cache
	Misses        uint64 // validations that asked the storage and may have filled the cache
	Bypasses      uint64 // validations that asked the storage because the feed was not alive
	Invalidations uint64 // users of whom a token ended, as the feed or this Service had it
	Flushes       uint64 // times that everything was forgotten
	Evictions     uint64 // tokens that made room for others
	Entries       int    // tokens that take up room now
	FeedAlive     bool   // whether the cache may serve at this moment
}

// A cache keeps tokens that were found, for as long as a feed of the storage's
// changes proves that it would tell if they ended.
//
// It only ever answers yes. Whatever it would refuse, be it that it does not
// know the slot or that it has another token there, is asked of the storage: a
// token which another replica issued a moment ago is good here at once.
type cache struct {
	watcher Watcher
	lease   time.Duration
	table   *table

	started time.Time    // with a monotonic reading; what until counts from
	until   atomic.Int64 // nanoseconds after started, when the lease ends

	logger *slog.Logger
	kept   atomic.Bool // whether Run was called, or it was told that it was not

	mu    sync.Mutex
	loads map[Slot]*load // those under way

	counters [32]counters // spread, so that cores do not wait for each other's
	flushes  atomic.Uint64
}

type counters struct {
	hits, misses, bypasses, invalidations atomic.Uint64
	_                                     [32]byte
}

func newCache(s Storage, o *CacheOptions, logger *slog.Logger) (*cache, error) {
	w, ok := s.(Watcher)
	if !ok {
		return nil, fmt.Errorf("tokenauth: Options.Cache needs a storage that tells of changes (a Watcher), and %T is none: gormstore.WithFeed on PostgreSQL and redisstore.WithFeed make one", s)
	}
	options, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	return &cache{
		watcher: w,
		lease:   options.Lease,
		table:   newTable(options.MaxEntries),
		started: time.Now(),
		logger:  logger,
		loads:   make(map[Slot]*load),
	}, nil
}

// CacheStats returns figures of the cache; all zero without one. The counters
// do not all come from one instant.
func (s *Service) CacheStats() (stats CacheStats) {
	c := s.cache
	if c == nil {
		return stats
	}
	for i := range c.counters {
		stats.Hits += c.counters[i].hits.Load()
		stats.Misses += c.counters[i].misses.Load()
		stats.Bypasses += c.counters[i].bypasses.Load()
		stats.Invalidations += c.counters[i].invalidations.Load()
	}
	stats.Flushes = c.flushes.Load()
	stats.Evictions = c.table.evictions.Load()
	stats.Entries = int(c.table.size.Load())
	stats.FeedAlive = c.alive()
	return stats
}

func (c *cache) count(u *UserKey) *counters { return &c.counters[u[15]%32] }

func (c *cache) alive() bool { return c.aliveAt(time.Now()) }

func (c *cache) aliveAt(reading time.Time) bool {
	return int64(reading.Sub(c.started)) < c.until.Load()
}

// hit is accept, counted. The reading of the clock comes before the call.
func (c *cache) hit(p place, d *Digest, reading time.Time) *entry {
	e := c.accept(p, d, reading)
	if e != nil {
		c.count(&e.slot.User).hits.Add(1)
	}
	return e
}

// accept returns the entry of the token with that digest, or nil if the
// storage has to be asked.
func (c *cache) accept(p place, d *Digest, reading time.Time) *entry {
	// The lease comes before the entry: what ended before the lease was last
	// renewed is out of the table by now.
	if !c.aliveAt(reading) {
		return nil
	}
	return c.table.match(p, d)
}

// A load is one look-up of a slot that several validations wait for.
type load struct {
	was  stamp
	done chan struct{}
	err  error // what the storage's trouble was, for all who wait; else nil
}

// A reader asks the storage for a slot.
type reader func(context.Context, Slot) (*Token, error)

// find finds a token by asking the storage, and keeps it. Of several that want
// the same slot at the same time one asks.
func (c *cache) find(ctx context.Context, slot Slot, d *Digest, read reader) (held, error) {
	count := c.count(&slot.User)
	if !c.alive() {
		count.bypasses.Add(1)
		c.missRun(ctx)
		// What is now seen may be newer than what the table has, and must not
		// be taken back when the feed is alive again.
		defer c.table.forget(&slot.User)
		return hold(read(ctx, slot))
	}
	count.misses.Add(1)
	was := c.table.stamp(&slot)
	c.mu.Lock()
	l := c.loads[slot]
	if l == nil {
		l = &load{was: was, done: make(chan struct{})}
		c.loads[slot] = l
		c.mu.Unlock()
		return c.lead(ctx, slot, l, read)
	}
	c.mu.Unlock()
	if l.was == was { // nothing has changed since it began
		select {
		case <-l.done:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		// As if this validation had come now, and not before.
		if e := c.accept(placeOf(&slot.User), d, time.Now()); e != nil {
			return e, nil
		}
		if l.err != nil {
			return nil, l.err
		}
		was = c.table.stamp(&slot)
	}
	return c.keep(ctx, slot, was, read)
}

// runGrace is how long a host may take to call Run.
const runGrace = 30 * time.Second

// missRun tells, once, that nobody has called Run: nothing else but the load on
// the storage would.
func (c *cache) missRun(ctx context.Context) {
	if !c.kept.Load() && time.Since(c.started) >= runGrace && !c.kept.Swap(true) {
		c.logger.WarnContext(ctx, "tokenauth: the cache does not serve, because Service.Run was not called: each validation asks the storage")
	}
}

// lead does a load for itself and for those who wait.
func (c *cache) lead(ctx context.Context, slot Slot, l *load, read reader) (h held, err error) {
	defer func() { // also when the storage panics
		// That there is no token may be otherwise by now. And a client that
		// went away is no reason to turn others away.
		if err != nil && ctx.Err() == nil && !errors.Is(err, ErrNotFound) {
			l.err = err
		}
		c.mu.Lock()
		delete(c.loads, slot)
		c.mu.Unlock()
		close(l.done)
	}()
	return c.keep(ctx, slot, l.was, read)
}

// keep reads the slot, and keeps what it finds unless something has changed
// since the stamp was taken.
func (c *cache) keep(ctx context.Context, slot Slot, was stamp, read reader) (held, error) {
	t, err := read(ctx, slot)
	if errors.Is(err, ErrNotFound) {
		c.table.forget(&slot.User)
	}
	if err != nil {
		return nil, err
	}
	e := newEntry(t)
	if c.table.put(e, was) {
		c.table.shrink()
	}
	return e, nil
}

// changed forgets a user.
func (c *cache) changed(u UserKey) {
	c.table.forget(&u)
	c.count(&u).invalidations.Add(1)
}

// flush forgets everything.
func (c *cache) flush() {
	c.table.forgetAll()
	c.flushes.Add(1)
}

// run keeps the feed going until the context ends. It tells the log when
// the feed is lost and when it is back, but not of each try in between.
func (c *cache) run(ctx context.Context) {
	c.kept.Store(true)
	const shortest, longest = 50 * time.Millisecond, time.Second
	down := false
	for pause := shortest; ctx.Err() == nil; pause = min(2*pause, longest) {
		s := &subscription{cache: c, began: func() {
			if down {
				c.logger.InfoContext(ctx, "tokenauth: the feed of changes is back; the cache serves again")
			}
			down = false
			pause = shortest
		}}
		err := c.watch(ctx, s)
		c.until.Store(0)
		if ctx.Err() != nil {
			return
		}
		if !down {
			c.logger.ErrorContext(ctx, "tokenauth: the feed of changes is lost; until it is back each validation asks the storage", "error", err)
		}
		down = true
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
}

func (c *cache) watch(ctx context.Context, s *subscription) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: %T in a feed\n%s", errPanic, p, debug.Stack())
		}
	}()
	return c.watcher.Watch(ctx, c.lease/4, s)
}

// A subscription is the Feed of one call of Watch.
type subscription struct {
	*cache
	first sync.Once
	began func() // called once
}

// Changed implements Feed.
func (s *subscription) Changed(u UserKey) { s.changed(u) }

// ChangedAll implements Feed.
func (s *subscription) ChangedAll() { s.flush() }

// Alive implements Feed.
func (s *subscription) Alive(asOf time.Time) {
	s.first.Do(func() {
		s.flush() // what changed while nobody listened is not known
		s.began()
	})
	until := int64(asOf.Add(s.lease).Sub(s.started))
	for {
		old := s.until.Load()
		if until <= old || s.until.CompareAndSwap(old, until) {
			return
		}
	}
}
