package tokenauth

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/bearerkit/bearerkit/tokenauth/event"
	"github.com/bearerkit/bearerkit/tokenauth/internal/accesstoken"
)

// Issue issues a new token for a principal that the host authenticated itself.
// The new token replaces the user's earlier token at the client. Without
// registered clients, clientID is "".
//
// Issue does not check the user again. If another request may disable the user
// at the same time, call [Service.RevokeUser] after both have finished.
//
// If the [Authenticator] is both a [RevocationQueue] and a [Rechecker], as
// gormstore's is, set p.Stamp to the user's current stamp. Otherwise a token
// issued right after a change to the user ends together with the user's earlier
// tokens. To get a principal with the current stamp, call
// [Authenticator.Authenticate], for example with the new password.
//
//   - It returns [ErrInvalidPrincipal], with the name of the field, for a
//     principal or a client ID that cannot be stored.
//   - It returns [ErrUnavailable] if the storage failed or did not answer in
//     time.
func (s *Service) Issue(ctx context.Context, p Principal, clientID string) (IssuedToken, error) {
	defer plainPanic()
	began := time.Now()
	issued, err := s.store(ctx, p, clientID)
	e := Event{Kind: event.Issued, Duration: time.Since(began)}
	switch {
	case err == nil:
		e.setToken(&issued.Token)
	case errors.Is(err, ErrInvalidPrincipal):
		return issued, err // the caller's mistake, so it is not an event
	default:
		e.setError(err, event.Unavailable)
	}
	s.observe(ctx, &e)
	return issued, err
}

// store makes a token for the principal and stores it in its slot.
func (s *Service) store(ctx context.Context, p Principal, clientID string) (IssuedToken, error) {
	if err := p.check(); err != nil {
		return IssuedToken{}, err
	}
	if len(clientID) > 256 || !storable(clientID) {
		return IssuedToken{}, fmt.Errorf("%w: the client ID must have at most 256 bytes of UTF-8 without NUL", ErrInvalidPrincipal)
	}
	slot := SlotOf(p.UserID, clientID)
	accessToken, digest := accesstoken.Mint(s.options.Prefix, slot.bytes())
	// Responses show whole seconds, so round down. Otherwise a response could
	// promise more time than remains.
	issued := s.options.Now().UTC().Truncate(time.Second)
	t := Token{
		Slot:      slot,
		Digest:    digest,
		ClientID:  clientID,
		Principal: p.Clone(),
		IssuedAt:  issued,
		ExpiresAt: issued.Add(s.options.Lifetime),
	}
	if err := s.replace(ctx, t); err != nil {
		return IssuedToken{}, unavailable("storing a token", err)
	}
	s.warnRunNotCalled(ctx)
	return IssuedToken{AccessToken: NewSecret(accessToken), Token: t.clone()}, nil
}

func (s *Service) replace(ctx context.Context, t Token) error {
	call, cancel, err := s.timeout.Call(ctx)
	if err != nil {
		return err
	}
	defer cancel()
	defer calling("the storage")
	err = s.storage.Replace(call, t)
	s.changed(t.Slot.User)
	return err
}
