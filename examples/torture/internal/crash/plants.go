package crash

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/bearerkit/bearerkit/examples/torture/internal/host"
	"github.com/bearerkit/bearerkit/examples/torture/internal/plant"
	"github.com/bearerkit/bearerkit/tokenauth"
)

// Plants lists the bugs that the trial "crashes" must find. See [Run].
var Plants = []*plant.Plant{
	{
		Name: "write-behind", Trials: []string{"crashes"},
		About: "a sign-in answers before its token is written: a crash loses the token",
		Storage: func(s tokenauth.Storage, _ *plant.State, _ uint64) tokenauth.Storage {
			return plant.With(s, &writeBehind{Storage: s, refresher: s.(tokenauth.Refresher), pending: make(map[tokenauth.Slot]tokenauth.Token)})
		},
	},
	{
		Name: "revoke-behind", Trials: []string{"crashes"},
		About: "a revocation answers before it is written: after a crash the token is valid again",
		Storage: func(s tokenauth.Storage, _ *plant.State, _ uint64) tokenauth.Storage {
			return plant.With(s, &revokeBehind{Storage: s, gone: make(map[tokenauth.Digest]bool)})
		},
	},
	{
		Name: "empty-first", Trials: []string{"crashes"},
		About: "a sign-in empties its slot, then fills it: a crash in between leaves neither token",
		Storage: func(s tokenauth.Storage, _ *plant.State, _ uint64) tokenauth.Storage {
			return plant.With(s, &emptyFirst{s})
		},
	},
	{
		Name: "two-steps", Trials: []string{"crashes"},
		About: "a sign-in writes its row in two steps: a crash in between mixes two sign-ins",
		Storage: func(s tokenauth.Storage, _ *plant.State, _ uint64) tokenauth.Storage {
			return plant.With(s, &inTwoSteps{s})
		},
	},
	{
		Name: "slot-by-slot", Trials: []string{"crashes"},
		About: "a revocation of a user ends one token after the other: a crash in between leaves some",
		Storage: func(s tokenauth.Storage, _ *plant.State, _ uint64) tokenauth.Storage {
			return plant.With(s, &slotBySlot{s})
		},
	},
	{
		Name: "unrepeatable-refresh", Trials: []string{"crashes"},
		About: "a refresh is stored without its salt: a client that got no answer is signed out",
		Storage: func(s tokenauth.Storage, _ *plant.State, _ uint64) tokenauth.Storage {
			return plant.With(s, &unrepeatable{s, s.(tokenauth.Refresher)})
		},
	},
	{
		Name: "two-step-refresh", Trials: []string{"crashes"},
		About: "a refresh ends the old pair, then stores the new one: a crash in between signs the user out",
		Storage: func(s tokenauth.Storage, _ *plant.State, _ uint64) tokenauth.Storage {
			return plant.With(s, &twoStepRefresh{s, s.(tokenauth.Refresher)})
		},
	},
	{
		Name: "outage-as-empty", Trials: []string{"crashes"},
		About: "an error of the database is reported as an empty slot: valid tokens are refused (on a server)",
		Storage: func(s tokenauth.Storage, _ *plant.State, _ uint64) tokenauth.Storage {
			return plant.With(s, &outageAsEmpty{s})
		},
	},
}

// writeBehind answers a sign-in before it writes the token. Until then,
// [tokenauth.Storage.Find] returns the pending token.
type writeBehind struct {
	tokenauth.Storage
	refresher tokenauth.Refresher
	mu        sync.Mutex
	pending   map[tokenauth.Slot]tokenauth.Token
}

func (w *writeBehind) FindRefresh(ctx context.Context, slots []tokenauth.Slot) ([]tokenauth.Found, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, s := range slots {
		if err := w.write(s); err != nil {
			return nil, err
		}
	}
	return w.refresher.FindRefresh(ctx, slots)
}

func (w *writeBehind) Refresh(ctx context.Context, was, t tokenauth.Token) (bool, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.write(t.Slot); err != nil {
		return false, err
	}
	return w.refresher.Refresh(ctx, was, t)
}

func (w *writeBehind) Replace(_ context.Context, t tokenauth.Token) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	err := w.write(t.Slot)
	w.pending[t.Slot] = t
	time.AfterFunc(20*plant.Moment, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.write(t.Slot)
	})
	return err
}

// write writes the pending token of a slot, if there is one.
func (w *writeBehind) write(s tokenauth.Slot) error {
	t, ok := w.pending[s]
	if !ok {
		return nil
	}
	delete(w.pending, s)
	return w.Storage.Replace(context.Background(), t)
}

func (w *writeBehind) Find(ctx context.Context, s tokenauth.Slot) (tokenauth.Token, error) {
	w.mu.Lock()
	t, ok := w.pending[s]
	w.mu.Unlock()
	if ok {
		return t, nil
	}
	return w.Storage.Find(ctx, s)
}

func (w *writeBehind) Revoke(ctx context.Context, s tokenauth.Slot, d tokenauth.Digest) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return errors.Join(w.write(s), w.Storage.Revoke(ctx, s, d))
}

func (w *writeBehind) RevokeUser(ctx context.Context, u tokenauth.UserKey) (err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for s := range w.pending {
		if s.User == u {
			err = errors.Join(err, w.write(s))
		}
	}
	return errors.Join(err, w.Storage.RevokeUser(ctx, u))
}

// revokeBehind answers a revocation before it is written. Until then,
// [tokenauth.Storage.Find] hides the token.
type revokeBehind struct {
	tokenauth.Storage
	mu   sync.Mutex
	gone map[tokenauth.Digest]bool
}

func (r *revokeBehind) Revoke(_ context.Context, s tokenauth.Slot, d tokenauth.Digest) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.gone[d] = true
	time.AfterFunc(20*plant.Moment, func() { r.Storage.Revoke(context.Background(), s, d) })
	return nil
}

func (r *revokeBehind) Find(ctx context.Context, s tokenauth.Slot) (tokenauth.Token, error) {
	t, err := r.Storage.Find(ctx, s)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.gone[t.Digest] {
		return tokenauth.Token{}, tokenauth.ErrNotFound
	}
	return t, err
}

// emptyFirst empties the slot before it stores the new token.
type emptyFirst struct{ tokenauth.Storage }

func (e *emptyFirst) Replace(ctx context.Context, t tokenauth.Token) error {
	old, err := e.Find(ctx, t.Slot)
	if err == nil {
		if err := e.Revoke(ctx, t.Slot, old.Digest); err != nil {
			return err
		}
		time.Sleep(plant.Moment)
	}
	return e.Storage.Replace(ctx, t)
}

// unrepeatable stores refreshes without their salts.
type unrepeatable struct {
	tokenauth.Storage
	tokenauth.Refresher
}

func (r *unrepeatable) Refresh(ctx context.Context, was, t tokenauth.Token) (bool, error) {
	t.Refresh = plant.WithoutSalts(t.Refresh)
	return r.Refresher.Refresh(ctx, was, t)
}

// twoStepRefresh ends the old token before it stores the new one.
type twoStepRefresh struct {
	tokenauth.Storage
	tokenauth.Refresher
}

func (r *twoStepRefresh) Refresh(ctx context.Context, was, t tokenauth.Token) (bool, error) {
	if err := r.Revoke(ctx, was.Slot, was.Digest); err != nil {
		return false, err
	}
	time.Sleep(plant.Moment)
	return true, r.Replace(ctx, t)
}

// inTwoSteps writes the principal of a token before its digest.
type inTwoSteps struct{ tokenauth.Storage }

func (i *inTwoSteps) Replace(ctx context.Context, t tokenauth.Token) error {
	if old, err := i.Find(ctx, t.Slot); err == nil {
		half := t
		half.Digest = old.Digest
		if err := i.Storage.Replace(ctx, half); err != nil {
			return err
		}
		time.Sleep(plant.Moment)
	}
	return i.Storage.Replace(ctx, t)
}

// slotBySlot ends the tokens of a user one after the other.
type slotBySlot struct{ tokenauth.Storage }

func (b *slotBySlot) RevokeUser(ctx context.Context, u tokenauth.UserKey) error {
	for n := range 2 {
		s := tokenauth.Slot{User: u, Client: tokenauth.SlotOf("", host.Client(n)).Client}
		t, err := b.Find(ctx, s)
		if errors.Is(err, tokenauth.ErrNotFound) {
			continue
		}
		if err := errors.Join(err, b.Revoke(ctx, s, t.Digest)); err != nil {
			return err
		}
		time.Sleep(plant.Moment)
	}
	return nil
}

// outageAsEmpty reports every error of the database as an empty slot.
type outageAsEmpty struct{ tokenauth.Storage }

func (o *outageAsEmpty) Find(ctx context.Context, s tokenauth.Slot) (tokenauth.Token, error) {
	t, err := o.Storage.Find(ctx, s)
	if err != nil {
		return tokenauth.Token{}, tokenauth.ErrNotFound
	}
	return t, nil
}
