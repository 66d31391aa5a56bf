package tokenauth

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/bearerkit/bearerkit/tokenauth/event"
	"github.com/bearerkit/bearerkit/tokenauth/internal/accesstoken"
)

// Issue issues a new token for a principal that the host authenticated itself. It
// replaces the token that the user had at this client. Without registered clients
// the client ID is "". Issue does not check the user again: a host that issues
// while it disables the user calls RevokeUser after both.
//
// The Authenticator may be a RevocationQueue and a Rechecker, as that of gormstore
// is. A token that was issued right after a change of the user then ends with the
// earlier ones, unless the principal has the user's new Stamp. Authenticate of the
// Authenticator returns such a principal, with the new password for example.
//
//   - It returns ErrInvalidPrincipal, naming the field, for a principal or a
//     client ID that cannot be stored.
//   - It returns ErrUnavailable if the storage failed or did not answer in time.
func (s *Service) Issue(ctx context.Context, p Principal, clientID string) (IssuedToken, error) {
	defer plainPanic()
	began := time.Now()
	issued, err := s.store(ctx, p, clientID)
	e := Event{Kind: event.Issued, Duration: time.Since(began)}
	switch {
	case err == nil:
		e.setToken(&issued.Token)
	case errors.Is(err, ErrInvalidPrincipal):
		return issued, err // a mistake of the caller's, who gets the error
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
		return IssuedToken{}, fmt.Errorf("%w: its client ID must have at most 256 bytes of UTF-8 without NUL", ErrInvalidPrincipal)
	}
	slot := SlotOf(p.UserID, clientID)
	accessToken, digest := accesstoken.Mint(s.options.Prefix, slot.bytes())
	// Times on the wire have whole seconds. Rounded down, they never advertise a
	// token for longer than it is valid.
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
