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

// Keys makes, lists and ends API keys ([Options.Keys]). [NewKeys] returns it. It is
// safe for concurrent use.
//
// These end a key: its expiry, [Keys.Revoke], [Keys.RevokeAll], [Service.Revoke],
// [Service.RevokeToken] and [Service.RevokeAll]. Nothing else does. In particular, a
// new sign-in, [Service.RevokeUser], [Service.RevokeClient], [Options.Devices] and
// [Options.IdleTimeout] keep keys.
//
// But a key is worth no more than its owner. While the [Reloader] rejects the user, for
// example because the user is disabled, all the user's keys are refused. When it accepts
// the user again, they are valid again. A role that the user loses is lost in every
// key. The Service keeps what the Reloader returned for a day. So after each change to a
// user, call [Service.RevokeUser]: then the change counts from the next request on. Or
// use an [Authenticator] that is a [RevocationQueue], and the change counts soon after.
// After deleting a user, call [Keys.RevokeAll]. Otherwise the keys stay in the storage,
// and a later user with the same ID has them.
type Keys struct{ service *Service }

// NewKeys returns the Keys of a Service. It returns an error if [Options.Keys] is not
// set.
func NewKeys(s *Service) (*Keys, error) {
	if s == nil || s.keys == nil {
		return nil, errors.New("tokenauth: NewKeys needs a Service with Options.Keys")
	}
	return &Keys{s}, nil
}

// Validate returns the [Token] for an API key. Its Principal has those of the key's
// roles that the user has now. Validate is what a guard does: see [Requirement.Keys].
// The errors are those of [Service.Validate], which accepts no keys. A key whose owner
// may not sign in is an [ErrInvalidToken]. If the [Reloader] returned a principal that
// cannot be stored, the error is an [ErrInvalidPrincipal].
func (k *Keys) Validate(ctx context.Context, key string) (Token, error) {
	defer plainPanic()
	s := k.service
	began := s.beginning()
	t, err := s.validateKey(ctx, key)
	if err != nil || s.observed() {
		e := Event{Kind: event.Validated, Reason: event.ReasonKey}
		if err != nil {
			e.setError(err, event.Refused)
		}
		e.Duration = s.since(began)
		e.setToken(t)
		s.observe(ctx, &e)
	}
	if err != nil {
		return Token{}, err
	}
	return t.clone(), nil
}

// List returns a user's valid keys, the newest first. It returns the errors of
// [Service.Tokens].
func (k *Keys) List(ctx context.Context, userID string) ([]Key, error) {
	defer plainPanic()
	s := k.service
	live, err := s.liveKeys(ctx, userID)
	if err != nil && !errors.Is(err, ErrCorrupt) {
		return nil, err
	}
	slices.SortFunc(live, func(a, b Token) int { return compareKeys(b, a) })
	keys := make([]Key, len(live))
	for i := range live {
		keys[i] = s.keys.describe(&live[i])
	}
	return keys, err
}

// liveKeys returns a user's valid keys as they are stored. Its errors are those of
// [Keys.List].
func (s *Service) liveKeys(ctx context.Context, userID string) ([]Token, error) {
	tokens, err := s.listOf(ctx, UserKeyOf(userID).keys())
	now := s.options.Now().Unix()
	return slices.DeleteFunc(slices.Clone(tokens), func(t Token) bool { return !t.isStoredKey() || t.expired(now) }), err
}

// Rename changes the name of a user's key.
//
//   - It returns [ErrNotFound] if the user has no valid key with this ID.
//   - It returns [ErrInvalidPrincipal], wrapped, for a name that is not valid
//     ([Key.Name]).
//   - It returns [ErrUnavailable] if the storage is not a [Renamer], failed, or did
//     not answer in time.
func (k *Keys) Rename(ctx context.Context, userID, id, name string) error {
	defer plainPanic()
	const doing = "renaming a key"
	s := k.service
	if !validDeviceName(name) {
		return errKeyName
	}
	if s.keys.renamer == nil {
		return unavailable(doing, fmt.Errorf("%T is not a Renamer; the stores of gormstore, redisstore and memory are", s.storage))
	}
	t, err := s.findKey(ctx, userID, id)
	if err != nil {
		return err
	}
	call, cancel, err := s.timeout.Call(ctx)
	if err != nil {
		return unavailable(doing, err)
	}
	defer cancel()
	defer calling("the storage")
	err = s.keys.renamer.Rename(call, t.Slot, t.Digest, name)
	s.changed(t.Slot.User) // the cache has the name, too
	if err != nil {
		return unavailable(doing, err)
	}
	return nil
}

// Revoke ends a user's key. Once it returns nil, this Service rejects the key. Other
// replicas with a cache reject it within [CacheOptions.Lease].
//
//   - It returns [ErrNotFound] if the user has no valid key with this ID, for example
//     because it is another user's.
//   - It returns [ErrUnavailable] if the storage failed or did not answer in time. The
//     key may still be valid then.
func (k *Keys) Revoke(ctx context.Context, userID, id string) error {
	defer plainPanic()
	t, err := k.service.findKey(ctx, userID, id)
	if err != nil {
		return err
	}
	return k.service.RevokeToken(ctx, *k.service.keys.present(t))
}

// findKey returns a user's valid key as it is stored. The errors are those of
// [Keys.Revoke].
func (s *Service) findKey(ctx context.Context, userID, id string) (*Token, error) {
	start, ok := accesstoken.ParseStart(s.keys.Prefix, id)
	if !ok {
		return nil, ErrNotFound
	}
	t, err := s.lookups.find(ctx, slotOfKey(UserKeyOf(userID), start))
	switch {
	case errors.Is(err, ErrNotFound), errors.Is(err, ErrCorrupt):
		return nil, ErrNotFound
	case err == errPanic:
		return nil, err
	case err != nil:
		return nil, unavailable("finding a key", err)
	case !t.isStoredKey() || t.expired(s.options.Now().Unix()):
		return nil, ErrNotFound
	}
	return t, nil
}

// RevokeAll ends all keys of a user, and removes them from the storage. It returns no
// error for a user without keys.
//
//   - It returns [ErrInvalidPrincipal] for an empty userID.
//   - It returns [ErrUnavailable] if the storage failed or did not answer in time. Some
//     keys may have ended.
func (k *Keys) RevokeAll(ctx context.Context, userID string) error {
	defer plainPanic()
	if userID == "" { // a caller's mistake, because no user has this ID
		return fmt.Errorf("%w: RevokeAll was called with an empty UserID", ErrInvalidPrincipal)
	}
	began := time.Now()
	ctx, cancel := deadline.Detach(ctx) // finish what has begun
	defer cancel()
	imported, err := k.service.importedOf(ctx, userID)
	if err == nil {
		err = k.service.revokeUser(ctx, UserKeyOf(userID).keys())
	}
	for i := 0; i < len(imported) && err == nil; i++ {
		err = k.service.revokePointer(ctx, &imported[i])
	}
	k.service.observeRevoked(ctx, Event{Reason: event.ReasonKey, UserID: userID}, began, err)
	return err
}

// importedOf returns the user's imported keys, which have pointers.
func (s *Service) importedOf(ctx context.Context, userID string) ([]Token, error) {
	tokens, err := s.listOf(ctx, UserKeyOf(userID).keys())
	if errors.Is(err, ErrCorrupt) {
		err = nil
	}
	return slices.DeleteFunc(slices.Clone(tokens), func(t Token) bool { return t.Device != importedMark }), err
}
