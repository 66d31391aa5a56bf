package tokenauth

import (
	"context"
	"crypto/rand"
	"errors"
	"maps"
	"slices"
	"time"
)

// The record of an owner is a token in one of the user's own slots. It has the
// principal that the [Reloader] returned, and a random digest, so no access token
// matches it. Whatever ends the user's sign-ins also ends the record. The next use of
// one of the user's keys then calls the Reloader again.
const (
	// ownerKept is how long a record counts.
	ownerKept = 24 * time.Hour
	// ownerPending is how long ago a record expired that does not count yet. It is
	// more than clocks may differ, and less than purgeGrace.
	ownerPending = time.Hour
	// ownerTries is how often a record is stored again because the user changed.
	ownerTries = 6
)

var errOwnerChanges = errors.New("the user changes again and again, or the Reloader and the Rechecker do not agree")

// ownerOf returns the record of the owner of a stored key, given the result of looking
// it up. If there is none, ownerOf makes one. It returns [ErrInvalidToken] for a user
// who may not sign in.
func (s *Service) ownerOf(ctx context.Context, k keyRef, key *Token, found *Found) (*Token, error) {
	owner := &found.Token
	switch err := found.Err; {
	case err == nil:
		if owner.ClientID == keyClient && owner.Principal.UserID == key.Principal.UserID && !owner.expired(s.options.Now().Unix()) {
			return owner, nil
		}
	case errors.Is(err, ErrNotFound):
	case errors.Is(err, ErrCorrupt):
		s.securityLog.corrupt(ctx, err)
	default:
		return nil, unavailable("finding the owner of a key", err)
	}
	return s.renewOwner(ctx, k, key)
}

// renewOwner stores a new record of the owner of a key, and returns it. That takes several
// calls of the host's code and of the storage, each of which may take [Options.Timeout].
// But no request waits longer than twice that.
func (s *Service) renewOwner(ctx context.Context, k keyRef, key *Token) (*Token, error) {
	of := ownerName{key.Principal.UserID, key.Principal.UserName}
	return s.keys.renewals.do(ctx, of, 2*s.options.Timeout, func(ctx context.Context) (t *Token, err error) {
		defer func() { // none of the requests that wait could recover a panic
			if p := recover(); p != nil {
				err = errPanic
				defer func() { _ = recover() }() // the host's logger may panic, too
				s.securityLog.panicked(ctx, "the authenticator", p)
			}
		}()
		return s.storeOwner(ctx, k.owner, of)
	})
}

// storeOwner stores a record and then looks the user up again. Only if nothing changed,
// it makes the record count, by a statement that never stores a record in an empty
// slot. So a record that counts has the state of the user after it was stored, and a
// revocation after a later change finds it.
func (s *Service) storeOwner(ctx context.Context, slot Slot, of ownerName) (*Token, error) {
	user, err := s.reloadOwner(ctx, of)
	for range ownerTries {
		if err != nil {
			return nil, err
		}
		now := s.options.Now().UTC().Truncate(time.Second)
		t := Token{Slot: slot, ClientID: keyClient, Principal: user.Clone(), IssuedAt: now, ExpiresAt: now.Add(-ownerPending)}
		rand.Read(t.Digest[:]) // never returns an error
		if err := s.replace(ctx, t); err != nil {
			return nil, unavailable("storing the owner of a key", err)
		}
		var same bool
		if user, same, err = s.lookAtOwner(ctx, of, user); err != nil || !same {
			continue
		}
		t.ExpiresAt = now.Add(ownerKept)
		use := Use{Slot: slot, Digest: t.Digest, At: time.Unix(useHourStart(&t.Digest, useHourOf(&t.Digest, now.Unix())), 0).UTC(), ExpiresAt: t.ExpiresAt}
		if err := s.keys.uses.send(ctx, []Use{use}); err != nil {
			return nil, unavailable("storing the owner of a key", err)
		}
		return &t, nil
	}
	if err == nil {
		err = unavailable(renewingOwner, errOwnerChanges)
	}
	return nil, err
}

// lookAtOwner looks the user up again, and reports whether nothing changed. It calls the
// [Rechecker] first, because that waits for transactions that are changing the user.
func (s *Service) lookAtOwner(ctx context.Context, of ownerName, before Principal) (now Principal, same bool, err error) {
	changed := s.recheckUser(ctx, before)
	if changed != nil && !errors.Is(changed, ErrRejected) {
		return now, false, changed
	}
	now, err = s.reloadOwner(ctx, of)
	same = changed == nil && now.UserName == before.UserName && now.Stamp == before.Stamp &&
		slices.Equal(slices.Sorted(slices.Values(now.Roles)), slices.Sorted(slices.Values(before.Roles))) && maps.Equal(now.Attributes, before.Attributes)
	return now, same, err
}

// reloadOwner returns the current principal of a user who has keys. It returns
// [ErrInvalidToken] for a user who may not sign in.
func (s *Service) reloadOwner(ctx context.Context, of ownerName) (Principal, error) {
	user, err := s.reload(ctx, Principal{UserID: of.userID, UserName: of.userName}, ErrInvalidToken)
	user.Row = nil
	return user, err
}
