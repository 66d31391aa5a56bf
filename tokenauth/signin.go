package tokenauth

import (
	"context"
	"errors"
	"time"

	"github.com/bearerkit/bearerkit/tokenauth/event"
	"github.com/bearerkit/bearerkit/tokenauth/internal/deadline"
	"github.com/bearerkit/bearerkit/tokenauth/internal/limiter"
	"github.com/bearerkit/bearerkit/tokenauth/internal/verified"
	"github.com/bearerkit/bearerkit/tokenauth/internal/wire"
)

// SignIn checks the credentials and issues a new token. The new token replaces
// the user's previous token at this client, or on this device. SignIn returns
// these errors:
//
//   - [ErrRejected]: the credentials are not valid.
//   - [ErrThrottled], as a [ThrottledError]: too many sign-ins failed before.
//     The credentials were not checked.
//   - [ErrInvalidClient], if there is a [ClientRegistry]: the client is unknown
//     or disabled, or its secret is wrong.
//   - [ErrInvalidPrincipal]: the [Authenticator] returned a principal that
//     cannot be stored, or the host's code set a device or a lifetime that is
//     not valid.
//   - [ErrUnavailable]: the storage or the host's code failed, or the Service
//     has no Authenticator. The previous token may or may not have been
//     replaced, so the user may have to sign in again on this device. It is
//     safe to try again.
func (s *Service) SignIn(ctx context.Context, c Credentials) (IssuedToken, error) {
	defer plainPanic()
	return s.signIn(ctx, c, clientCredentials{c.ClientID, c.ClientSecret})
}

// signIn is [Service.SignIn] for client credentials that can be decoded in
// several ways. Each of the readings is the result of decoding them in one way.
func (s *Service) signIn(ctx context.Context, c Credentials, readings ...clientCredentials) (IssuedToken, error) {
	began := time.Now()
	e := Event{RemoteAddr: c.RemoteAddr}
	issued, err := s.signInSteps(ctx, c, readings, &e)
	if err == nil {
		e.Kind = event.Issued
		e.setToken(&issued.Token)
	} else {
		e.setError(err, event.SignInRefused)
	}
	e.Duration = time.Since(began)
	s.observe(ctx, &e)
	return issued, err
}

var errNoAuthenticator = errors.New("tokenauth.New got no Authenticator, which checks passwords")

// signInSteps performs the steps of a sign-in, in order. It sets
// [Event.Account].
func (s *Service) signInSteps(ctx context.Context, c Credentials, readings []clientCredentials, e *Event) (IssuedToken, error) {
	if s.authenticator == nil {
		return IssuedToken{}, unavailable("signing in", errNoAuthenticator)
	}
	client, err := s.authenticateClient(ctx, readings)
	if err != nil {
		return IssuedToken{}, err
	}
	if client != nil {
		c.ClientID = client.ID
	}

	attempt := s.newAttempt(&c)
	e.Account = attempt.Account()
	outcome := limiter.Undecided // stays Undecided after a panic
	defer func() { attempt.settle(ctx, outcome) }()
	if err := attempt.admit(ctx); err != nil {
		return IssuedToken{}, err
	}
	refuse := func(err error) (IssuedToken, error) {
		if errors.Is(err, ErrRejected) {
			outcome = limiter.Failed
		}
		return IssuedToken{}, err
	}

	p, err := s.authenticateUser(ctx, c, attempt)
	if err != nil {
		return refuse(err)
	}
	if !client.admits(&p) {
		return refuse(ErrRejected)
	}
	at := destination{c.ClientID, c.Device, c.DeviceName, c.Lifetime}
	if at.lifetime == 0 && client != nil {
		at.lifetime = client.Lifetime
	}
	issued, err := s.storeAndCheck(ctx, p, at, func(ctx context.Context) error {
		return s.lookAgain(ctx, p, c.ClientID)
	})
	if err != nil {
		return refuse(err)
	}
	outcome = limiter.Succeeded
	return issued, nil
}

// authenticateUser asks the [Authenticator] to check the password. It makes
// sure that the throttle counts the attempt before the caller learns the
// result.
func (s *Service) authenticateUser(ctx context.Context, c Credentials, a *attempt) (Principal, error) {
	p, err := s.callAuthenticator(ctx, c, a)
	if refusal := a.authenticated(ctx, err == nil || errors.Is(err, ErrRejected)); refusal != nil {
		return Principal{}, refusal
	}
	switch {
	case errors.Is(err, ErrRejected):
		return Principal{}, because(ErrRejected, err)
	case err != nil:
		return Principal{}, hostFailed("the Authenticator", "ErrRejected for invalid credentials; a password.Lookup must return ErrNotFound for an unknown name", err)
	case len(c.Password.Reveal()) > wire.MaxPassword:
		return Principal{}, ErrRejected
	}
	return p, nil
}

func (s *Service) callAuthenticator(ctx context.Context, c Credentials, a *attempt) (Principal, error) {
	if err := ctx.Err(); err != nil {
		return Principal{}, err
	}
	ctx, cancel := deadline.Detach(ctx)
	defer cancel()
	defer calling("the authenticator")
	c.attempt = a
	return s.authenticator.Authenticate(verified.Watch(ctx, &a.right), c)
}
