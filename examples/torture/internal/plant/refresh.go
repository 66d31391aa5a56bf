package plant

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"maps"
	"math/rand/v2"
	"time"

	"github.com/bearerkit/bearerkit/examples/torture/internal/accesstoken"
	"github.com/bearerkit/bearerkit/tokenauth"
)

// Refresh lists the bugs of refresh tokens that the trials "strict" or "bounded" must
// find. Each bug names them in [Plant.Trials].
var Refresh = []*Plant{
	{
		Name: "read-then-write", Trials: []string{"strict", "bounded"},
		About: "a refresh reads the slot, compares, and then overwrites it: two concurrent ones each issue a pair",
		Storage: func(s tokenauth.Storage, _ *State, _ uint64) tokenauth.Storage {
			return With(s, &readThenWrite{s, s.(tokenauth.Refresher)})
		},
	},
	{
		Name: "endless-grace", Trials: []string{"strict", "bounded"},
		About:    "the grace has no end: a refresh can be repeated at any time",
		Timeless: true,
	},
	{
		Name: "unnoticed-reuse", Trials: []string{"strict", "bounded"},
		About: "the refresh token used last is taken for a made-up one after the grace: its reuse ends nothing",
		Storage: func(s tokenauth.Storage, shared *State, _ uint64) tokenauth.Storage {
			return With(s, &rotationRecorder{s, s.(tokenauth.Refresher), shared})
		},
		Presents: func(shared *State, refreshToken string, now time.Time, grace time.Duration) string {
			return shared.unnoticed(refreshToken, now.Add(-grace), func(age int) bool { return age == 1 })
		},
	},
	{
		Name: "forgotten-reuse", Trials: []string{"strict"},
		About: "a refresh token that was used ten rotations ago is taken for a made-up one: its reuse ends nothing",
		Storage: func(s tokenauth.Storage, shared *State, _ uint64) tokenauth.Storage {
			return With(s, &rotationRecorder{s, s.(tokenauth.Refresher), shared})
		},
		Presents: func(shared *State, refreshToken string, now time.Time, grace time.Duration) string {
			return shared.unnoticed(refreshToken, now.Add(-grace), func(age int) bool { return age >= 10 })
		},
	},
	{
		Name: "refresh-outlives-user", Trials: []string{"strict", "bounded"},
		About: "a revocation of a user ends the access tokens, and no refresh token",
		Storage: func(s tokenauth.Storage, shared *State, _ uint64) tokenauth.Storage {
			return With(s, &outlivesUser{s, s.(tokenauth.Refresher), s.(tokenauth.BulkRevoker), shared})
		},
	},
	{
		Name: "refresh-outlives-sign-in", Trials: []string{"strict", "bounded"},
		About: "a sign-in at a replica without refresh tokens ends the access token before it, and not the refresh token",
		Storage: func(s tokenauth.Storage, shared *State, _ uint64) tokenauth.Storage {
			return With(s, &outlivesSignIn{s, s.(tokenauth.Refresher), shared})
		},
	},
}

// The layout of [tokenauth.Refresh.State]: a head, then the latest rotations. These are
// the bytes that the plants read.
const (
	accessAt     = 1                      // the digest of the access token
	currentAt    = accessAt + sha256.Size // the digest of the refresh token
	rotationSize = 16 + 16 + 8 + 4 + 8 + 1
	timeAt       = 16 + 16 // in a rotation: its time in Unix milliseconds
)

func currentOf(r *tokenauth.Refresh) tokenauth.Digest {
	return tokenauth.Digest(r.State[currentAt:])
}

// sameRefresh is the comparison of [tokenauth.Refresher.Refresh].
func sameRefresh(row, was *tokenauth.Token) bool {
	return row.Digest == was.Digest && row.Principal.Stamp == was.Principal.Stamp && row.Refresh != nil && was.Refresh != nil && bytes.Equal(row.Refresh.State, was.Refresh.State)
}

// findOne finds the token in one slot, with its [tokenauth.Refresh].
func findOne(ctx context.Context, r tokenauth.Refresher, s tokenauth.Slot) (tokenauth.Token, error) {
	found, err := r.FindRefresh(ctx, []tokenauth.Slot{s})
	if err != nil {
		return tokenauth.Token{}, err
	}
	return found[0].Token, found[0].Err
}

type readThenWrite struct {
	tokenauth.Storage
	tokenauth.Refresher
}

func (r *readThenWrite) Refresh(ctx context.Context, was, t tokenauth.Token) (bool, error) {
	now, err := findOne(ctx, r.Refresher, t.Slot)
	if errors.Is(err, tokenauth.ErrNotFound) {
		return false, nil
	}
	if err != nil || !sameRefresh(&now, &was) {
		return false, err
	}
	time.Sleep(Moment)
	return true, r.Replace(ctx, t)
}

// A rotation is the use of a refresh token.
type rotation struct {
	next tokenauth.Digest // of the refresh token that replaced it
	at   time.Time
}

// A rotationRecorder records all rotations in its State.
type rotationRecorder struct {
	tokenauth.Storage
	tokenauth.Refresher
	shared *State
}

func (r *rotationRecorder) Refresh(ctx context.Context, was, t tokenauth.Token) (bool, error) {
	stored, err := r.Refresher.Refresh(ctx, was, t)
	if used, next := currentOf(was.Refresh), currentOf(t.Refresh); used != next && (stored || err != nil) {
		latest := t.Refresh.State[len(t.Refresh.State)-rotationSize:]
		r.shared.mu.Lock()
		defer r.shared.mu.Unlock()
		if r.shared.rotations == nil {
			r.shared.rotations = make(map[tokenauth.Digest]rotation)
		}
		r.shared.rotations[used] = rotation{next, time.UnixMilli(int64(binary.BigEndian.Uint64(latest[timeAt:])))}
	}
	return stored, err
}

// unnoticed returns a made-up refresh token instead of one that was used before the time,
// if the reuse is not noticed. The argument of unnoticed is the number of rotations since
// then.
func (s *State) unnoticed(refreshToken string, before time.Time, unnoticed func(rotations int) bool) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	used, ok := s.rotations[sha256.Sum256([]byte(refreshToken))]
	n := 0
	for next, more := used, ok; more; next, more = s.rotations[next.next] {
		n++
	}
	if !ok || !used.at.Before(before) || !unnoticed(n) {
		return refreshToken
	}
	return accesstoken.MakeUp(rand.New(rand.NewPCG(uint64(n), 3)), refreshToken)
}

// An outlivesUser keeps a copy of each token with a refresh token. It uses the copy if
// the token is gone. A revocation of the user leaves the copies.
type outlivesUser struct {
	tokenauth.Storage
	tokenauth.Refresher
	tokenauth.BulkRevoker
	shared *State
}

func (o *outlivesUser) Replace(ctx context.Context, t tokenauth.Token) error {
	o.shared.keep(t)
	return o.Storage.Replace(ctx, t)
}

func (o *outlivesUser) FindRefresh(ctx context.Context, slots []tokenauth.Slot) ([]tokenauth.Found, error) {
	found, err := o.Refresher.FindRefresh(ctx, slots)
	for i := range found {
		if t, ok := o.shared.copyOf(slots[i]); ok && errors.Is(found[i].Err, tokenauth.ErrNotFound) {
			found[i] = tokenauth.Found{Token: t}
		}
	}
	return found, err
}

func (o *outlivesUser) Refresh(ctx context.Context, was, t tokenauth.Token) (bool, error) {
	stored, err := o.Refresher.Refresh(ctx, was, t)
	if stored || err != nil {
		if stored {
			o.shared.keep(t)
		}
		return stored, err
	}
	kept, ok := o.shared.copyOf(t.Slot)
	if _, err := o.Find(ctx, t.Slot); !ok || !errors.Is(err, tokenauth.ErrNotFound) || !sameRefresh(&kept, &was) {
		return false, nil
	}
	return true, o.Replace(ctx, t)
}

func (o *outlivesUser) Revoke(ctx context.Context, s tokenauth.Slot, d tokenauth.Digest) error {
	o.shared.drop(func(t *tokenauth.Token) bool { return t.Slot == s && t.Digest == d })
	return o.Storage.Revoke(ctx, s, d)
}

func (o *outlivesUser) RevokeClient(ctx context.Context, clientID string) error {
	o.shared.drop(func(t *tokenauth.Token) bool { return t.ClientID == clientID })
	return o.BulkRevoker.RevokeClient(ctx, clientID)
}

// An outlivesSignIn keeps the refresh token of the sign-in before, if a sign-in has none.
type outlivesSignIn struct {
	tokenauth.Storage
	tokenauth.Refresher
	shared *State
}

func (o *outlivesSignIn) Replace(ctx context.Context, t tokenauth.Token) error {
	o.shared.drop(func(kept *tokenauth.Token) bool { return kept.Slot == t.Slot })
	if before, err := findOne(ctx, o.Refresher, t.Slot); t.Refresh == nil && err == nil && before.Refresh != nil {
		with := t
		with.Refresh = &tokenauth.Refresh{ExpiresAt: before.Refresh.ExpiresAt, State: bytes.Clone(before.Refresh.State)}
		copy(with.Refresh.State[accessAt:], t.Digest[:])
		o.shared.keep(with)
	}
	return o.Storage.Replace(ctx, t)
}

func (o *outlivesSignIn) FindRefresh(ctx context.Context, slots []tokenauth.Slot) ([]tokenauth.Found, error) {
	found, err := o.Refresher.FindRefresh(ctx, slots)
	for i := range found {
		if kept, ok := o.shared.copyOf(slots[i]); ok && found[i].Err == nil && found[i].Token.Digest == kept.Digest {
			found[i].Token.Refresh = kept.Refresh
		}
	}
	return found, err
}

func (o *outlivesSignIn) Refresh(ctx context.Context, was, t tokenauth.Token) (bool, error) {
	now, err := o.Find(ctx, t.Slot)
	kept, ok := o.shared.copyOf(t.Slot)
	if !ok || !sameRefresh(&kept, &was) {
		return o.Refresher.Refresh(ctx, was, t)
	}
	if errors.Is(err, tokenauth.ErrNotFound) || err == nil && now.Digest != was.Digest {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return true, o.Replace(ctx, t)
}

// keep keeps a copy of the token, if it has a refresh token.
func (s *State) keep(t tokenauth.Token) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.copies == nil {
		s.copies = make(map[tokenauth.Slot]tokenauth.Token)
	}
	delete(s.copies, t.Slot)
	if t.Refresh != nil {
		s.copies[t.Slot] = t
	}
}

func (s *State) copyOf(slot tokenauth.Slot) (t tokenauth.Token, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t, ok = s.copies[slot]
	return t, ok
}

func (s *State) drop(gone func(*tokenauth.Token) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	maps.DeleteFunc(s.copies, func(_ tokenauth.Slot, t tokenauth.Token) bool { return gone(&t) })
}
