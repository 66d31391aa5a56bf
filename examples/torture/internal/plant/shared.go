package plant

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/bearerkit/bearerkit/examples/torture/internal/host"
	"github.com/bearerkit/bearerkit/tokenauth"
)

// Shared lists the bugs that the trials "strict", "bounded", "soak" or "keys" must find. Each
// bug names them in [Plant.Trials].
var Shared = []*Plant{
	{
		Name: "delete-then-insert", Trials: []string{"strict", "bounded", "soak"},
		About: "a sign-in deletes the rows of its slot, then inserts one: two concurrent sign-ins leave two tokens",
		Storage: func(s tokenauth.Storage, shared *State, _ uint64) tokenauth.Storage {
			return With(s, &deleteThenInsert{shared})
		},
	},
	{
		Name: "revoke-any", Trials: []string{"strict", "bounded", "soak"},
		About: "a revocation empties the slot whatever it holds: an old token ends a newer one",
		Storage: func(s tokenauth.Storage, _ *State, _ uint64) tokenauth.Storage {
			return With(s, &revokeAny{s})
		},
	},
	{
		Name: "late-revocation", Trials: []string{"strict", "keys"},
		About: "a revocation answers before it is done, as with a lagging database replica",
		Storage: func(s tokenauth.Storage, _ *State, _ uint64) tokenauth.Storage {
			return With(s, &lateRevocation{s})
		},
	},
	{
		Name: "lost-update", Trials: []string{"strict", "bounded"},
		About: "a sign-in whose slot has changed meanwhile is dropped, but reported as stored",
		Storage: func(s tokenauth.Storage, _ *State, _ uint64) tokenauth.Storage {
			return With(s, &lostUpdate{s})
		},
	},
	{
		Name: "fault-as-not-found", Trials: []string{"strict", "bounded", "soak", "keys"},
		About: "an error is reported as an empty slot: valid tokens are refused",
		Storage: func(s tokenauth.Storage, _ *State, seed uint64) tokenauth.Storage {
			return With(s, &faultAsNotFound{Storage: s, rng: rand.New(rand.NewPCG(seed, 2))})
		},
	},
	{
		Name: "stale-fill", Trials: []string{"strict", "bounded", "soak", "keys"},
		About: "a cache stores what it read before a change, although it was notified of the change",
		Storage: func(s tokenauth.Storage, _ *State, _ uint64) tokenauth.Storage {
			return With(s, &staleFill{Storage: s, Refresher: s.(tokenauth.Refresher), kept: make(map[tokenauth.Slot]tokenauth.Token)})
		},
	},
	{
		Name: "forgotten-slot", Trials: []string{"strict", "bounded", "soak", "keys"},
		About: "a revocation of a user ends the token at one client, and no other",
		Storage: func(s tokenauth.Storage, _ *State, _ uint64) tokenauth.Storage {
			return With(s, &forgottenSlot{s})
		},
	},
	{
		Name: "no-second-look", Trials: []string{"strict"},
		About:     "a sign-in does not check its user again: a user disabled meanwhile keeps a token",
		Forgetful: true,
	},
	{
		Name: "lost-event", Trials: []string{"bounded", "soak"},
		About: "the feed loses every second change, and still sends heartbeats",
		Storage: func(s tokenauth.Storage, _ *State, _ uint64) tokenauth.Storage {
			return With(s, &lostEvent{Storage: s, watcher: s.(tokenauth.Watcher)})
		},
	},
	{
		Name: "lying-heartbeat", Trials: []string{"bounded", "soak", "keys"},
		About: "the feed loses every change, and still sends heartbeats",
		Storage: func(s tokenauth.Storage, _ *State, _ uint64) tokenauth.Storage {
			return With(s, &lostEvent{Storage: s, watcher: s.(tokenauth.Watcher), all: true})
		},
	},
}

type deleteThenInsert struct{ *State }

func (d *deleteThenInsert) Replace(_ context.Context, t tokenauth.Token) error {
	d.mu.Lock()
	if d.slots == nil {
		d.slots = make(map[tokenauth.Slot][]tokenauth.Token)
	}
	delete(d.slots, t.Slot)
	d.mu.Unlock()
	time.Sleep(Moment)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.slots[t.Slot] = append(d.slots[t.Slot], t)
	return nil
}

func (d *deleteThenInsert) Find(_ context.Context, s tokenauth.Slot) (tokenauth.Token, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	rows := d.slots[s]
	if len(rows) == 0 {
		return tokenauth.Token{}, tokenauth.ErrNotFound
	}
	return rows[rand.IntN(len(rows))], nil // without ORDER BY the database returns any row
}

func (d *deleteThenInsert) Revoke(_ context.Context, s tokenauth.Slot, digest tokenauth.Digest) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	var kept []tokenauth.Token
	for _, t := range d.slots[s] {
		if t.Digest != digest {
			kept = append(kept, t)
		}
	}
	d.slots[s] = kept
	return nil
}

func (d *deleteThenInsert) RevokeUser(_ context.Context, u tokenauth.UserKey) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	for s := range d.slots {
		if s.User == u {
			delete(d.slots, s)
		}
	}
	return nil
}

// FindRefresh implements [tokenauth.Refresher].
func (d *deleteThenInsert) FindRefresh(ctx context.Context, slots []tokenauth.Slot) ([]tokenauth.Found, error) {
	found := make([]tokenauth.Found, len(slots))
	for i, s := range slots {
		found[i].Token, found[i].Err = d.Find(ctx, s)
	}
	return found, nil
}

// Refresh implements [tokenauth.Refresher].
func (d *deleteThenInsert) Refresh(_ context.Context, was, t tokenauth.Token) (bool, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for i := range d.slots[t.Slot] {
		if row := &d.slots[t.Slot][i]; sameRefresh(row, &was) {
			*row = t
			return true, nil
		}
	}
	return false, nil
}

// List implements [tokenauth.Lister].
func (d *deleteThenInsert) List(_ context.Context, u tokenauth.UserKey) (tokens []tokenauth.Token, _ error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for s, rows := range d.slots {
		if s.User == u {
			tokens = append(tokens, rows...)
		}
	}
	return tokens, nil
}

type revokeAny struct{ tokenauth.Storage }

func (r *revokeAny) Revoke(ctx context.Context, s tokenauth.Slot, _ tokenauth.Digest) error {
	t, err := r.Find(ctx, s)
	if errors.Is(err, tokenauth.ErrNotFound) {
		return nil
	}
	return errors.Join(err, r.Storage.Revoke(ctx, s, t.Digest))
}

type lateRevocation struct{ tokenauth.Storage }

func (l *lateRevocation) Revoke(ctx context.Context, s tokenauth.Slot, d tokenauth.Digest) error {
	time.AfterFunc(4*Moment, func() { l.Storage.Revoke(context.WithoutCancel(ctx), s, d) })
	return nil
}

type lostUpdate struct{ tokenauth.Storage }

func (l *lostUpdate) Replace(ctx context.Context, t tokenauth.Token) error {
	before, _ := l.Find(ctx, t.Slot)
	time.Sleep(Moment)
	now, _ := l.Find(ctx, t.Slot)
	if before.Digest != now.Digest {
		return nil
	}
	return l.Storage.Replace(ctx, t)
}

type faultAsNotFound struct {
	tokenauth.Storage
	mu  sync.Mutex
	rng *rand.Rand
}

func (f *faultAsNotFound) Find(ctx context.Context, s tokenauth.Slot) (tokenauth.Token, error) {
	f.mu.Lock()
	struck := f.rng.IntN(50) == 0
	f.mu.Unlock()
	if struck {
		return tokenauth.Token{}, tokenauth.ErrNotFound
	}
	return f.Storage.Find(ctx, s)
}

type staleFill struct {
	tokenauth.Storage
	tokenauth.Refresher
	mu   sync.Mutex
	kept map[tokenauth.Slot]tokenauth.Token
}

func (f *staleFill) Find(ctx context.Context, s tokenauth.Slot) (tokenauth.Token, error) {
	f.mu.Lock()
	t, ok := f.kept[s]
	f.mu.Unlock()
	if ok {
		return t, nil
	}
	t, err := f.Storage.Find(ctx, s)
	if err == nil {
		time.Sleep(Moment)
		f.mu.Lock()
		defer f.mu.Unlock()
		f.kept[s] = t
	}
	return t, err
}

func (f *staleFill) forget(s tokenauth.Slot) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.kept, s)
}

func (f *staleFill) Replace(ctx context.Context, t tokenauth.Token) error {
	defer f.forget(t.Slot)
	return f.Storage.Replace(ctx, t)
}

func (f *staleFill) Refresh(ctx context.Context, was, t tokenauth.Token) (bool, error) {
	defer f.forget(t.Slot)
	return f.Refresher.Refresh(ctx, was, t)
}

func (f *staleFill) Revoke(ctx context.Context, s tokenauth.Slot, d tokenauth.Digest) error {
	defer f.forget(s)
	return f.Storage.Revoke(ctx, s, d)
}

func (f *staleFill) RevokeUser(ctx context.Context, u tokenauth.UserKey) error {
	defer func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		for s := range f.kept {
			if s.User == u {
				delete(f.kept, s)
			}
		}
	}()
	return f.Storage.RevokeUser(ctx, u)
}

type forgottenSlot struct{ tokenauth.Storage }

func (f *forgottenSlot) RevokeUser(ctx context.Context, u tokenauth.UserKey) error {
	s := tokenauth.Slot{User: u, Client: tokenauth.SlotOf("", host.Client(0)).Client}
	t, err := f.Find(ctx, s)
	if errors.Is(err, tokenauth.ErrNotFound) {
		return nil
	}
	return errors.Join(err, f.Revoke(ctx, s, t.Digest))
}

type lostEvent struct {
	tokenauth.Storage
	watcher tokenauth.Watcher
	all     bool
}

func (l *lostEvent) Watch(ctx context.Context, beat time.Duration, feed tokenauth.Invalidator) error {
	return l.watcher.Watch(ctx, beat, &lossyFeed{Invalidator: feed, all: l.all})
}

type lossyFeed struct {
	tokenauth.Invalidator
	all bool
	mu  sync.Mutex
	n   int
}

func (f *lossyFeed) Invalidate(u tokenauth.UserKey) {
	f.mu.Lock()
	f.n++
	lost := f.all || f.n%2 == 0
	f.mu.Unlock()
	if !lost {
		f.Invalidator.Invalidate(u)
	}
}
