package tokenauth

import (
	"context"
	"time"

	"github.com/bearerkit/bearerkit/tokenauth/internal/limiter"
)

// VerifyPassword checks the credentials as [Service.SignIn] does, but issues no
// token. It is for a handler that asks a signed-in user for the password again,
// for example to change it or to delete the account, and for HTTP Basic
// authentication on each request.
//
//   - It has the same limits as a sign-in ([ThrottleOptions]). A failure counts
//     as a failed sign-in. A success resets no count, except that a right
//     one-time code ends the wait for the account's codes.
//   - It asks the [Authenticator] for a one-time code, too, if the account needs
//     one. Pass the code in [Credentials.Parameters].
//   - It ends no token, and does not make the source known to the account. If
//     no user of a service ever calls SignIn, the service has no known sources.
//     Failures from elsewhere can then lock a user out
//     ([ThrottleOptions.PerAccount]).
//   - It does not authenticate a client. The Authenticator gets ClientID and
//     ClientSecret as they are, and Device and Lifetime have no effect.
//
// A handler must compare the UserID of the principal with that of the request's
// token ([FromContext]), because the credentials may be those of another user.
//
// It returns the errors of SignIn, except [ErrInvalidClient]. A refusal is an
// [Event] of the kind [event.SignInRefused], and a failure one of the kind
// [event.Unavailable]. A success is not an event.
func (s *Service) VerifyPassword(ctx context.Context, c Credentials) (Principal, error) {
	defer plainPanic()
	began := time.Now()
	attempt := s.newAttempt(&c)
	p, err := s.verifyPassword(ctx, c, attempt)
	if err != nil {
		e := Event{RemoteAddr: c.RemoteAddr, Account: attempt.Account()}
		attempt.refused(&e, err)
		e.Duration = time.Since(began)
		s.observe(ctx, &e)
	}
	return p, err
}

func (s *Service) verifyPassword(ctx context.Context, c Credentials, a *attempt) (Principal, error) {
	defer a.settle(ctx)
	p, err := s.authenticateUser(ctx, c, a)
	if err == nil {
		err = p.check()
	}
	if err != nil {
		return Principal{}, err
	}
	a.outcome, a.codesAre = limiter.Verified, rightCodes
	return p, nil
}
