package tokenauth

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bearerkit/bearerkit/tokenauth/internal/cache"
	"github.com/bearerkit/bearerkit/tokenauth/internal/deadline"
)

// A tokenCache keeps tokens in memory ([Options.Cache]). It serves them only
// while the feed is alive.
//
// On a miss, the Service asks the storage, so the cache alone never rejects a
// token. For the same reason, a token that another replica issued a moment ago
// is valid here at once.
type tokenCache struct {
	*changeFeed
	table  *cache.Table[cachedToken]
	timeAt func(reading time.Time) int64 // see [Service.timeAt]

	mu    sync.Mutex
	loads map[Slot]*load      // storage reads in progress
	roles map[string][]string // role lists that tokens share; each key is its list, joined with commas

	counters [32]cacheCounters // on separate CPU cache lines, to avoid contention between cores
	flushes  atomic.Uint64
}

type cacheCounters struct {
	hits, misses, bypasses, invalidations atomic.Uint64
	_                                     [32]byte
}

func newTokenCache(maxEntries int, f *changeFeed, timeAt func(time.Time) int64) *tokenCache {
	c := &tokenCache{
		changeFeed: f,
		table:      cache.New(maxEntries, (*cachedToken).identify),
		timeAt:     timeAt,
		loads:      make(map[Slot]*load),
		roles:      make(map[string][]string),
	}
	f.users, f.all = append(f.users, c.invalidate), append(f.all, c.flush)
	f.lost, f.back = "; until it is back, each validation asks the storage", "; the cache is in use again"
	f.want()
	return c
}

// A cachedToken is a token in the cache.
type cachedToken struct {
	// These fields come first, because each hit reads them together with the Slot and
	// the Digest.
	mark atomic.Int64 // see [useLog.note]
	// until is when the record of an API key's owner expires, in Unix seconds. It is 0
	// for a sign-in.
	until int64
	Token
}

// identify returns the token's key and group in the cache. Each user is a
// group, because the cache invalidates all tokens of a group together. The user's API
// keys are invalidated with them: see [UserKey.keys].
func (t *cachedToken) identify() (*cache.Key, *cache.Group) {
	return (*cache.Key)(&t.Digest), (*cache.Group)(&t.Slot.User)
}

func (c *tokenCache) count(u *UserKey) *cacheCounters { return &c.counters[u[15]%32] }

// hit returns the cached token with the digest, or nil if the caller must ask
// the storage. The argument reading is the current time, which the caller got
// from [time.Now].
func (c *tokenCache) hit(d *Digest, reading time.Time) *cachedToken {
	t := c.get(d, reading)
	if t != nil {
		c.count(&t.Slot.User).hits.Add(1)
	}
	return t
}

func (c *tokenCache) get(d *Digest, reading time.Time) *cachedToken {
	// Check the lease before the table. The feed extends the lease only after
	// it has reported all earlier changes. So within the lease, the table does
	// not return a token that an earlier change ended.
	if !c.aliveAt(reading) {
		return nil
	}
	t := c.table.Get((*cache.Key)(d))
	if t != nil && t.until != 0 && t.until <= c.timeAt(reading) {
		return nil
	}
	return t
}

// A load is a storage read of one slot. Several validations may share its
// result.
type load struct {
	stamp cache.Stamp
	done  chan struct{}
	err   error // the storage failure that all waiting validations return, or nil
}

// A reader reads a slot from the storage. For an API key, it also returns when the record
// of the owner expires, in Unix seconds.
type reader func(context.Context, Slot) (t *Token, until int64, err error)

// find reads the token in the slot from the storage, and caches it. Validations
// that need the same slot at the same time share one read.
func (c *tokenCache) find(ctx context.Context, slot Slot, d *Digest, read reader) (*Token, error) {
	count := c.count(&slot.User)
	if !c.alive() {
		count.bypasses.Add(1)
		// The storage may have a newer token than the cache. Invalidate the
		// cached token, so that the cache does not serve it when the feed is
		// alive again.
		defer c.table.Invalidate((*cache.Group)(&slot.User))
		t, _, err := read(ctx, slot)
		return t, err
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
		// token that was issued in the meantime. The read can prove that a
		// token is valid, but not that a token is invalid.
		if cached := c.get(d, time.Now()); cached != nil {
			return &cached.Token, nil
		}
		if l.err != nil {
			return nil, l.err
		}
		t, l, _ = c.enter(slot, d, false)
	}
	if t != nil {
		return t, nil
	}
	return c.lead(ctx, slot, l, read)
}

// enter returns one of three results:
//
//   - the token, if a load has cached it since the caller looked it up;
//   - the load in progress, if join is true and nothing was invalidated since
//     that load began; the caller must wait for the result;
//   - a new load, which the caller must pass to lead.
//
// A new load replaces an older one that is still in progress. The replaced load
// does not cache its token. Instead it invalidates the user's cached tokens,
// including any token that the new load has cached. So once a validation has
// refused a token, no older read can make the cache accept that token again.
func (c *tokenCache) enter(slot Slot, d *Digest, join bool) (t *Token, l *load, leads bool) {
	stamp := c.table.Stamp((*cache.Group)(&slot.User))
	c.mu.Lock()
	defer c.mu.Unlock()
	if cached := c.get(d, time.Now()); cached != nil {
		return &cached.Token, nil, false
	}
	if l := c.loads[slot]; join && l != nil && l.stamp == stamp {
		return nil, l, false
	}
	l = &load{stamp: stamp, done: make(chan struct{})}
	c.loads[slot] = l
	return nil, l, true
}

// lead reads the slot for the caller, and for all validations that wait for l.
func (c *tokenCache) lead(ctx context.Context, slot Slot, l *load, read reader) (t *Token, err error) {
	defer func() { // also when the storage panics
		// The waiting validations fail only if the storage failed. Otherwise
		// they read the slot again, because an empty slot may have a token by
		// now, and because only this caller's context may have ended.
		if err != nil && !deadline.Ended(ctx) && !errors.Is(err, ErrNotFound) && !errors.Is(err, ErrInvalidToken) {
			l.err = err
		}
		c.mu.Lock()
		if c.loads[slot] == l {
			delete(c.loads, slot)
		}
		c.mu.Unlock()
		close(l.done)
	}()
	t, until, err := read(ctx, slot)
	switch {
	case errors.Is(err, ErrNotFound), errors.Is(err, ErrCorrupt), errors.Is(err, ErrInvalidToken):
		c.table.Invalidate((*cache.Group)(&slot.User))
	case err == nil:
		c.keep(l, t, until)
	}
	return t, err
}

// keep caches the token that a load returned, with the stamp that enter took
// before the storage read. It also removes the token that t replaced, in case
// the feed has not reported the replacement yet.
func (c *tokenCache) keep(l *load, t *Token, until int64) {
	if !t.Replaced.IsZero() && t.Replaced != t.Digest {
		c.table.Remove((*cache.Key)(&t.Replaced))
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.loads[t.Slot] != l { // a newer load replaced l, and either of the two may have read first
		c.table.Invalidate((*cache.Group)(&t.Slot.User))
		return
	}
	c.table.Put(cachedToken{Token: c.pack(t), until: until}, l.stamp)
}

// pack returns a copy of t that adds little work for the garbage collector. All
// strings of the copy are in one allocation. The copy shares its role list with
// other cached tokens, and its attributes with t. The caller must hold c.mu.
func (c *tokenCache) pack(t *Token) Token {
	packed := *t
	parts := []*string{
		&packed.ClientID, &packed.Device, &packed.DeviceName, &packed.Key,
		&packed.Principal.UserID, &packed.Principal.UserName, &packed.Principal.Stamp,
	}
	size := 0
	for _, part := range parts {
		size += len(*part)
	}
	var all strings.Builder
	all.Grow(size)
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

// maxSharedRoles is the maximum number of lists in tokenCache.roles. When the
// map is full, sharedRoles clears it before it adds another list.
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

// remove removes a token from the cache.
func (c *tokenCache) remove(d *Digest) { c.table.Remove((*cache.Key)(d)) }

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

// stats returns the counters. It reads them one after another, so they may not
// match each other exactly.
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
