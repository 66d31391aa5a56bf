package tokenauth

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// SignIn checks the credentials and issues a new token for them, which
// replaces the one that the user had at this client.
//
// It returns ErrRejected if they are not good, ErrThrottled, as a
// ThrottledError, if there were too many failures to look at them,
// ErrInvalidClient, with a registry of clients, if the client is not one of
// them, ErrUnavailable if it could not be told whether they are good or the
// token not be stored, and ErrInvalidPrincipal if the Authenticator returned a
// principal that cannot be stored. After ErrUnavailable the token before may or
// may not have been replaced; trying again is safe.
func (s *Service) SignIn(ctx context.Context, c Credentials) (g Grant, err error) {
	began := time.Now()
	g, err = s.signInThrottled(ctx, c)
	e := Event{RemoteAddr: c.RemoteAddr, Account: s.account(c.UserName), Duration: time.Since(began), Err: err}
	if err == nil {
		e.Kind = EventIssued
		e.of(&g.Token)
	} else {
		e.Kind, e.Reason = reasonOf(err, EventSignInRefused)
	}
	s.observe(ctx, &e)
	return g, err
}

func (s *Service) signInThrottled(ctx context.Context, c Credentials) (g Grant, err error) {
	if s.options.Clients != nil && c.client == nil {
		if c.client, err = s.authenticateClient(ctx, clientCredentials{c.ClientID, c.ClientSecret}); err != nil {
			return Grant{}, err
		}
	}
	if s.throttle == nil {
		return s.signIn(ctx, c)
	}
	a, err := s.throttle.begin(ctx, s.normalize(c.UserName), c.RemoteAddr, s.options.Timeout)
	if errors.Is(err, ErrThrottled) {
		return Grant{}, err
	}
	if err != nil {
		return Grant{}, unavailable("throttling", err)
	}
	came := undecided // a panic, too, decides nothing
	defer func() { a.settle(ctx, came, s.options.Timeout) }()
	g, err = s.signIn(ctx, c)
	switch {
	case err == nil:
		came = succeeded
	case errors.Is(err, ErrRejected):
		came = failed
	}
	return g, err
}

// normalize is the one place that probes for the ability.
func (s *Service) normalize(userName string) string {
	if n, ok := s.authenticator.(UserNameNormalizer); ok {
		return n.NormalizeUserName(userName)
	}
	return userName
}

// Unthrottle forgets the failed sign-ins of an account, for after its user has
// been helped. The sources that failed stay held up. It returns ErrUnavailable
// if the storage in which replicas count together could not be reached.
func (s *Service) Unthrottle(ctx context.Context, userName string) error {
	if s.throttle == nil {
		return nil
	}
	timed := withTimeout(ctx, s.options.Timeout)
	defer timed.end()
	if err := s.throttle.forget(timed, s.normalize(userName)); err != nil {
		return unavailable("throttling", err)
	}
	return nil
}

// logThrottleTrouble tells that a storage in which replicas count together is
// down. Sign-ins go on, limited by each process for itself.
func (s *Service) logThrottleTrouble(err error) {
	s.options.Logger.Error("tokenauth: attempts could not be counted in the storage; this process counts for itself", "error", err)
}

func (s *Service) signIn(ctx context.Context, c Credentials) (g Grant, err error) {
	p, err := s.authenticator.Authenticate(ctx, c)
	switch {
	case errors.Is(err, ErrRejected):
		return Grant{}, err
	case err != nil:
		return Grant{}, hostFailed("the Authenticator", "ErrRejected for credentials that are not good; a password.Lookup, ErrNotFound for an unknown name", err)
	case len(c.Password.Reveal()) > MaxPasswordLength, c.client != nil && !c.client.admits(&p):
		return Grant{}, ErrRejected
	}
	g, err = s.issue(ctx, p, c.ClientID)
	if err != nil {
		return Grant{}, err
	}

	// The second look. It also runs if the client has gone away meanwhile:
	// nobody must be left with a token that this look would have refused.
	ctx = context.WithoutCancel(ctx)
	err = s.recheck(ctx, p)
	if errors.Is(err, ErrRejected) && errors.Is(err, ErrNotFound) {
		s.securityLog.lost(ctx, &p)
	}
	if err == nil {
		err = s.recheckClient(ctx, c.client, &p)
	}
	if err != nil {
		if revokeErr := s.revoke(ctx, g.Token.Slot, g.Token.Digest); revokeErr != nil {
			// The access token ends here, unseen, so nobody can use the row.
			s.options.Logger.ErrorContext(ctx, "tokenauth: a refused token stays stored until it is replaced or expires", "error", revokeErr)
		}
		return Grant{}, err
	}
	return g, nil
}

func (s *Service) recheck(ctx context.Context, p Principal) error {
	timed := withTimeout(ctx, s.options.Timeout)
	defer timed.end()
	err := recheck(timed, s.authenticator, p)
	if err != nil && !errors.Is(err, ErrRejected) {
		return hostFailed("the Rechecker", "ErrRejected for a user who may not sign in any more; a password.Lookup, ErrNotFound for an unknown name", err)
	}
	return err
}

// Issue issues a new token for a principal that the host has authenticated
// itself, and replaces the one that the user had at this client. Without
// registered clients the client ID is "". It does not look at the user again: a
// host that issues while it disables the user calls RevokeUser after both.
//
// It returns ErrInvalidPrincipal, naming the field, for a principal or a client
// ID that cannot be stored, and ErrUnavailable if the token could not be stored
// in time.
func (s *Service) Issue(ctx context.Context, p Principal, clientID string) (Grant, error) {
	began := time.Now()
	g, err := s.issue(ctx, p, clientID)
	e := Event{Kind: EventIssued, Duration: time.Since(began), Err: err}
	switch {
	case err == nil:
		e.of(&g.Token)
	case errors.Is(err, ErrInvalidPrincipal):
		return g, err // a mistake of the caller's, who hears of it
	default:
		e.Kind, e.Reason = reasonOf(err, EventUnavailable)
	}
	s.observe(ctx, &e)
	return g, err
}

func (s *Service) issue(ctx context.Context, p Principal, clientID string) (g Grant, err error) {
	if err := p.check(); err != nil {
		return Grant{}, err
	}
	if len(clientID) > 256 || !storable(clientID) {
		return Grant{}, fmt.Errorf("%w: its client ID must have at most 256 bytes of UTF-8 without NUL", ErrInvalidPrincipal)
	}
	slot := SlotOf(p.UserID, clientID)
	accessToken, digest := mint(s.options.Prefix, slot)
	// Times on the wire have whole seconds. Rounding down means that a token
	// is never advertised for longer than it is good.
	issued := s.options.Now().UTC().Truncate(time.Second)
	token := Token{
		Slot:      slot,
		Digest:    digest,
		ClientID:  clientID,
		Principal: p.Clone(),
		IssuedAt:  issued,
		ExpiresAt: issued.Add(s.options.Lifetime),
	}

	timed := withTimeout(ctx, s.options.Timeout)
	defer timed.end()
	err = s.storage.Replace(timed, token)
	s.changed(slot.User)
	if err != nil {
		return Grant{}, unavailable("storing a token", err)
	}
	return Grant{AccessToken: NewSecret(accessToken), Token: token.copy()}, nil
}
