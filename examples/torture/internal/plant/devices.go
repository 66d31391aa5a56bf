package plant

import (
	"context"
	"crypto/sha256"
	"slices"
	"sync"
	"time"

	"github.com/bearerkit/bearerkit/tokenauth"
)

// Devices lists the bugs of devices that the trials "strict" and "bounded" must find. The
// trial "keys" must find those that API keys share.
var Devices = []*Plant{
	{
		Name: "one-device", Trials: []string{"strict", "bounded"},
		About: "a sign-in on a device ends the user's tokens on all other devices of the client",
		Storage: func(s tokenauth.Storage, _ *State, _ uint64) tokenauth.Storage {
			return With(s, &oneDevice{s, s.(tokenauth.Lister)})
		},
	},
	{
		Name: "early-list", Trials: []string{"strict", "bounded", "keys"},
		About: "a sign-in, or a new API key, lists the tokens before it stores its own: concurrent ones exceed the bound",
		Storage: func(s tokenauth.Storage, _ *State, _ uint64) tokenauth.Storage {
			return With(s, &earlyList{Storage: s, lister: s.(tokenauth.Lister), lists: make(map[tokenauth.UserKey][][]tokenauth.Token)})
		},
	},
	{
		Name: "short-list", Trials: []string{"strict", "bounded"},
		About: "a list has the newest three tokens: after concurrent sign-ins, each of them ends one only",
		Storage: func(s tokenauth.Storage, _ *State, _ uint64) tokenauth.Storage {
			return With(s, &changedList{s, s.(tokenauth.Lister), newestThree})
		},
	},
	{
		Name: "newest-ends", Trials: []string{"strict", "bounded"},
		About: "tokens are in the wrong order: beyond the bound, the newest ends",
		Storage: func(s tokenauth.Storage, _ *State, _ uint64) tokenauth.Storage {
			return With(s, &changedList{s, s.(tokenauth.Lister), reverse})
		},
	},
	{
		Name: "whole-seconds", Trials: []string{"strict", "bounded"},
		About: "the storage keeps no milliseconds: of the tokens of a second, any ends",
		Storage: func(s tokenauth.Storage, _ *State, _ uint64) tokenauth.Storage {
			return With(s, &changedList{s, s.(tokenauth.Lister), truncate})
		},
	},
	{
		Name: "joined-key", Trials: []string{"strict", "bounded"},
		About: `the key of a device is a hash of the client ID and the device, joined: "ab" on "c" is "a" on "bc"`,
		Storage: func(s tokenauth.Storage, shared *State, _ uint64) tokenauth.Storage {
			return With(s, &joinedKey{s, s.(tokenauth.Lister), s.(tokenauth.Refresher), shared})
		},
	},
	{
		Name: "client-without-devices", Trials: []string{"strict", "bounded"},
		About: "a revocation of a client ends the tokens without a device only",
		Storage: func(s tokenauth.Storage, shared *State, _ uint64) tokenauth.Storage {
			return With(s, &clientWithoutDevices{s, s.(tokenauth.BulkRevoker), shared})
		},
	},
	{
		Name: "wide-revocation", Trials: []string{"strict", "bounded", "keys"},
		About: "a revocation of a token ends the tokens of all devices of the client, or all API keys of the user",
		Storage: func(s tokenauth.Storage, _ *State, _ uint64) tokenauth.Storage {
			return With(s, &wideRevocation{s, s.(tokenauth.Lister)})
		},
	},
	{
		Name: "kept-ends", Trials: []string{"strict", "bounded"},
		About:    "a revocation of all other tokens of a user ends the token to keep, too",
		EndsKept: true,
	},
}

// endOthers ends the tokens of the user at the client, except the one in the slot.
func endOthers(ctx context.Context, s tokenauth.Storage, tokens []tokenauth.Token, clientID string, except tokenauth.Slot) {
	for _, t := range tokens {
		if t.ClientID == clientID && t.Slot != except {
			s.Revoke(ctx, t.Slot, t.Digest)
		}
	}
}

type oneDevice struct {
	tokenauth.Storage
	lister tokenauth.Lister
}

func (o *oneDevice) Replace(ctx context.Context, t tokenauth.Token) error {
	err := o.Storage.Replace(ctx, t)
	if t.Device != "" {
		tokens, _ := o.lister.List(ctx, t.Slot.User)
		endOthers(ctx, o.Storage, tokens, t.ClientID, t.Slot)
	}
	return err
}

type earlyList struct {
	tokenauth.Storage
	lister tokenauth.Lister
	mu     sync.Mutex
	lists  map[tokenauth.UserKey][][]tokenauth.Token
}

func (e *earlyList) Replace(ctx context.Context, t tokenauth.Token) error {
	list, _ := e.lister.List(ctx, t.Slot.User)
	list = slices.DeleteFunc(slices.Clone(list), func(old tokenauth.Token) bool { return old.Slot == t.Slot })
	time.Sleep(Moment)
	err := e.Storage.Replace(ctx, t)
	e.mu.Lock()
	defer e.mu.Unlock()
	e.lists[t.Slot.User] = append(e.lists[t.Slot.User], append(list, t))
	return err
}

func (e *earlyList) List(ctx context.Context, u tokenauth.UserKey) ([]tokenauth.Token, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if lists := e.lists[u]; len(lists) > 0 {
		e.lists[u] = lists[1:]
		return lists[0], nil
	}
	return e.lister.List(ctx, u)
}

// A changedList is a [tokenauth.Lister] that changes its lists.
type changedList struct {
	tokenauth.Storage
	lister tokenauth.Lister
	change func([]tokenauth.Token) []tokenauth.Token
}

func (c *changedList) List(ctx context.Context, u tokenauth.UserKey) ([]tokenauth.Token, error) {
	tokens, err := c.lister.List(ctx, u)
	return c.change(tokens), err
}

func newestThree(tokens []tokenauth.Token) []tokenauth.Token {
	slices.SortFunc(tokens, func(a, b tokenauth.Token) int { return b.IssuedAt.Compare(a.IssuedAt) })
	return tokens[:min(3, len(tokens))]
}

func reverse(tokens []tokenauth.Token) []tokenauth.Token {
	for i := range tokens {
		tokens[i].IssuedAt = time.Unix(0, 0).Add(time.Since(tokens[i].IssuedAt))
	}
	return tokens
}

func truncate(tokens []tokenauth.Token) []tokenauth.Token {
	for i := range tokens {
		tokens[i].IssuedAt = tokens[i].IssuedAt.Truncate(time.Second)
	}
	return tokens
}

// A joinedKey stores the token of a device in another slot than the Service names. The
// keys of its State lead from one to the other, and back.
type joinedKey struct {
	tokenauth.Storage
	lister    tokenauth.Lister
	refresher tokenauth.Refresher
	shared    *State
}

func (j *joinedKey) Replace(ctx context.Context, t tokenauth.Token) error {
	if t.Device != "" {
		sum := sha256.Sum256([]byte(t.ClientID + t.Device))
		joined := tokenauth.Slot{User: t.Slot.User, Client: tokenauth.ClientKey(sum[:16])}
		j.shared.link(t.Slot, joined)
		j.shared.link(joined, t.Slot)
		t.Slot = joined
	}
	return j.Storage.Replace(ctx, t)
}

func (j *joinedKey) Find(ctx context.Context, s tokenauth.Slot) (tokenauth.Token, error) {
	t, err := j.Storage.Find(ctx, j.shared.linked(s))
	t.Slot = s
	return t, err
}

// FindRefresh implements [tokenauth.Refresher].
func (j *joinedKey) FindRefresh(ctx context.Context, slots []tokenauth.Slot) ([]tokenauth.Found, error) {
	joined := make([]tokenauth.Slot, len(slots))
	for i, s := range slots {
		joined[i] = j.shared.linked(s)
	}
	found, err := j.refresher.FindRefresh(ctx, joined)
	for i := range found {
		found[i].Token.Slot = slots[i]
	}
	return found, err
}

// Refresh implements [tokenauth.Refresher].
func (j *joinedKey) Refresh(ctx context.Context, was, t tokenauth.Token) (bool, error) {
	was.Slot = j.shared.linked(was.Slot)
	t.Slot = was.Slot
	return j.refresher.Refresh(ctx, was, t)
}

func (j *joinedKey) Revoke(ctx context.Context, s tokenauth.Slot, d tokenauth.Digest) error {
	return j.Storage.Revoke(ctx, j.shared.linked(s), d)
}

func (j *joinedKey) List(ctx context.Context, u tokenauth.UserKey) ([]tokenauth.Token, error) {
	tokens, err := j.lister.List(ctx, u)
	for i := range tokens {
		tokens[i].Slot = j.shared.linked(tokens[i].Slot)
	}
	return tokens, err
}

type clientWithoutDevices struct {
	tokenauth.Storage
	tokenauth.BulkRevoker
	shared *State
}

func (c *clientWithoutDevices) Replace(ctx context.Context, t tokenauth.Token) error {
	user := tokenauth.Slot{User: t.Slot.User}
	c.shared.link(user, user)
	return c.Storage.Replace(ctx, t)
}

func (c *clientWithoutDevices) RevokeClient(ctx context.Context, clientID string) error {
	for _, s := range c.shared.all() {
		s.Client = tokenauth.SlotOf("", clientID).Client
		if t, err := c.Find(ctx, s); err == nil {
			if err := c.Revoke(ctx, s, t.Digest); err != nil {
				return err
			}
		}
	}
	return nil
}

type wideRevocation struct {
	tokenauth.Storage
	lister tokenauth.Lister
}

func (w *wideRevocation) Revoke(ctx context.Context, s tokenauth.Slot, d tokenauth.Digest) error {
	if t, err := w.Find(ctx, s); err == nil && t.Digest == d {
		tokens, _ := w.lister.List(ctx, s.User)
		endOthers(ctx, w.Storage, tokens, t.ClientID, s)
	}
	return w.Storage.Revoke(ctx, s, d)
}
