// Package memory keeps tokens in the memory of the process. Use it in tests,
// and in services that run as one process and whose users can sign in again
// after a restart.
package memory

import (
	"bytes"
	"context"
	"slices"
	"sort"
	"sync"
	"time"

	"github.com/bearerkit/bearerkit/tokenauth"
)

// Store is a [tokenauth.Storage] in memory. It is also a [tokenauth.Lister],
// [tokenauth.Purger], [tokenauth.BulkRevoker], [tokenauth.UseRecorder],
// [tokenauth.Refresher], [tokenauth.Renamer] and [tokenauth.Watcher]. The zero value
// is empty and ready to use. It must not be copied after first use. It is safe for
// concurrent use.
//
// Only [Store.Watch] blocks. [Store.Find] may return [tokenauth.ErrNotFound].
// [Store.Purge], [Store.RevokeClient], [Store.RevokeAll], [Store.RevokeUnused]
// and [Store.Watch] return the context's error when the context ends. The
// methods return no other errors.
type Store struct {
	// The first byte of the user key selects the shard. The key is a hash, so
	// users are spread evenly, and a writer blocks only one reader in 64.
	shards [64]shard
	feeds  feeds
}

type shard struct {
	mu    sync.RWMutex
	users map[tokenauth.UserKey][]tokenauth.Token // one token for each slot, sorted by client key; LastSeen is the last recorded use
	_     [32]byte                                // fills the shard up to 64 bytes, the size of a cache line
}

var (
	_ tokenauth.Storage = (*Store)(nil)
	_ tokenauth.Lister  = (*Store)(nil)
	_ tokenauth.Purger  = (*Store)(nil)
	_ tokenauth.Watcher = (*Store)(nil)

	_ tokenauth.BulkRevoker = (*Store)(nil)
	_ tokenauth.UseRecorder = (*Store)(nil)
	_ tokenauth.Refresher   = (*Store)(nil)
	_ tokenauth.Renamer     = (*Store)(nil)
)

// keyClient is the client ID of the tokens that are API keys ([tokenauth.Keys]).
const keyClient = "\x01key"

// reservedUser is the user key that consists of 0xFF bytes.
var reservedUser = tokenauth.UserKey(bytes.Repeat([]byte{0xFF}, len(tokenauth.UserKey{})))

func (s *Store) shard(u tokenauth.UserKey) *shard { return &s.shards[int(u[0])%len(s.shards)] }

// Replace implements [tokenauth.Storage].
func (s *Store) Replace(_ context.Context, t tokenauth.Token) error {
	if s.shard(t.Slot.User).replace(t) {
		s.feeds.changed(t.Slot.User)
	}
	return nil
}

// replace stores the token, and reports whether it replaced another token.
func (sh *shard) replace(t tokenauth.Token) bool {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	t.Replaced, t.LastSeen = tokenauth.Digest{}, time.Time{}
	tokens := sh.users[t.Slot.User]
	i, found := search(tokens, t.Slot.Client)
	if found {
		t.Replaced = tokens[i].Digest
		if t.DeviceName == "" {
			t.DeviceName = tokens[i].DeviceName
		}
		tokens[i] = t
		return true
	}
	if sh.users == nil {
		sh.users = make(map[tokenauth.UserKey][]tokenauth.Token)
	}
	sh.users[t.Slot.User] = slices.Insert(tokens, i, t)
	return false
}

// Find implements [tokenauth.Storage].
func (s *Store) Find(_ context.Context, slot tokenauth.Slot) (t tokenauth.Token, err error) {
	sh := s.shard(slot.User)
	sh.mu.RLock()
	defer sh.mu.RUnlock()
	tokens := sh.users[slot.User]
	i, found := search(tokens, slot.Client)
	if !found {
		return t, tokenauth.ErrNotFound
	}
	t = tokens[i]
	t.LastSeen = time.Time{} // only List returns it
	return t, nil
}

// List implements [tokenauth.Lister].
func (s *Store) List(_ context.Context, u tokenauth.UserKey) ([]tokenauth.Token, error) {
	sh := s.shard(u)
	sh.mu.RLock()
	defer sh.mu.RUnlock()
	return slices.Clone(sh.users[u]), nil
}

// Revoke implements [tokenauth.Storage].
func (s *Store) Revoke(_ context.Context, slot tokenauth.Slot, d tokenauth.Digest) error {
	s.remove(slot.User, func(t *tokenauth.Token) bool { return t.Slot == slot && t.Digest == d })
	return nil
}

// RevokeUser implements [tokenauth.Storage].
func (s *Store) RevokeUser(_ context.Context, u tokenauth.UserKey) error {
	s.remove(u, func(*tokenauth.Token) bool { return true })
	return nil
}

// RevokeClient implements [tokenauth.BulkRevoker].
func (s *Store) RevokeClient(ctx context.Context, clientID string) error {
	client := tokenauth.SlotOf("", clientID).Client
	_, err := s.sweep(ctx, func(t *tokenauth.Token) bool {
		return t.Slot.Client == client || t.Device != "" && t.ClientID == clientID
	}, s.feeds.changed)
	return err
}

// RevokeAll implements [tokenauth.BulkRevoker].
func (s *Store) RevokeAll(ctx context.Context) error {
	_, err := s.sweep(ctx, func(*tokenauth.Token) bool { return true }, s.feeds.changed)
	return err
}

// FindRefresh implements [tokenauth.Refresher].
func (s *Store) FindRefresh(ctx context.Context, slots []tokenauth.Slot) ([]tokenauth.Found, error) {
	found := make([]tokenauth.Found, len(slots))
	for i, slot := range slots {
		found[i].Token, found[i].Err = s.Find(ctx, slot)
	}
	return found, nil
}

// Refresh implements [tokenauth.Refresher].
func (s *Store) Refresh(_ context.Context, was, t tokenauth.Token) (stored bool, err error) {
	stored = s.shard(t.Slot.User).refresh(&was, t)
	if stored && was.Digest != t.Digest {
		s.feeds.changed(t.Slot.User)
	}
	return stored, nil
}

func (sh *shard) refresh(was *tokenauth.Token, t tokenauth.Token) (stored bool) {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	tokens := sh.users[t.Slot.User]
	i, found := search(tokens, t.Slot.Client)
	if !found {
		return false
	}
	now := &tokens[i]
	if now.Digest != was.Digest || now.Principal.Stamp != was.Principal.Stamp || now.Refresh == nil || !bytes.Equal(now.Refresh.State, was.Refresh.State) {
		return false
	}
	t.LastSeen = time.Time{}
	if now.Digest == t.Digest {
		t.LastSeen = now.LastSeen
	}
	*now = t
	return true
}

// RecordUses implements [tokenauth.UseRecorder].
func (s *Store) RecordUses(_ context.Context, uses []tokenauth.Use) error {
	for i := range uses {
		s.shard(uses[i].Slot.User).record(&uses[i])
	}
	return nil
}

func (sh *shard) record(use *tokenauth.Use) {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	tokens := sh.users[use.Slot.User]
	i, found := search(tokens, use.Slot.Client)
	if !found || tokens[i].Digest != use.Digest {
		return
	}
	t := &tokens[i]
	if use.At.After(t.LastSeen) {
		t.LastSeen = use.At
	}
	if use.ExpiresAt.After(t.ExpiresAt) {
		t.ExpiresAt = use.ExpiresAt
	}
}

// Rename implements [tokenauth.Renamer].
func (s *Store) Rename(_ context.Context, slot tokenauth.Slot, d tokenauth.Digest, name string) error {
	sh := s.shard(slot.User)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	tokens := sh.users[slot.User]
	if i, found := search(tokens, slot.Client); found && tokens[i].Digest == d {
		tokens[i].DeviceName = name
	}
	return nil
}

// RevokeUnused implements [tokenauth.UseRecorder].
func (s *Store) RevokeUnused(ctx context.Context, before time.Time) (ended int64, err error) {
	return s.sweep(ctx, func(t *tokenauth.Token) bool {
		return t.IssuedAt.Before(before) && t.LastSeen.Before(before) && t.Slot.User != reservedUser && t.ClientID != keyClient
	}, s.feeds.changed)
}

// Purge implements [tokenauth.Purger]. It locks one of 64 shards at a time.
func (s *Store) Purge(ctx context.Context, expiredBefore time.Time) (removed int64, err error) {
	return s.sweep(ctx, func(t *tokenauth.Token) bool {
		return t.ExpiresAt.Before(expiredBefore) && (t.Refresh == nil || t.Refresh.ExpiresAt.Before(expiredBefore))
	}, func(tokenauth.UserKey) {})
}

// sweep removes all tokens, of any user, for which the predicate returns true.
// It calls changed for each user who had such tokens.
func (s *Store) sweep(ctx context.Context, which func(*tokenauth.Token) bool, changed func(tokenauth.UserKey)) (removed int64, err error) {
	for i := range s.shards {
		if err := ctx.Err(); err != nil {
			return removed, err
		}
		sh := &s.shards[i]
		sh.mu.Lock()
		for u := range sh.users {
			if n := sh.remove(u, which); n > 0 {
				removed += int64(n)
				changed(u)
			}
		}
		sh.mu.Unlock()
	}
	return removed, nil
}

func (s *Store) remove(u tokenauth.UserKey, which func(*tokenauth.Token) bool) {
	sh := s.shard(u)
	sh.mu.Lock()
	n := sh.remove(u, which)
	sh.mu.Unlock()
	if n > 0 {
		s.feeds.changed(u)
	}
}

// remove removes the user's tokens for which the predicate returns true, and
// returns how many it removed. The caller must hold the shard's lock.
func (sh *shard) remove(u tokenauth.UserKey, which func(*tokenauth.Token) bool) int {
	tokens := sh.users[u]
	kept := slices.DeleteFunc(tokens, func(t tokenauth.Token) bool { return which(&t) })
	if len(kept) == 0 {
		delete(sh.users, u)
	} else {
		sh.users[u] = kept
	}
	return len(tokens) - len(kept)
}

// search returns the index of the token in the client's slot, and whether there is one.
// Otherwise it returns the index at which to insert one. The tokens all belong to one
// user. It copies no token, because Find calls it. A user may have thousands of keys, so
// it does not look at all tokens.
func search(tokens []tokenauth.Token, client tokenauth.ClientKey) (i int, found bool) {
	i = sort.Search(len(tokens), func(i int) bool { return bytes.Compare(tokens[i].Slot.Client[:], client[:]) >= 0 })
	return i, i < len(tokens) && tokens[i].Slot.Client == client
}
