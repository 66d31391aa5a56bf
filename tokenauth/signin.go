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
//   - [ErrRejected]: the credentials are not valid. If the password was right
//     and the [Authenticator] gave a reason for the client, the error is a
//     [Rejection], possibly wrapped.
//   - [ErrThrottled], as a [ThrottledError]: too many sign-ins failed before, so
//     the credentials were not checked. Or too many one-time codes were wrong,
//     so the code was not checked.
//   - [ErrInvalidClient], if there is a [ClientRegistry]: the client is unknown
//     or disabled, or its secret is wrong.
//   - an [*ErrorResponse] with status 400: [Credentials.Device] or
//     [Credentials.DeviceName] is not valid. The client chose it, so
//     [ErrorResponseOf] returns this response.
//   - [ErrInvalidPrincipal]: the [Authenticator] returned a principal that
//     cannot be stored, or the host's code set a lifetime that is not valid, or
//     a device without [Options.Devices].
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
	attempt := s.newAttempt(&c)
	issued, err := s.signInSteps(ctx, c, readings, attempt, &e)
	if err == nil {
		e.Kind = event.Issued
		e.setToken(&issued.Token)
	} else {
		attempt.refused(&e, err)
	}
	e.Duration = time.Since(began)
	s.observe(ctx, &e)
	return issued, err
}

// validUserName reports whether the Service passes the name to the
// [Authenticator]. A database could answer other names with an error. An empty
// name is valid, because a host's Authenticator may know users by another
// parameter. White space such as a tab is valid, because gormstore drops it.
func validUserName(name string) bool { return len(name) <= maxUserName && storable(name) }

const maxUserName = 256 // bytes

var errNoAuthenticator = errors.New("tokenauth.New got no Authenticator, which checks passwords and looks users up")

// signInSteps performs the steps of a sign-in, in order. It sets
// [Event.Account].
func (s *Service) signInSteps(ctx context.Context, c Credentials, readings []clientCredentials, attempt *attempt, e *Event) (IssuedToken, error) {
	if s.options.Devices != nil {
		if malformed := malformedDevice(c.Device, c.DeviceName); malformed != nil {
			return IssuedToken{}, malformed
		}
	}
	client, err := s.authenticateClient(ctx, readings)
	if err != nil {
		return IssuedToken{}, err
	}
	if client != nil {
		c.ClientID = client.ID
	}

	e.Account = attempt.Account()
	defer attempt.settle(ctx)
	p, err := s.authenticateUser(ctx, c, attempt)
	if err != nil {
		return IssuedToken{}, err
	}
	refuse := func(err error) (IssuedToken, error) {
		if errors.Is(err, ErrRejected) {
			attempt.outcome = limiter.Failed
		}
		return IssuedToken{}, err
	}
	if !client.admits(&p) {
		return refuse(ErrRejected)
	}
	at := destination{c.ClientID, c.Device, c.DeviceName, c.Lifetime}
	if at.lifetime == 0 && client != nil {
		at.lifetime = client.Lifetime
	}
	issued, err := s.storeAndCheck(ctx, p, at, func(ctx context.Context, p Principal) error {
		return s.lookAgain(ctx, p, c.ClientID)
	})
	if err != nil {
		return refuse(err)
	}
	attempt.outcome, attempt.codesAre = limiter.Succeeded, rightCodes
	return issued, nil
}

// authenticateUser asks the [Authenticator] to check the password, unless a
// limit blocks the attempt. It makes sure that the throttle counts the attempt
// before the caller learns the result.
func (s *Service) authenticateUser(ctx context.Context, c Credentials, a *attempt) (Principal, error) {
	switch {
	case s.authenticator == nil:
		return Principal{}, unavailable("signing in", errNoAuthenticator)
	case !validUserName(c.UserName):
		return Principal{}, ErrRejected // a database may answer with an error
	}
	if err := a.admit(ctx); err != nil {
		return Principal{}, err
	}
	p, err := s.callAuthenticator(ctx, c, a)
	if refusal := a.authenticated(ctx, err == nil || errors.Is(err, ErrRejected)); refusal != nil {
		return Principal{}, refusal
	}
	switch {
	case errors.Is(err, ErrRejected):
		return Principal{}, s.rejected(ctx, &c, a, err)
	case err != nil:
		return Principal{}, hostFailed("the Authenticator", "ErrRejected for invalid credentials; a password.Lookup must return ErrNotFound for an unknown name", err)
	case len(c.Password.Reveal()) > wire.MaxPassword:
		a.outcome = limiter.Failed
		return Principal{}, ErrRejected
	}
	return p, nil
}

// rejected records that the [Authenticator] rejected the sign-in, and returns
// the error for the caller. The error is a [Rejection] only if the password was
// right.
func (s *Service) rejected(ctx context.Context, c *Credentials, a *attempt, err error) error {
	var reason *Rejection
	withReason := errors.As(err, &reason)
	a.rejected(withReason, c.hasParameters())
	if !withReason || !a.right.Load() {
		return because(ErrRejected, err)
	}
	if invalid := reason.check(); invalid != nil {
		s.securityLog.invalidRejection(ctx, invalid)
		return because(ErrRejected, err)
	}
	return because(reason, err)
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
