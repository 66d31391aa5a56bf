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
// the user's previous token at this client. SignIn returns these errors:
//
//   - [ErrRejected]: the credentials are not valid.
//   - [ErrThrottled], as a [ThrottledError]: too many sign-ins failed before.
//     The credentials were not checked.
//   - [ErrInvalidClient], if there is a [ClientRegistry]: the client is unknown
//     or disabled, or its secret is wrong.
//   - [ErrInvalidPrincipal]: the [Authenticator] returned a principal that
//     cannot be stored.
//   - [ErrUnavailable]: the storage or the host's code failed. The previous
//     token may or may not have been replaced. It is safe to try again.
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

// signInSteps performs the steps of a sign-in, in order. It sets
// [Event.Account].
func (s *Service) signInSteps(ctx context.Context, c Credentials, readings []clientCredentials, e *Event) (IssuedToken, error) {
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
	issued, err := s.store(ctx, p, c.ClientID)
	if err != nil {
		return refuse(err)
	}
	// The token is stored now. Run the last steps even if the client
	// disconnects, so that the token is removed if the second check rejects it.
	further, cancel := deadline.Detach(ctx)
	defer cancel()
	if err := s.lookAgain(further, p, client); err != nil {
		s.discard(context.WithoutCancel(ctx), &issued.Token)
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

// lookAgain returns [ErrRejected] if the user or the client was disabled or
// changed while the sign-in was in progress.
func (s *Service) lookAgain(ctx context.Context, p Principal, c *Client) error {
	err := s.recheckUser(ctx, p)
	if errors.Is(err, ErrRejected) && errors.Is(err, ErrNotFound) {
		s.securityLog.lost(ctx, &p)
	}
	if err != nil || c == nil {
		return err
	}
	now, err := s.findClient(ctx, c.ID)
	if errors.Is(err, ErrInvalidClient) {
		return ErrRejected
	}
	if err != nil {
		return err
	}
	if now.Disabled || !now.admits(&p) {
		return ErrRejected
	}
	return nil
}

func (s *Service) recheckUser(ctx context.Context, p Principal) error {
	call, cancel, err := s.timeout.Call(ctx)
	if err != nil {
		return unavailable("checking the user again", err)
	}
	defer cancel()
	defer calling("the authenticator")
	err = recheck(call, s.authenticator, p)
	switch {
	case errors.Is(err, ErrRejected):
		return because(ErrRejected, err)
	case err != nil:
		return hostFailed("the Rechecker", "ErrRejected for a user who may no longer sign in; a password.Lookup must return ErrNotFound for an unknown name", err)
	}
	return nil
}

// discard removes a token that was stored but not yet returned.
func (s *Service) discard(ctx context.Context, t *Token) {
	if err := s.revoke(ctx, t.Slot, t.Digest); err != nil {
		// This is not a security problem: no client has the access token.
		s.options.Logger.ErrorContext(ctx, "tokenauth: the token of a rejected sign-in could not be removed; it stays in the storage until it is replaced or expires, and no client has it", "error", err)
	}
}
