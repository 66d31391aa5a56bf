package main

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/bearerkit/bearerkit/tokenauth"
)

// A plant is a bug to put into the storage or the users, to prove that it would
// be found.
type plant struct {
	name, about string
	// trials are those that have to find it.
	trials []string
	// storage wraps a handle; nil leaves it. All handles of one env share what
	// shared returns for the env.
	storage func(s tokenauth.Storage, shared *plantState, seed uint64) tokenauth.Storage
	// forgetful takes the second look away from the users.
	forgetful bool
	// asynchronous lets no commit wait for a standby, where there is one.
	asynchronous bool
	// validator validates in place of the Service; nil leaves it.
	validator func(auth *tokenauth.Service, s tokenauth.Storage) validator
}

// A plantState is what the handles of a planted storage have in common.
type plantState struct {
	mu    sync.Mutex
	slots map[tokenauth.Slot][]tokenauth.Token
}

var plants = []*plant{
	{
		name: "delete-then-insert", trials: []string{"strict", "bounded", "soak"},
		about: "a sign-in deletes the rows of its slot, then inserts one: of two at once both stay",
		storage: func(s tokenauth.Storage, shared *plantState, _ uint64) tokenauth.Storage {
			return with(s, &deleteThenInsert{shared})
		},
	},
	{
		name: "revoke-any", trials: []string{"strict", "bounded", "soak"},
		about: "a revocation empties the slot whatever it holds: an old token ends a newer one",
		storage: func(s tokenauth.Storage, _ *plantState, _ uint64) tokenauth.Storage {
			return with(s, &revokeAny{s})
		},
	},
	{
		name: "late-revocation", trials: []string{"strict"},
		about: "a revocation answers before it is done, as a replica does that lags",
		storage: func(s tokenauth.Storage, _ *plantState, _ uint64) tokenauth.Storage {
			return with(s, &lateRevocation{s})
		},
	},
	{
		name: "lost-update", trials: []string{"strict", "bounded"},
		about: "a sign-in whose slot has changed since it looked is dropped, and reported as stored",
		storage: func(s tokenauth.Storage, _ *plantState, _ uint64) tokenauth.Storage {
			return with(s, &lostUpdate{s})
		},
	},
	{
		name: "fault-as-not-found", trials: []string{"strict", "bounded", "soak"},
		about: "a fault is reported as a slot that is empty: good tokens are refused",
		storage: func(s tokenauth.Storage, _ *plantState, seed uint64) tokenauth.Storage {
			return with(s, &faultAsNotFound{Storage: s, rng: rand.New(rand.NewPCG(seed, 2))})
		},
	},
	{
		name: "stale-fill", trials: []string{"strict", "bounded", "soak"},
		about: "a cache keeps what it read before a change, after it heard of the change",
		storage: func(s tokenauth.Storage, _ *plantState, _ uint64) tokenauth.Storage {
			return with(s, &staleFill{Storage: s, kept: make(map[tokenauth.Slot]tokenauth.Token)})
		},
	},
	{
		name: "forgotten-slot", trials: []string{"strict", "bounded", "soak"},
		about: "a revocation of a user ends the token at one client and forgets the others",
		storage: func(s tokenauth.Storage, _ *plantState, _ uint64) tokenauth.Storage {
			return with(s, &forgottenSlot{s})
		},
	},
	{
		name: "no-second-look", trials: []string{"strict"},
		about:     "a sign-in does not look at its user again: one that was disabled meanwhile keeps a token",
		forgetful: true,
	},
	{
		name: "lost-event", trials: []string{"bounded", "soak"},
		about: "the feed loses every second change, and goes on saying that it lives",
		storage: func(s tokenauth.Storage, _ *plantState, _ uint64) tokenauth.Storage {
			return &lostEvent{Storage: s, watcher: s.(tokenauth.Watcher)}
		},
	},
	{
		name: "lying-heartbeat", trials: []string{"bounded", "soak"},
		about: "the feed says that it lives and tells of nothing",
		storage: func(s tokenauth.Storage, _ *plantState, _ uint64) tokenauth.Storage {
			return &lostEvent{Storage: s, watcher: s.(tokenauth.Watcher), all: true}
		},
	},
	{
		name: "write-behind", trials: []string{"crashes"},
		about: "a sign-in answers before its token is written: a crash loses it",
		storage: func(s tokenauth.Storage, _ *plantState, _ uint64) tokenauth.Storage {
			return with(s, &writeBehind{Storage: s, pending: make(map[tokenauth.Slot]tokenauth.Token)})
		},
	},
	{
		name: "revoke-behind", trials: []string{"crashes"},
		about: "a revocation answers before it is written: after a crash the token is good again",
		storage: func(s tokenauth.Storage, _ *plantState, _ uint64) tokenauth.Storage {
			return with(s, &revokeBehind{Storage: s, gone: make(map[tokenauth.Digest]bool)})
		},
	},
	{
		name: "empty-first", trials: []string{"crashes"},
		about: "a sign-in empties its slot, then fills it: a crash between leaves neither token",
		storage: func(s tokenauth.Storage, _ *plantState, _ uint64) tokenauth.Storage {
			return with(s, &emptyFirst{s})
		},
	},
	{
		name: "two-steps", trials: []string{"crashes"},
		about: "a sign-in writes its row in two steps: a crash between leaves half of each",
		storage: func(s tokenauth.Storage, _ *plantState, _ uint64) tokenauth.Storage {
			return with(s, &inTwoSteps{s})
		},
	},
	{
		name: "slot-by-slot", trials: []string{"crashes"},
		about: "a revocation of a user ends one token after the other: a crash between leaves some",
		storage: func(s tokenauth.Storage, _ *plantState, _ uint64) tokenauth.Storage {
			return with(s, &slotBySlot{s})
		},
	},
	{
		name: "outage-as-empty", trials: []string{"crashes"},
		about: "a database that does not answer is taken for an empty one: good tokens are refused (on a server)",
		storage: func(s tokenauth.Storage, _ *plantState, _ uint64) tokenauth.Storage {
			return with(s, &outageAsEmpty{s})
		},
	},
	{
		name: "trouble-as-not-found", trials: []string{"matrix"},
		about: "trouble of the storage is reported as a slot that is empty",
		storage: func(s tokenauth.Storage, _ *plantState, _ uint64) tokenauth.Storage {
			return &troubleAsNotFound{s.(*struckStorage)}
		},
	},
	{
		name: "trouble-as-done", trials: []string{"matrix"},
		about: "a revocation that failed is reported as done",
		storage: func(s tokenauth.Storage, _ *plantState, _ uint64) tokenauth.Storage {
			return &troubleAsDone{s.(*struckStorage)}
		},
	},
	{
		name: "trouble-that-stays", trials: []string{"matrix"},
		about: "after its first trouble the storage is in trouble for ever, as a connection is that nobody replaces",
		storage: func(s tokenauth.Storage, _ *plantState, _ uint64) tokenauth.Storage {
			return &troubleThatStays{struckStorage: s.(*struckStorage)}
		},
	},
	{
		name: "disguised-row", trials: []string{"matrix"},
		about: "a row says that it is of the slot that was asked for, whose ever it is",
		storage: func(s tokenauth.Storage, _ *plantState, _ uint64) tokenauth.Storage {
			return &disguisedRow{s.(*struckStorage)}
		},
	},
	{
		name: "short-digest", trials: []string{"forgery"},
		about:     "of the digests no more than two bytes are compared",
		validator: func(_ *tokenauth.Service, s tokenauth.Storage) validator { return shortDigest{s} },
	},
	{
		name: "lenient-spelling", trials: []string{"forgery"},
		about:     "white space and padding around a token are taken away before it is looked at",
		validator: func(auth *tokenauth.Service, _ tokenauth.Storage) validator { return lenientSpelling{auth} },
	},
	{
		name: "kept-replaced", trials: []string{"forgery"},
		about:     "what a token replaced stays good beside it, as with a table that is never cleared",
		validator: func(auth *tokenauth.Service, _ tokenauth.Storage) validator { return keptReplaced{auth} },
	},
	{
		name: "kept-revoked", trials: []string{"forgery"},
		about: "a revocation is reported as done, and does nothing",
		storage: func(s tokenauth.Storage, _ *plantState, _ uint64) tokenauth.Storage {
			return with(s, keptRevoked{s})
		},
	},
	{
		name: "nothing-good", trials: []string{"forgery"},
		about: "every slot is reported as empty, so that nothing forged passes, and nothing else",
		storage: func(s tokenauth.Storage, _ *plantState, _ uint64) tokenauth.Storage {
			return with(s, nothingGood{s})
		},
	},
	{
		name: "fault-as-empty", trials: []string{"faults"},
		about:   "trouble of the storage is reported as a slot that is empty",
		storage: troubled(func(t *trouble) { t.found = t.notFound }),
	},
	{
		name: "fault-as-done", trials: []string{"faults"},
		about:   "a sign-in or a revocation that failed is reported as done",
		storage: troubled(func(t *trouble) { t.changed = func(error) error { return nil } }),
	},
	{
		name: "stale-if-error", trials: []string{"faults"},
		about:   "while the storage is in trouble, what was read last is read again",
		storage: troubled(func(t *trouble) { t.found = t.readAgain }),
	},
	{
		name: "asynchronous", trials: []string{"faults"},
		about:        "a change is confirmed that no standby has: a fail-over undoes it (on postgres-standby)",
		asynchronous: true,
	},
	{
		name: "never-recovers", trials: []string{"faults"},
		about:   "after the first trouble all calls fail, as behind a circuit breaker that stays open",
		storage: troubled(func(t *trouble) { t.latched = true }),
	},
	{
		name: "silent-gap", trials: []string{"faults"},
		about: "a feed that is lost comes back later, says meanwhile that it lives, and nothing of what it missed (on Redis and PostgreSQL)",
		storage: func(s tokenauth.Storage, _ *plantState, _ uint64) tokenauth.Storage {
			if w, ok := s.(tokenauth.Watcher); ok {
				return &silentGap{s, w}
			}
			return s
		},
	},
}

func plantNamed(name string) *plant {
	for _, p := range plants {
		if p.name == name {
			return p
		}
	}
	return nil
}

// planted returns the storage with the bug in it.
func (e *env) planted(s tokenauth.Storage, seed uint64) tokenauth.Storage {
	if e.plant == nil || e.plant.storage == nil {
		return s
	}
	return e.plant.storage(s, &e.plantState, seed)
}

func (e *env) plantedUsers(d *directory) tokenauth.Authenticator {
	if e.plant != nil && e.plant.forgetful {
		return struct{ tokenauth.Authenticator }{slowly{d}}
	}
	return d
}

// slowly takes a moment between the look at the user and the token, in which
// the user can be disabled.
type slowly struct{ *directory }

func (s slowly) Authenticate(ctx context.Context, c tokenauth.Credentials) (tokenauth.Principal, error) {
	p, err := s.directory.Authenticate(ctx, c)
	time.Sleep(time.Millisecond)
	return p, err
}

// with gives a planted storage the feed of the sound one.
func with(sound, planted tokenauth.Storage) tokenauth.Storage {
	if w, ok := sound.(tokenauth.Watcher); ok {
		return &withFeed{planted, w}
	}
	return planted
}

type withFeed struct {
	tokenauth.Storage
	tokenauth.Watcher
}

// moment is how long a planted bug leaves its window open.
const moment = 500 * time.Microsecond

type deleteThenInsert struct{ *plantState }

func (d *deleteThenInsert) Replace(_ context.Context, t tokenauth.Token) error {
	d.mu.Lock()
	if d.slots == nil {
		d.slots = make(map[tokenauth.Slot][]tokenauth.Token)
	}
	delete(d.slots, t.Slot)
	d.mu.Unlock()
	time.Sleep(moment)
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
	return rows[rand.IntN(len(rows))], nil // without an order the database gives any
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
	time.AfterFunc(4*moment, func() { l.Storage.Revoke(context.WithoutCancel(ctx), s, d) })
	return nil
}

type lostUpdate struct{ tokenauth.Storage }

func (l *lostUpdate) Replace(ctx context.Context, t tokenauth.Token) error {
	before, _ := l.Find(ctx, t.Slot)
	time.Sleep(moment)
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
		time.Sleep(moment)
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
	s := tokenauth.Slot{User: u, Client: tokenauth.ClientKeyOf(client(0))}
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

func (l *lostEvent) Watch(ctx context.Context, beat time.Duration, feed tokenauth.Feed) error {
	return l.watcher.Watch(ctx, beat, &lossyFeed{Feed: feed, all: l.all})
}

type lossyFeed struct {
	tokenauth.Feed
	all bool
	mu  sync.Mutex
	n   int
}

func (f *lossyFeed) Changed(u tokenauth.UserKey) {
	f.mu.Lock()
	f.n++
	lost := f.all || f.n%2 == 0
	f.mu.Unlock()
	if !lost {
		f.Feed.Changed(u)
	}
}
