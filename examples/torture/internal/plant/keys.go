package plant

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/bearerkit/bearerkit/tokenauth"
)

// Keys lists the bugs of API keys that the trial "keys" must find.
var Keys = []*Plant{
	{
		Name: "user-ends-keys", Trials: []string{"keys"},
		About: "a revocation of a user, as after a new password, ends the API keys, too",
		Storage: func(s tokenauth.Storage, shared *State, _ uint64) tokenauth.Storage {
			return With(s, &userEndsKeys{&keyedUsers{s, shared}})
		},
	},
	{
		Name: "owner-outlives-user", Trials: []string{"keys"},
		About: "a revocation of a user ends all sign-ins, and keeps the record of the owner of API keys",
		Storage: func(s tokenauth.Storage, _ *State, _ uint64) tokenauth.Storage {
			return With(s, &ownerOutlivesUser{s, s.(tokenauth.Lister)})
		},
	},
	{
		Name: "unnoticed-owner", Trials: []string{"keys"},
		About: "the feed reports changes of API keys, and none of the record of their owner",
		Storage: func(s tokenauth.Storage, shared *State, _ uint64) tokenauth.Storage {
			w, ok := s.(tokenauth.Watcher)
			if !ok {
				return s
			}
			return With(s, &unnoticedOwner{&keyedUsers{s, shared}, w})
		},
	},
	{
		Name: "lagging-reload", Trials: []string{"keys"},
		About: "a Reload sees the user as of a moment ago, as with a lagging database replica",
		Users: func(a tokenauth.Authenticator) tokenauth.Authenticator {
			return &laggingReload{Authenticator: a, reloader: a.(tokenauth.Reloader), seen: make(map[string]seenUser)}
		},
	},
	{
		Name: "pending-owner-counts", Trials: []string{"keys"},
		About: "the record of an owner counts before the user was looked up again",
		Storage: func(s tokenauth.Storage, _ *State, _ uint64) tokenauth.Storage {
			return With(s, &pendingOwnerCounts{s})
		},
	},
	{
		Name: "use-restores-owner", Trials: []string{"keys"},
		About: "the statement that makes the record of an owner count stores it again after a revocation of the user",
		Storage: func(s tokenauth.Storage, shared *State, _ uint64) tokenauth.Storage {
			return With(s, &useRestoresOwner{s, s.(tokenauth.UseRecorder), shared})
		},
	},
	{
		Name: "rename-restores-key", Trials: []string{"keys"},
		About: "a new name is written with the whole API key: one that was revoked meanwhile comes back",
		Storage: func(s tokenauth.Storage, _ *State, _ uint64) tokenauth.Storage {
			return With(s, &renameRestoresKey{s})
		},
	},
	{
		Name: "rename-all", Trials: []string{"keys"},
		About: "a new name is written to all API keys of the user",
		Storage: func(s tokenauth.Storage, _ *State, _ uint64) tokenauth.Storage {
			return With(s, &renameAll{s, s.(tokenauth.Lister), s.(tokenauth.Renamer)})
		},
	},
	{
		Name: "unchecked-maker", Trials: []string{"keys"},
		About: "a user who was disabled or changed after the sign-in makes an API key",
		Users: func(a tokenauth.Authenticator) tokenauth.Authenticator {
			return &uncheckedMaker{a, a.(tokenauth.Reloader)}
		},
	},
	{
		Name: "ended-maker", Trials: []string{"keys"},
		About: "a sign-in that was revoked makes an API key, because the storage still finds its token",
		Storage: func(s tokenauth.Storage, _ *State, _ uint64) tokenauth.Storage {
			return With(s, &endedMaker{Storage: s})
		},
	},
}

// isKey reports whether the token is stored for an API key or for the owner of some.
func isKey(t *tokenauth.Token) bool { return t.ClientID == "\x01key" }

// isOwner reports whether the token is the record of the owner of API keys.
func isOwner(t *tokenauth.Token) bool {
	return isKey(t) && t.Slot.User == tokenauth.UserKeyOf(t.Principal.UserID)
}

// A keyedUsers links the slot of each user who has API keys to that of the keys.
type keyedUsers struct {
	tokenauth.Storage
	shared *State
}

func (k *keyedUsers) Replace(ctx context.Context, t tokenauth.Token) error {
	if isKey(&t) && !isOwner(&t) {
		k.shared.link(tokenauth.Slot{User: tokenauth.UserKeyOf(t.Principal.UserID)}, tokenauth.Slot{User: t.Slot.User})
	}
	return k.Storage.Replace(ctx, t)
}

// keysOf returns the user key of the user's API keys, if the user has some.
func (k *keyedUsers) keysOf(u tokenauth.UserKey) (keys tokenauth.UserKey, ok bool) {
	keys = k.shared.linked(tokenauth.Slot{User: u}).User
	return keys, keys != u
}

type userEndsKeys struct{ *keyedUsers }

func (e *userEndsKeys) RevokeUser(ctx context.Context, u tokenauth.UserKey) error {
	if keys, ok := e.keysOf(u); ok {
		if err := e.Storage.RevokeUser(ctx, keys); err != nil {
			return err
		}
	}
	return e.Storage.RevokeUser(ctx, u)
}

type ownerOutlivesUser struct {
	tokenauth.Storage
	lister tokenauth.Lister
}

func (o *ownerOutlivesUser) RevokeUser(ctx context.Context, u tokenauth.UserKey) error {
	tokens, err := o.lister.List(ctx, u)
	if err != nil {
		return err
	}
	for _, t := range tokens {
		if isOwner(&t) {
			continue
		}
		if err := o.Revoke(ctx, t.Slot, t.Digest); err != nil {
			return err
		}
	}
	return nil
}

type unnoticedOwner struct {
	*keyedUsers
	watcher tokenauth.Watcher
}

func (o *unnoticedOwner) Watch(ctx context.Context, beat time.Duration, feed tokenauth.Invalidator) error {
	return o.watcher.Watch(ctx, beat, &ownerlessFeed{feed, o.keyedUsers})
}

type ownerlessFeed struct {
	tokenauth.Invalidator
	users *keyedUsers
}

func (f *ownerlessFeed) Invalidate(u tokenauth.UserKey) {
	if _, ok := f.users.keysOf(u); !ok {
		f.Invalidator.Invalidate(u)
	}
}

// A laggingReload is no [tokenauth.Rechecker], which would see the user as it is.
type laggingReload struct {
	tokenauth.Authenticator
	reloader tokenauth.Reloader
	mu       sync.Mutex
	seen     map[string]seenUser
}

type seenUser struct {
	principal tokenauth.Principal
	err       error
	at        time.Time
}

func (l *laggingReload) Reload(ctx context.Context, p tokenauth.Principal) (tokenauth.Principal, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s, ok := l.seen[p.UserID]
	if !ok || time.Since(s.at) > 4*Moment {
		s.principal, s.err = l.reloader.Reload(ctx, p)
		s.at = time.Now()
		l.seen[p.UserID] = s
	}
	return s.principal.Clone(), s.err
}

type pendingOwnerCounts struct{ tokenauth.Storage }

func (c *pendingOwnerCounts) Replace(ctx context.Context, t tokenauth.Token) error {
	if !isOwner(&t) {
		return c.Storage.Replace(ctx, t)
	}
	time.Sleep(2 * Moment)
	t.ExpiresAt = t.IssuedAt.Add(time.Hour)
	err := c.Storage.Replace(ctx, t)
	time.Sleep(2 * Moment)
	return err
}

// A useRestoresOwner keeps the records of owners in its State.
type useRestoresOwner struct {
	tokenauth.Storage
	uses   tokenauth.UseRecorder
	shared *State
}

func (r *useRestoresOwner) Replace(ctx context.Context, t tokenauth.Token) error {
	if isOwner(&t) {
		r.shared.mu.Lock()
		if r.shared.copies == nil {
			r.shared.copies = make(map[tokenauth.Slot]tokenauth.Token)
		}
		r.shared.copies[t.Slot] = t
		r.shared.mu.Unlock()
	}
	return r.Storage.Replace(ctx, t)
}

func (r *useRestoresOwner) RecordUses(ctx context.Context, uses []tokenauth.Use) error {
	for _, use := range uses {
		t, ok := r.shared.copyOf(use.Slot)
		if !ok || t.Digest != use.Digest {
			continue
		}
		time.Sleep(Moment)
		t.ExpiresAt = use.ExpiresAt
		if err := r.Storage.Replace(ctx, t); err != nil {
			return err
		}
	}
	return r.uses.RecordUses(ctx, uses)
}

func (r *useRestoresOwner) RevokeUnused(ctx context.Context, before time.Time) (int64, error) {
	return r.uses.RevokeUnused(ctx, before)
}

type renameRestoresKey struct{ tokenauth.Storage }

func (r *renameRestoresKey) Rename(ctx context.Context, s tokenauth.Slot, d tokenauth.Digest, name string) error {
	t, err := r.Find(ctx, s)
	if err != nil || t.Digest != d {
		return nil
	}
	time.Sleep(Moment)
	t.DeviceName = name
	return r.Replace(ctx, t)
}

type renameAll struct {
	tokenauth.Storage
	lister  tokenauth.Lister
	renamer tokenauth.Renamer
}

func (r *renameAll) Rename(ctx context.Context, s tokenauth.Slot, _ tokenauth.Digest, name string) error {
	tokens, err := r.lister.List(ctx, s.User)
	for _, t := range tokens {
		if err := r.renamer.Rename(ctx, t.Slot, t.Digest, name); err != nil {
			return err
		}
	}
	return err
}

// An uncheckedMaker accepts each user who was looked up before.
type uncheckedMaker struct {
	tokenauth.Authenticator
	tokenauth.Reloader
}

// Recheck implements [tokenauth.Rechecker].
func (*uncheckedMaker) Recheck(context.Context, tokenauth.Principal) error { return nil }

// An endedMaker finds the last token that a sign-in at the same replica stored in a slot,
// although the slot is empty.
type endedMaker struct {
	tokenauth.Storage
	stored sync.Map // of tokens, by their slots
}

func (e *endedMaker) Replace(ctx context.Context, t tokenauth.Token) error {
	err := e.Storage.Replace(ctx, t)
	if err == nil && !isKey(&t) {
		e.stored.Store(t.Slot, t)
	}
	return err
}

func (e *endedMaker) Find(ctx context.Context, slot tokenauth.Slot) (tokenauth.Token, error) {
	t, err := e.Storage.Find(ctx, slot)
	if was, ok := e.stored.Load(slot); ok && errors.Is(err, tokenauth.ErrNotFound) {
		return was.(tokenauth.Token), nil
	}
	return t, err
}
