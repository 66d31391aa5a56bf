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

// Revoke ends an access token, the sign-in of a refresh token
// ([Options.Refresh]), or an API key ([Options.Keys]). It is idempotent: it returns
// no error for a token that is malformed, unknown or no longer valid. Revoking an old
// access token never ends the token that replaced it. Revoking a refresh token that
// was used before does end its sign-in. Once Revoke returns nil, this Service rejects
// the token. Other replicas with a cache reject it within [CacheOptions.Lease].
//
//   - It returns [ErrUnavailable] if the storage failed or did not answer in
//     time.
//   - It returns another error if the storage is a [BatchFinder] and panicked.
//     The stack is logged.
//
// After an error the token may still be valid.
func (s *Service) Revoke(ctx context.Context, token string) error {
	defer plainPanic()
	if p, ok := s.refresh.parse(token); ok {
		return s.revokeRefresh(ctx, p, nil, Event{})
	}
	if s.keys.has(token) {
		return s.revokeKey(ctx, token, Event{})
	}
	slot, digest, ok := s.parse(token)
	if !ok {
		return nil
	}
	return s.revokeObserved(ctx, slot, digest, Event{}, nil)
}

// revokeKey revokes an API key, as [Service.Revoke] does.
func (s *Service) revokeKey(ctx context.Context, key string, e Event) error {
	digest, _ := s.keys.digest(key) // it has the form of a key
	k, err := s.locate(ctx, key, digest)
	switch {
	case errors.Is(err, ErrInvalidToken):
		return nil
	case err != nil:
		return err
	}
	if err := s.revokeObserved(ctx, k.key, k.digest, e, nil); err != nil || !s.keys.isImported(key) {
		return err
	}
	// The key may have been gone already, after an earlier revocation that failed.
	return s.revoke(ctx, importedSlot(&k.digest), k.digest)
}

// revokePointer removes the pointer to a key that was revoked, if the key was imported. It
// leaves a pointer to another user's key with the same digest, which an Import that failed
// between its two steps made possible.
func (s *Service) revokePointer(ctx context.Context, key *Token) error {
	if key.Device != importedMark {
		return nil
	}
	pointer, err := s.lookups.find(ctx, importedSlot(&key.Digest))
	switch {
	case errors.Is(err, ErrNotFound), err == nil && pointer.Principal.UserID != key.Principal.UserID:
		return nil
	case err == errPanic:
		return err
	case err != nil && !errors.Is(err, ErrCorrupt):
		return unavailable("finding the pointer to a key", err)
	}
	return s.revoke(ctx, importedSlot(&key.Digest), key.Digest)
}

// parse returns the slot and the digest of an access token. It reports
// false for a string that this Service cannot have issued.
func (s *Service) parse(accessToken string) (Slot, Digest, bool) {
	slot, ok := accesstoken.Parse(s.options.Prefix, accessToken)
	if !ok {
		return Slot{}, Digest{}, false
	}
	digest, ok := accesstoken.Digest(s.options.Prefix, accessToken)
	return slotFrom(slot), digest, ok
}

// RevokeToken ends a token as [Service.Revoke] does. The token comes from
// [Service.Tokens], [FromContext] or an [IssuedToken]. If a refresh replaced it
// since ([Options.Refresh]), the sign-in ends nevertheless. If several did, it ends
// only for a token of [Service.Tokens] or an [IssuedToken]. RevokeToken returns
// [ErrInvalidToken] for the token of a request that [Options.Fallback]
// authenticated: the Service cannot end it.
func (s *Service) RevokeToken(ctx context.Context, t Token) error {
	defer plainPanic()
	if t.Digest.IsZero() {
		return ErrInvalidToken
	}
	var e Event
	e.setToken(&t)
	return s.revokeObserved(ctx, t.Slot, t.Digest, e, &t)
}

// RevokeUser ends all tokens of a user, at every client and on every device.
// Call it after each change to a user that must end the user's earlier tokens.
// Once it returns nil, this Service rejects every token issued before the call.
// Other replicas with a cache reject them within [CacheOptions.Lease].
//
// It keeps the tokens that are given as except, for example the token of the
// request in which a user signs out everywhere else ([FromContext]). It keeps API keys
// ([Options.Keys]), which [Keys.RevokeAll] ends. Without
// them it also ends the token of the current request. The client must then sign
// in again, unless the host gives it a new token ([Service.Issue]).
//
// The userID is [Principal.UserID], not the name that the user types.
// RevokeUser returns no error for a user without tokens.
//
//   - It returns [ErrInvalidPrincipal] for an empty userID, and for a token that
//     is not the user's.
//   - It returns [ErrUnavailable] if the storage failed or did not answer in
//     time, or if there are tokens to keep and the storage is not a [Lister].
//     Some tokens may have ended.
func (s *Service) RevokeUser(ctx context.Context, userID string, except ...Token) error {
	defer plainPanic()
	if userID == "" { // a caller's mistake, because no user has this ID
		return fmt.Errorf("%w: RevokeUser was called with an empty UserID", ErrInvalidPrincipal)
	}
	except = slices.DeleteFunc(slices.Clone(except), func(t Token) bool { return t.Key != "" && t.Slot.User == UserKeyOf(userID).keys() })
	for i := range except {
		if except[i].Slot.User != UserKeyOf(userID) || except[i].Digest.IsZero() {
			return fmt.Errorf("%w: RevokeUser was called with a token to keep that is not the user's", ErrInvalidPrincipal)
		}
	}
	began := time.Now()
	var err error
	if len(except) == 0 {
		err = s.revokeUser(ctx, UserKeyOf(userID))
	} else {
		err = s.revokeOthers(ctx, userID, except)
	}
	s.observeRevoked(ctx, Event{Reason: event.ReasonUser, UserID: userID}, began, err)
	return err
}

// revokeOthers ends the user's tokens, except the given ones.
func (s *Service) revokeOthers(ctx context.Context, userID string, except []Token) error {
	ctx, cancel := deadline.Detach(ctx) // finish what has begun
	defer cancel()
	tokens, err := s.list(ctx, userID)
	if err != nil && !errors.Is(err, ErrCorrupt) { // a corrupt token is never valid
		return err
	}
	s.changed(UserKeyOf(userID)) // the cache may have tokens that ended earlier
	for i := range tokens {
		t := &tokens[i]
		if slices.ContainsFunc(except, func(e Token) bool { return t.continues(&e) }) {
			continue
		}
		if err := s.revokeSignIn(ctx, t); err != nil {
			return err
		}
	}
	return nil
}

// RevokeAll ends every token in the storage, and every API key: after a leak, or
// after a backup of the storage was restored, which brings ended tokens back. Once it
// returns nil, this Service rejects every token issued before the call. Other
// replicas with a cache reject them within [CacheOptions.Lease].
//
// It works in small batches and may take minutes. Once begun, it continues even
// if the context is cancelled; only the context's deadline stops it. It returns
// [ErrUnavailable] if the storage failed or is not a [BulkRevoker].
func (s *Service) RevokeAll(ctx context.Context) error {
	defer plainPanic()
	return s.revokeMany(ctx, "revoking all tokens", Event{Reason: event.ReasonAll}, BulkRevoker.RevokeAll)
}

// RevokeClient ends all tokens of a client. Call it after the host disabled or
// deleted the client. Once it returns nil, this Service rejects every token
// issued before the call. Other replicas with a cache reject them within
// [CacheOptions.Lease].
//
// Once begun, it continues even if the context is cancelled. Only the context's
// deadline stops it. It returns [ErrUnavailable] if the storage failed or is
// not a [BulkRevoker].
func (s *Service) RevokeClient(ctx context.Context, clientID string) error {
	defer plainPanic()
	return s.revokeMany(ctx, revokingClient, Event{Reason: event.ReasonClient, ClientID: clientID}, func(r BulkRevoker, ctx context.Context) error {
		return revokeClient(ctx, r, clientID)
	})
}

// revokeClient calls [BulkRevoker.RevokeClient], but not with the ID that stands for API
// keys, because no client has it.
func revokeClient(ctx context.Context, r BulkRevoker, clientID string) error {
	if clientID == keyClient {
		return nil
	}
	return r.RevokeClient(ctx, clientID)
}

// revokeMany calls a method of the [BulkRevoker], and reports the event.
func (s *Service) revokeMany(ctx context.Context, doing string, e Event, revoke func(BulkRevoker, context.Context) error) error {
	began := time.Now()
	if err := ctx.Err(); err != nil {
		return unavailable(doing, err)
	}
	detached, cancel := deadline.Detach(ctx)
	defer cancel()
	err := s.bulkRevoke(detached, doing, revoke)
	if errors.Is(err, errNoBulkRevoker) {
		return err // the storage was not called, so there is no event
	}
	s.observeRevoked(ctx, e, began, err)
	return err
}

// revokeObserved revokes one token. It reports an event only if the slot held
// the token or a storage call failed, because anyone can send a token that was
// never issued. It reads the slot first, because [Storage.Revoke] does not
// report whether it changed anything. It then calls Storage.Revoke, even if the
// slot held another token or none. The caller sets the fields of e that it
// already knows. If the argument whole is not nil, it is the token, and
// revokeObserved ends its sign-in even if a refresh replaces the token meanwhile.
func (s *Service) revokeObserved(ctx context.Context, slot Slot, digest Digest, e Event, whole *Token) error {
	began := time.Now()
	e.Digest = digest
	further, cancel := deadline.Detach(ctx) // finish a revocation that has begun
	defer cancel()
	err := ctx.Err()
	var t *Token
	if err == nil {
		t, err = s.findSignIn(further, slot)
	}
	held := err == nil && (equal(&t.Digest, &digest) || whole != nil && t.continues(whole))
	switch {
	case held && s.keys != nil && t.isStoredKey():
		e.setToken(s.keys.present(t))
		e.Reason = event.ReasonKey
	case held:
		e.setToken(t)
	case errors.Is(err, ErrCorrupt):
		s.securityLog.corrupt(ctx, err)
	case err == errPanic: // already logged
		return err
	case err != nil && !errors.Is(err, ErrNotFound):
		if s.cache != nil {
			if cached := s.cache.get(&digest, time.Now()); cached != nil {
				e.setToken(&cached.Token) // name the user whose token may still be valid
			}
		}
		err = unavailable("finding a token to revoke", err)
		s.observeRevoked(ctx, e, began, err)
		return err
	}
	if held && whole != nil {
		err = s.revokeSignIn(further, t)
	} else {
		err = s.revoke(further, slot, digest)
	}
	if err == nil && held && e.Reason == event.ReasonKey {
		// The pointer comes last. A key without a pointer may still be in the cache, but
		// a pointer without a key is worth nothing.
		err = s.revokePointer(further, t)
	}
	if held || err != nil {
		s.observeRevoked(ctx, e, began, err)
	}
	return err
}

// observeRevoked reports a revocation, or its failure, as an event.
func (s *Service) observeRevoked(ctx context.Context, e Event, began time.Time, err error) {
	e.Kind, e.Duration, e.Err = event.Revoked, time.Since(began), err
	if err != nil {
		e.Kind, e.Reason = event.Unavailable, ""
	}
	s.observe(ctx, &e)
}

func (s *Service) revoke(ctx context.Context, slot Slot, digest Digest) error {
	call, cancel, err := s.timeout.Call(ctx)
	if err != nil {
		return unavailable("revoking a token", err)
	}
	defer cancel()
	defer calling("the storage")
	err = s.storage.Revoke(call, slot, digest)
	s.changed(slot.User)
	if err != nil {
		return unavailable("revoking a token", err)
	}
	return nil
}

// revokeSignIn ends the sign-in of a token that a storage returned with its
// [Token.Refresh]. A refresh that read the token before may replace it before it is
// revoked, so revokeSignIn looks at the slot again.
func (s *Service) revokeSignIn(ctx context.Context, t *Token) error {
	for range refreshTries {
		err := s.revoke(ctx, t.Slot, t.Digest)
		if err != nil || s.refresh == nil || t.Refresh == nil {
			return err
		}
		now, err := s.findSignIn(ctx, t.Slot)
		switch {
		case errors.Is(err, ErrNotFound), errors.Is(err, ErrCorrupt), err == nil && !now.continues(t):
			return nil
		case err == errPanic:
			return err
		case err != nil:
			return unavailable("revoking a token", err)
		}
		t = now
	}
	return unavailable("revoking a token", errOvertaken)
}

func (s *Service) revokeUser(ctx context.Context, u UserKey) error {
	call, cancel, err := s.timeout.Call(ctx)
	if err != nil {
		return unavailable("revoking a user's tokens", err)
	}
	defer cancel()
	defer calling("the storage")
	err = s.storage.RevokeUser(call, u)
	s.changed(u)
	if err != nil {
		return unavailable("revoking a user's tokens", err)
	}
	return nil
}

var errNoBulkRevoker = errors.New("the storage is not a BulkRevoker; the stores of gormstore, redisstore and memory are")

const revokingClient = "revoking a client's tokens"

// bulkRevoke calls a method of the [BulkRevoker], and then calls allChanged.
func (s *Service) bulkRevoke(ctx context.Context, doing string, revoke func(BulkRevoker, context.Context) error) error {
	r, ok := s.storage.(BulkRevoker)
	if !ok {
		return unavailable(doing, fmt.Errorf("%w (%T)", errNoBulkRevoker, s.storage))
	}
	err := revoke(r, ctx)
	s.allChanged()
	if err != nil {
		return unavailable(doing, err)
	}
	return nil
}
