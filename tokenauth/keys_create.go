package tokenauth

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/bearerkit/bearerkit/tokenauth/event"
	"github.com/bearerkit/bearerkit/tokenauth/internal/accesstoken"
	"github.com/bearerkit/bearerkit/tokenauth/internal/deadline"
)

// Create makes a key for the user of a sign-in, and returns it. The secret is the key
// itself. It is stored nowhere, so show it to the user at once. The owner is the token
// of the request ([FromContext]), behind a guard that lets no keys through. A Token
// without a Digest, which the host made itself, is not looked up.
//
// Create reads only the Name, Roles, Attributes and ExpiresAt of k. Let the user choose
// the values of attributes, but not their names, because they replace the user's own.
//
//   - It returns [ErrTooManyKeys] if the user has [KeyOptions.Max] valid keys. If
//     several calls compete for the last one, all of them may return it.
//   - It returns [ErrInvalidPrincipal], wrapped with the name of the field, if a role is
//     not one of the owner's, if ExpiresAt is not in the future, or if the key cannot be
//     stored.
//   - It returns [ErrRejected] if the owner is a key itself, if the sign-in has ended
//     meanwhile, or if the user was disabled or changed since the sign-in.
//   - It returns [ErrUnavailable] if the storage or the host's code failed. If the
//     storage kept the key nevertheless, the list has it, but no client.
func (k *Keys) Create(ctx context.Context, owner Token, key Key) (secret Secret, made Key, err error) {
	defer plainPanic()
	s := k.service
	began := time.Now()
	t, err := s.newKeyOf(&owner, &key)
	if err == nil {
		secret, err = s.createKey(ctx, &owner, t)
	}
	e := Event{Kind: event.Issued, Reason: event.ReasonKey}
	if err == nil {
		made = s.keys.describe(t)
	} else if e.setError(err, event.Issued); e.Kind == event.Issued || errors.Is(err, ErrInvalidPrincipal) {
		return Secret{}, Key{}, err // the user's mistake or the caller's, so it is not an event
	}
	e.setToken(s.keys.present(t))
	e.Duration = time.Since(began)
	s.observe(ctx, &e)
	return secret, made, err
}

var errKeyName = fmt.Errorf("%w: Name must have at most %d bytes of UTF-8 without control characters", ErrInvalidPrincipal, maxDeviceName)

// newKeyOf is newKey for the user of a sign-in, who must have the key's roles.
func (s *Service) newKeyOf(owner *Token, key *Key) (*Token, error) {
	if owner.Key != "" || owner.Slot.User == UserKeyOf(owner.Principal.UserID).keys() {
		return nil, because(ErrRejected, errKeyMakesKey)
	}
	if slices.ContainsFunc(key.Roles, func(role string) bool { return !owner.Principal.HasRole(role) }) {
		return nil, fmt.Errorf("%w: Roles has a role that the owner does not have", ErrInvalidPrincipal)
	}
	return s.newKey(&owner.Principal, key)
}

// newKey returns a key to store, without its slot and digest.
func (s *Service) newKey(owner *Principal, key *Key) (*Token, error) {
	bad := func(text string) (*Token, error) { return nil, fmt.Errorf("%w: %s", ErrInvalidPrincipal, text) }
	now := s.options.Now().UTC()
	expires := key.ExpiresAt.UTC().Truncate(time.Second)
	if key.ExpiresAt.IsZero() {
		expires = neverExpires
	}
	roles := key.Roles
	if roles == nil {
		roles = []string{allRoles}
	}
	switch {
	case !validDeviceName(key.Name):
		return nil, errKeyName
	case !expires.After(now) || expires.After(neverExpires):
		return bad("ExpiresAt must be in the future, or zero")
	case slices.Contains(key.Roles, allRoles):
		return bad("Roles has a role that no user has")
	}
	p := Principal{UserID: owner.UserID, UserName: owner.UserName, Roles: roles, Attributes: key.Attributes}
	if err := p.check(); err != nil {
		return nil, err
	}
	return &Token{ClientID: keyClient, DeviceName: key.Name, Principal: p.Clone(), ExpiresAt: expires}, nil
}

// keyAhead is how far in the future the time of a new key may be.
const keyAhead = time.Minute

// createKey stores a new key, unless the user has too many. It sets the key's slot,
// digest and IssuedAt.
func (s *Service) createKey(ctx context.Context, owner, t *Token) (secret Secret, err error) {
	live, err := s.keysBefore(ctx, t)
	if err != nil {
		return secret, err
	}
	now := s.options.Now()
	at := now.UTC().Truncate(time.Millisecond)
	for i := range live {
		// The newest key has the latest time, unless the clock of the replica that made
		// another one was wrong.
		if made := live[i].IssuedAt; !at.After(made) && made.Before(now.Add(keyAhead)) {
			at = made.Add(time.Millisecond)
		}
	}
	t.IssuedAt = withMilliseconds(at)
	text, id, digest := accesstoken.MintKey(s.keys.Prefix, UserKeyOf(t.Principal.UserID))
	t.Slot, t.Digest = slotOfKey(id.User, id.ID), digest
	kept := false
	defer func() {
		if !kept { // an error, or a panic of the host's code
			s.discard(context.WithoutCancel(ctx), t)
		}
	}()
	if err := s.replace(ctx, *t); err != nil {
		return secret, unavailable("storing a key", err)
	}
	further, cancel := deadline.Detach(ctx) // the key must not stay if it must not be used
	defer cancel()
	if err = s.lookAtMaker(further, owner); err == nil {
		err = s.boundKeys(further, t)
	}
	if err != nil {
		return secret, err
	}
	kept = true
	return NewSecret(text), nil
}

// keysBefore returns the user's valid keys, or [ErrTooManyKeys].
func (s *Service) keysBefore(ctx context.Context, t *Token) ([]Token, error) {
	live, err := s.liveKeys(ctx, t.Principal.UserID)
	switch {
	case err != nil && !errors.Is(err, ErrCorrupt):
		return nil, err
	case len(live) >= s.keys.Max:
		return nil, ErrTooManyKeys
	}
	return live, nil
}

// lookAtMaker returns [ErrRejected] if the sign-in that makes the key has ended, or if the
// user was disabled or changed since the sign-in. A sign-in without a stamp shows no
// change. The key is already stored, so a later [Keys.RevokeAll] ends it, too.
func (s *Service) lookAtMaker(ctx context.Context, owner *Token) error {
	p := &owner.Principal
	if !owner.Digest.IsZero() {
		now, err := s.findSignIn(ctx, owner.Slot)
		switch {
		case errors.Is(err, ErrNotFound), errors.Is(err, ErrCorrupt), err == nil && (!now.continues(owner) || now.expired(s.options.Now().Unix())):
			return because(ErrRejected, errSignInEnded)
		case err == errPanic:
			return err
		case err != nil:
			return unavailable("finding the sign-in that makes a key", err)
		}
	}
	if p.Stamp != "" && canRecheck(s.authenticator) {
		return s.recheckUser(ctx, *p)
	}
	_, err := s.reload(ctx, Principal{UserID: p.UserID, UserName: p.UserName}, ErrRejected)
	return err
}

// boundKeys returns [ErrTooManyKeys] if the user has more valid keys than
// [KeyOptions.Max], so that the stored key must end.
//
// Each call of Create that succeeds has listed at most Max keys after it stored its own.
// Of these calls, the one that stored its key last has listed the keys of all others.
// So all together make at most Max.
//
// Calls that compete for the last keys see each other. The newest gives up at once, and
// the others wait a little, so that not all of them give up.
func (s *Service) boundKeys(ctx context.Context, t *Token) error {
	for wait := 10 * time.Millisecond; ; wait *= 2 {
		live, err := s.liveKeys(ctx, t.Principal.UserID)
		if err != nil && !errors.Is(err, ErrCorrupt) {
			return err
		}
		if len(live) <= s.keys.Max {
			return nil
		}
		newest := slices.MaxFunc(live, compareKeys)
		if wait > 100*time.Millisecond || newest.Slot == t.Slot {
			return ErrTooManyKeys
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return unavailable("counting keys", ctx.Err())
		}
	}
}
