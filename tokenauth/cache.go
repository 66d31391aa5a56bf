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

// A tokenCache keeps tokens in memory ([Options.Cache]). It serves them only
// during a lease, which each heartbeat of the storage's feed extends
// ([Watcher]). The heartbeats prove that the feed would report the end of a
// token.
//
// On a miss, the Service asks the storage. So the cache never rejects a token
// by itself, and a token that another replica issued a moment ago is valid here
// at once.
type tokenCache struct {
	watcher Watcher
	lease   time.Duration
	table   *cache.Table[Token]

	started time.Time    // has a monotonic reading
	until   atomic.Int64 // end of the lease, in nanoseconds after started

	logger *slog.Logger

	mu    sync.Mutex
	loads map[Slot]*load      // reads of the storage in progress
	roles map[string][]string // lists of roles that tokens share; the key is the list, joined by commas

	counters [32]cacheCounters // spread over cache lines to avoid contention between cores
	flushes  atomic.Uint64
}

type cacheCounters struct {
	hits, misses, bypasses, invalidations atomic.Uint64
	_                                     [32]byte
}

func newTokenCache(s Storage, o *CacheOptions, logger *slog.Logger) (*tokenCache, error) {
	w, ok := s.(Watcher)
	if !ok {
		return nil, fmt.Errorf("tokenauth: Options.Cache needs a storage that implements Watcher, but %T does not: use gormstore.WithFeed on PostgreSQL, or redisstore.WithFeed", s)
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

// identify returns the key by which the cache finds the token, and the group of
// its user. The tokens of a group are invalidated together.
func (t *Token) identify() (*cache.Key, *cache.Group) {
	return (*cache.Key)(&t.Digest), (*cache.Group)(&t.Slot.User)
}

func (c *tokenCache) count(u *UserKey) *cacheCounters { return &c.counters[u[15]%32] }

func (c *tokenCache) alive() bool { return c.aliveAt(time.Now()) }

func (c *tokenCache) aliveAt(reading time.Time) bool {
	return int64(reading.Sub(c.started)) < c.until.Load()
}

// hit returns the cached token with the digest, or nil if the caller must ask
// the storage. The reading is a result of [time.Now] from before the call.
func (c *tokenCache) hit(d *Digest, reading time.Time) *Token {
	t := c.get(d, reading)
	if t != nil {
		c.count(&t.Slot.User).hits.Add(1)
	}
	return t
}

func (c *tokenCache) get(d *Digest, reading time.Time) *Token {
	// Check the lease before the table. The feed extends the lease only after
	// it has reported all earlier changes. So within the lease, the table does
	// not return a token that these changes ended.
	if !c.aliveAt(reading) {
		return nil
	}
	return c.table.Get((*cache.Key)(d))
}

// A load is a read of a slot from the storage, whose result several validations
// may share.
type load struct {
	stamp cache.Stamp
	done  chan struct{}
	err   error // storage failure, for all waiting validations
}

// A reader reads a slot from the storage.
type reader func(context.Context, Slot) (*Token, error)

// find reads the token in the slot from the storage, and caches it. Validations
// that need the same slot at the same time share one read.
func (c *tokenCache) find(ctx context.Context, slot Slot, d *Digest, read reader) (*Token, error) {
	count := c.count(&slot.User)
	if !c.alive() {
		count.bypasses.Add(1)
		// The read may return a newer token than the cached one. Invalidate the
		// older token, so that the cache does not serve it when the feed is
		// alive again.
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
		// The shared read began before this validation, so it may have missed a
		// token that was issued since. It can prove that a token is valid, but
		// not that it is invalid.
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

// enter returns one of three:
//
//   - the token, if a load has cached it in the meantime;
//   - the load in progress, if join is true and nothing was invalidated since
//     it began; the caller waits for its result;
//   - a new load, which the caller must pass to lead.
//
// A new load replaces an older one that is still in progress. The replaced load
// does not cache its token. Instead it invalidates the user's cached tokens,
// including one that the new load has cached. So once a validation has refused
// a token, no older read can make the cache accept it again.
func (c *tokenCache) enter(slot Slot, d *Digest, join bool) (t *Token, l *load, leads bool) {
	stamp := c.table.Stamp((*cache.Group)(&slot.User))
	c.mu.Lock()
	defer c.mu.Unlock()
	if t := c.get(d, time.Now()); t != nil {
		return t, nil, false
	}
	if l := c.loads[slot]; join && l != nil && l.stamp == stamp {
		return nil, l, false
	}
	l = &load{stamp: stamp, done: make(chan struct{})}
	c.loads[slot] = l
	return nil, l, true
}

// lead reads the slot for the caller, and for the validations that wait for the
// same load.
func (c *tokenCache) lead(ctx context.Context, slot Slot, l *load, read reader) (t *Token, err error) {
	defer func() { // also when the storage panics
		// The waiting validations fail only if the storage failed. Otherwise
		// they read the slot again: an empty slot may have a token by now, and
		// the end of this caller's context does not concern them.
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

// keep caches the token that a load returned, with the stamp from before the
// read. It also removes the token that this one replaced, in case the feed has
// not reported that yet.
func (c *tokenCache) keep(l *load, t *Token) {
	if !t.Replaced.IsZero() && t.Replaced != t.Digest {
		c.table.Remove((*cache.Key)(&t.Replaced))
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.loads[t.Slot] != l { // a newer load replaced this one; which of them read first is unknown
		c.table.Invalidate((*cache.Group)(&t.Slot.User))
		return
	}
	c.table.Put(c.pack(t), l.stamp)
}

// pack returns a copy of t that costs the garbage collector little. Its strings
// share one allocation, and it shares its roles with other tokens and its
// attributes with t. The caller holds c.mu.
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

// maxSharedRoles is the maximum number of lists in tokenCache.roles. If one
// more is needed, all are removed first.
const maxSharedRoles = 1000

func (c *tokenCache) sharedRoles(roles []string) []string {
	if len(roles) == 0 {
		return roles
	}
	joined := strings.Join(roles, ",") // unambiguous: a role has no comma
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

// invalidate invalidates the tokens of a user.
func (c *tokenCache) invalidate(u UserKey) {
	c.table.Invalidate((*cache.Group)(&u))
	c.count(&u).invalidations.Add(1)
}

// flush invalidates all tokens.
func (c *tokenCache) flush() {
	c.table.InvalidateAll()
	c.flushes.Add(1)
}

// CacheStats are counters of the cache since [New], for metrics.
// [Service.CacheStats] returns them; they are all zero without [Options.Cache].
type CacheStats struct {
	Hits          uint64 // validations that the cache answered
	Misses        uint64 // validations that asked the storage, because the token was not cached
	Bypasses      uint64 // validations that asked the storage, because the feed was not alive
	Invalidations uint64 // times that the tokens of one user were invalidated
	Flushes       uint64 // times that all tokens were invalidated
	Evictions     uint64 // valid tokens that were removed to make room
	Entries       int    // tokens in memory now, valid or not
	FeedAlive     bool   // whether the feed is alive, so that the cache serves tokens
}

// stats returns the counters. It reads one after the other, so they may not
// match exactly.
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
