package tokenauth

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bearerkit/bearerkit/tokenauth/internal/cache"
	"github.com/bearerkit/bearerkit/tokenauth/internal/deadline"
)

// A tokenCache keeps tokens that the storage returned, while the heartbeats of
// the storage's feed prove that the feed would report their end.
//
// It only accepts. What it does not have, it asks the storage for: a token that
// another replica issued a moment ago is valid here at once.
type tokenCache struct {
	watcher Watcher
	lease   time.Duration
	table   *cache.Table[Token]

	started time.Time    // with a monotonic reading; until counts from it
	until   atomic.Int64 // nanoseconds after started, when the lease ends

	logger *slog.Logger

	mu    sync.Mutex
	loads map[Slot]*load      // in progress
	roles map[string][]string // shared, by the roles joined

	counters [32]cacheCounters // spread, so that cores do not wait for each other's
	flushes  atomic.Uint64
}

type cacheCounters struct {
	hits, misses, bypasses, invalidations atomic.Uint64
	_                                     [32]byte
}

func newTokenCache(s Storage, o *CacheOptions, logger *slog.Logger) (*tokenCache, error) {
	w, ok := s.(Watcher)
	if !ok {
		return nil, fmt.Errorf("tokenauth: Options.Cache needs a Watcher, a storage with a feed; %T is not one: gormstore.WithFeed on PostgreSQL and redisstore.WithFeed make one", s)
	}
	options, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	return &tokenCache{
		watcher: w,
		lease:   options.Lease,
		table:   cache.New(options.MaxEntries, (*Token).identify),
		started: time.Now(),
		logger:  logger,
		loads:   make(map[Slot]*load),
		roles:   make(map[string][]string),
	}, nil
}

// identify returns what the cache finds the token by, and whose it is.
func (t *Token) identify() (*cache.Key, *cache.Group) {
	return (*cache.Key)(&t.Digest), (*cache.Group)(&t.Slot.User)
}

func (c *tokenCache) count(u *UserKey) *cacheCounters { return &c.counters[u[15]%32] }

func (c *tokenCache) alive() bool { return c.aliveAt(time.Now()) }

func (c *tokenCache) aliveAt(reading time.Time) bool {
	return int64(reading.Sub(c.started)) < c.until.Load()
}

// hit returns the token with that digest, or nil if the storage must be asked.
// The reading of the clock comes before the call.
func (c *tokenCache) hit(d *Digest, reading time.Time) *Token {
	t := c.get(d, reading)
	if t != nil {
		c.count(&t.Slot.User).hits.Add(1)
	}
	return t
}

func (c *tokenCache) get(d *Digest, reading time.Time) *Token {
	// The lease comes before the table: what ended before the lease was last
	// renewed is not found there.
	if !c.aliveAt(reading) {
		return nil
	}
	return c.table.Get((*cache.Key)(d))
}

// A load is one read of a slot that several validations wait for.
type load struct {
	stamp cache.Stamp
	done  chan struct{}
	err   error // the storage's failure, for all who wait; else nil
}

// A reader asks the storage for a slot.
type reader func(context.Context, Slot) (*Token, error)

// find asks the storage for the token in the slot, and keeps it. Of several
// validations that need the same slot at the same time, one asks.
func (c *tokenCache) find(ctx context.Context, slot Slot, d *Digest, read reader) (*Token, error) {
	count := c.count(&slot.User)
	if !c.alive() {
		count.bypasses.Add(1)
		// This read may see a newer token than the table has. The table must not
		// accept the older one when the feed is alive again.
		defer c.table.Invalidate((*cache.Group)(&slot.User))
		return read(ctx, slot)
	}
	count.misses.Add(1)
	t, l, leads := c.enter(slot, d, true)
	if t == nil && !leads {
		select {
		case <-l.done:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		// That read began before this validation did. It can show that the token
		// is valid, but not that it is invalid.
		if t = c.get(d, time.Now()); t == nil && l.err != nil {
			return nil, l.err
		}
		if t == nil {
			t, l, _ = c.enter(slot, d, false)
		}
	}
	if t != nil {
		return t, nil
	}
	return c.lead(ctx, slot, l, read)
}

// enter returns the token, if a load kept it just now; or the load in progress,
// to join; or a new load, which the caller leads.
//
// A new load takes the place of one that cannot be joined. That one then keeps
// nothing, and also the new one keeps nothing if the other ends first: after a
// validation refused a token, no read in progress may bring the token back.
func (c *tokenCache) enter(slot Slot, d *Digest, join bool) (t *Token, l *load, leads bool) {
	stamp := c.table.Stamp((*cache.Group)(&slot.User))
	c.mu.Lock()
	defer c.mu.Unlock()
	if t := c.get(d, time.Now()); t != nil {
		return t, nil, false
	}
	if l := c.loads[slot]; join && l != nil && l.stamp == stamp { // nothing has changed since it began
		return nil, l, false
	}
	l = &load{stamp: stamp, done: make(chan struct{})}
	c.loads[slot] = l
	return nil, l, true
}

// lead does a load, for the caller and for those who joined it.
func (c *tokenCache) lead(ctx context.Context, slot Slot, l *load, read reader) (t *Token, err error) {
	defer func() { // also when the storage panics
		// An empty slot may have a token by now. And a client that went away is
		// no reason to turn others away.
		if err != nil && !deadline.Ended(ctx) && !errors.Is(err, ErrNotFound) {
			l.err = err
		}
		c.mu.Lock()
		if c.loads[slot] == l {
			delete(c.loads, slot)
		}
		c.mu.Unlock()
		close(l.done)
	}()
	t, err = read(ctx, slot)
	switch {
	case errors.Is(err, ErrNotFound), errors.Is(err, ErrCorrupt):
		c.table.Invalidate((*cache.Group)(&slot.User))
	case err == nil:
		c.keep(l, t)
	}
	return t, err
}

// keep keeps the token of a load, under the stamp that was taken before the load
// began. The token that it replaced is no longer accepted, even if the feed has
// not reported that yet.
func (c *tokenCache) keep(l *load, t *Token) {
	if !t.Replaced.IsZero() && t.Replaced != t.Digest {
		c.table.Remove((*cache.Key)(&t.Replaced))
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.loads[t.Slot] != l { // another took its place, and may have read before it
		c.table.Invalidate((*cache.Group)(&t.Slot.User))
		return
	}
	c.table.Put(c.pack(t), l.stamp)
}

// pack returns a copy of t that costs the garbage collector little: its strings
// share one allocation, and it shares its roles with others. It shares the
// attributes with t. The caller holds the lock.
func (c *tokenCache) pack(t *Token) Token {
	packed := *t
	parts := []*string{&packed.ClientID, &packed.Principal.UserID, &packed.Principal.UserName, &packed.Principal.Stamp}
	var all strings.Builder
	all.Grow(len(t.ClientID) + len(t.Principal.UserID) + len(t.Principal.UserName) + len(t.Principal.Stamp))
	for _, part := range parts {
		all.WriteString(*part)
	}
	rest := all.String()
	for _, part := range parts {
		*part, rest = rest[:len(*part)], rest[len(*part):]
	}
	packed.Principal.Roles = c.sharedRoles(t.Principal.Roles)
	return packed
}

// maxSharedRoles bounds the lists of roles that are remembered for sharing.
const maxSharedRoles = 1000

func (c *tokenCache) sharedRoles(roles []string) []string {
	if len(roles) == 0 {
		return roles
	}
	joined := strings.Join(roles, ",") // no role has a comma
	shared, ok := c.roles[joined]
	if !ok {
		if len(c.roles) >= maxSharedRoles {
			clear(c.roles)
		}
		shared = strings.Split(joined, ",")
		c.roles[joined] = shared
	}
	return shared
}

// invalidate forgets the tokens of a user.
func (c *tokenCache) invalidate(u UserKey) {
	c.table.Invalidate((*cache.Group)(&u))
	c.count(&u).invalidations.Add(1)
}

// flush forgets all tokens.
func (c *tokenCache) flush() {
	c.table.InvalidateAll()
	c.flushes.Add(1)
}

// CacheStats are figures of the cache since the Service was made.
type CacheStats struct {
	Hits          uint64 // validations that the cache answered
	Misses        uint64 // validations that asked the storage, and may have filled the cache
	Bypasses      uint64 // validations that asked the storage because the feed was not alive
	Invalidations uint64 // users of whom the feed or this Service reported the end of a token
	Flushes       uint64 // times that all tokens were invalidated
	Evictions     uint64 // valid tokens that made room for others
	Entries       int    // tokens that take up room, valid or not
	FeedAlive     bool   // whether the cache may serve now
}

// stats returns the figures. They are not all from one instant.
func (c *tokenCache) stats() (stats CacheStats) {
	for i := range c.counters {
		stats.Hits += c.counters[i].hits.Load()
		stats.Misses += c.counters[i].misses.Load()
		stats.Bypasses += c.counters[i].bypasses.Load()
		stats.Invalidations += c.counters[i].invalidations.Load()
	}
	stats.Flushes = c.flushes.Load()
	stats.Evictions = c.table.Evictions()
	stats.Entries = c.table.Len()
	stats.FeedAlive = c.alive()
	return stats
}
