package tokenauth

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"time"

	"github.com/bearerkit/bearerkit/tokenauth/event"
	"github.com/bearerkit/bearerkit/tokenauth/internal/deadline"
	"github.com/bearerkit/bearerkit/tokenauth/internal/rotation"
)

// Refresh issues a new access token and a new refresh token in exchange for
// [Credentials.RefreshToken]. Both tokens that the client had before are then no
// longer valid. The user and the client are looked up again, so the new token has the
// user's current roles.
//
// Repeating a refresh within [RefreshOptions.Grace] returns the very same pair, unless
// the user may no longer sign in.
//
// Refresh returns these errors:
//
//   - [ErrInvalidToken]: the refresh token is malformed, unknown, expired or ended,
//     or the user may no longer sign in. Or it was used before, and cannot be
//     repeated. If the grace is over, the sign-in has ended. With a
//     [ClientRegistry], also for the refresh token of another client.
//   - [ErrInvalidClient], if there is a [ClientRegistry]: as for [Service.SignIn].
//   - [ErrInvalidPrincipal]: the [Reloader] returned a principal that cannot be
//     stored, or the registry a [Client.Lifetime] out of its range.
//   - [ErrUnavailable]: the storage or the host's code failed, or there is no
//     [Options.Refresh]. It is safe to try again.
//   - another error, if [Refresher.FindRefresh] panicked. The stack is logged.
func (s *Service) Refresh(ctx context.Context, c Credentials) (IssuedToken, error) {
	defer plainPanic()
	return s.refreshAs(ctx, c, clientCredentials{c.ClientID, c.ClientSecret})
}

// refreshAs is [Service.Refresh] for client credentials that can be decoded in several
// ways.
func (s *Service) refreshAs(ctx context.Context, c Credentials, readings ...clientCredentials) (IssuedToken, error) {
	began := time.Now()
	e := Event{Kind: event.Refreshed, RemoteAddr: c.RemoteAddr}
	issued, err := s.refreshSteps(ctx, c, readings, &e)
	if err == nil {
		e.setToken(&issued.Token)
	} else {
		e.setError(err, event.RefreshRefused)
	}
	e.Duration = time.Since(began)
	s.observe(ctx, &e)
	return issued, err
}

var errNoRefresh = errors.New("tokenauth.New got no Options.Refresh")

// refreshSteps performs the steps of a refresh, in order.
func (s *Service) refreshSteps(ctx context.Context, c Credentials, readings []clientCredentials, e *Event) (issued IssuedToken, err error) {
	if s.refresh == nil {
		return issued, unavailable("refreshing", errNoRefresh)
	}
	if s.authenticator == nil {
		return issued, unavailable("refreshing", errNoAuthenticator)
	}
	client, err := s.authenticateClient(ctx, readings)
	if err != nil {
		return issued, err
	}
	p, ok := s.refresh.parse(c.RefreshToken.Reveal())
	if !ok {
		return issued, errRefreshToken
	}
	for range refreshTries {
		f, err := s.refresh.judge(ctx, p)
		if err != nil {
			return issued, err
		}
		if client != nil && f.token.ClientID != client.ID {
			return issued, errOtherClient
		}
		done := false
		switch e.setToken(f.token); f.verdict {
		case rotation.Current:
			issued, done, err = s.rotate(ctx, &c, client, p, f)
		case rotation.Repeated:
			issued, done, err = s.repeat(ctx, &c, client, p, f, e)
		case rotation.Reused:
			if done, err = s.endSignIn(ctx, p, f.token, Event{Reason: event.ReasonReused, RemoteAddr: c.RemoteAddr}); done {
				err = errReused
			}
		case rotation.Exhausted:
			err = errRepeatedOften
		default:
			err = errUsed
		}
		if done || err != nil {
			return issued, err
		}
	}
	return issued, unavailable("refreshing", errOvertaken)
}

// rotate replaces the pair of tokens. It reports false if another refresh did so first,
// or if the user was changed meanwhile.
func (s *Service) rotate(ctx context.Context, c *Credentials, client *Client, p presentedRefresh, f foundRefresh) (issued IssuedToken, done bool, err error) {
	was := f.token
	user, found, err := s.reloadFor(ctx, client, was)
	if !found || err != nil {
		return issued, false, err
	}
	at := destination{clientID: was.ClientID}
	if client != nil {
		at.lifetime = client.Lifetime
	}
	lifetime, err := s.checkDestination(&at)
	if err != nil {
		return issued, false, err
	}
	now := s.options.Now().UTC()
	r := rotation.Rotation{Used: [16]byte(p.digest[:16]), At: now.UnixMilli(), Process: s.refresh.process, Source: s.refresh.source(c.RemoteAddr)}
	rand.Read(r.Salt[:]) // never returns an error
	access, next := s.refresh.derive(p, r.Salt)
	t := Token{
		Slot:       was.Slot,
		Digest:     sha256.Sum256([]byte(access)),
		Replaced:   was.Digest,
		ClientID:   was.ClientID,
		Device:     was.Device,
		DeviceName: was.DeviceName,
		Principal:  user.Clone(),
		IssuedAt:   s.issueTime(now, time.Time{}),
		ExpiresAt:  now.Truncate(time.Second).Add(lifetime),
	}
	t.Principal.Row = nil
	s.refresh.set(&t, f.state.Next(r, t.Digest, next.digest, s.refresh.reader(now)))
	if !t.ExpiresAt.After(now) { // the host shortened MaxLifetime
		return issued, false, errRefreshExpired
	}
	if done, err = s.storeRefresh(ctx, was, &t); !done {
		return issued, false, err
	}
	if done, err = s.lookAfterRefresh(ctx, &t, user); !done {
		return issued, false, err
	}
	issued = IssuedToken{AccessToken: NewSecret(access), RefreshToken: NewSecret(next.text), Token: t.clone()}
	issued.Token.Principal.Row = user.Row
	return issued, true, nil
}

// lookAfterRefresh looks the user and the client up again after a pair was stored, and
// ends the sign-in if one of them must not have it. The user is the one of the first
// look-up: the pair of a repetition may have roles that the user no longer has. It
// reports false if the user was changed meanwhile, and the pair was kept.
//
// A failure must not end the sign-in. The pair then stays, although no client has it yet:
// a client that tries again repeats the refresh, which looks both up before and after.
func (s *Service) lookAfterRefresh(ctx context.Context, t *Token, user Principal) (done bool, err error) {
	user.Row = nil
	further, cancel := deadline.Detach(ctx) // the tokens must not stay if they must not be used
	defer cancel()
	err = s.lookAgain(further, user, t.ClientID)
	if !errors.Is(err, ErrRejected) {
		return err == nil, err
	}
	if kept, failed := s.restamped(further, t); kept || failed != nil {
		return false, failed
	}
	s.discard(context.WithoutCancel(ctx), t)
	return false, because(errRefreshToken, err)
}

// reloadFor returns the current principal of the token's user, who may still sign in at
// the client. It reports false if the user was changed meanwhile, and the token was kept.
func (s *Service) reloadFor(ctx context.Context, client *Client, t *Token) (user Principal, found bool, err error) {
	p := t.Principal
	if p.Roles == nil {
		p.Roles = []string{} // see [Reloader]
	}
	user, err = s.reload(ctx, p, errRefreshToken)
	if errors.Is(err, errRefreshToken) {
		if kept, failed := s.restamped(ctx, t); kept || failed != nil {
			return user, false, failed
		}
	}
	if err == nil && !client.admits(&user) {
		err = errRefreshToken
	}
	return user, err == nil, err
}

// restamped reports whether the slot still holds the token, with another stamp. A change
// of the user may have kept the token, as SetPassword of gormstore's Users does. If the
// storage fails, that stays open.
func (s *Service) restamped(ctx context.Context, t *Token) (bool, error) {
	now, err := s.refresh.lookups.find(ctx, t.Slot)
	switch {
	case errors.Is(err, ErrNotFound), errors.Is(err, ErrCorrupt):
		return false, nil
	case err == errPanic:
		return false, err
	case err != nil:
		return false, unavailable("finding a refreshed token again", err)
	}
	return equal(&now.Digest, &t.Digest) && now.Principal.Stamp != t.Principal.Stamp, nil
}

// repeat returns the pair of tokens that the sign-in has now, to a client that used its
// refresh token before. It reports false if another refresh changed the slot meanwhile,
// or if the user was changed.
//
// It looks the user up before and after, as rotate does, because the look-ups of the
// refresh that stored the pair may have failed.
func (s *Service) repeat(ctx context.Context, c *Credentials, client *Client, p presentedRefresh, f foundRefresh, e *Event) (issued IssuedToken, done bool, err error) {
	var access string
	next := p
	for i := range f.state.Recent[f.index:] {
		access, next = s.refresh.derive(next, f.state.Recent[f.index+i].Salt)
	}
	if digest := Digest(sha256.Sum256([]byte(access))); !equal(&digest, &f.token.Digest) || !equal(&next.digest, (*Digest)(&f.state.Current)) {
		s.securityLog.otherKey(ctx, f.token)
		return issued, false, errOtherKey
	}
	user, found, err := s.reloadFor(ctx, client, f.token)
	if !found || err != nil {
		return issued, false, err
	}
	t := f.token.clone()
	r := &f.state.Recent[f.index]
	r.Repeats++
	t.Refresh.State = f.state.Encode()
	if done, err = s.storeRefresh(ctx, f.token, &t); !done {
		return issued, false, err
	}
	if done, err = s.lookAfterRefresh(ctx, &t, user); !done {
		return issued, false, err
	}
	e.Reason = event.ReasonRepeated
	if r.Source != s.refresh.source(c.RemoteAddr) {
		e.Reason = event.ReasonRepeatedElsewhere
	}
	issued = IssuedToken{AccessToken: NewSecret(access), RefreshToken: NewSecret(next.text), Token: t.clone()}
	issued.Token.setSignedIn()
	issued.Token.Principal.Row = user.Row
	return issued, true, nil
}

func (s *Service) storeRefresh(ctx context.Context, was, t *Token) (stored bool, err error) {
	call, cancel, err := s.timeout.Call(ctx)
	if err != nil {
		return false, unavailable("refreshing a token", err)
	}
	defer cancel()
	defer calling("the storage")
	stored, err = s.refresh.storage.Refresh(call, *was, *t)
	s.changed(t.Slot.User)
	if err != nil {
		return false, unavailable("refreshing a token", err)
	}
	return stored, nil
}

// reload returns the user's current principal. The error rejected is the decision for a
// user who may no longer sign in.
func (s *Service) reload(ctx context.Context, p Principal, rejected error) (user Principal, err error) {
	call, cancel, err := s.timeout.Call(ctx)
	if err != nil {
		return user, unavailable("reloading the user", err)
	}
	defer cancel()
	defer calling("the authenticator")
	user, err = s.authenticator.(Reloader).Reload(call, p)
	switch {
	case errors.Is(err, ErrRejected):
		return user, because(rejected, err)
	case err != nil:
		return user, hostFailed("the Reloader", "ErrRejected for a user who may no longer sign in", err)
	case user.UserID != p.UserID:
		return user, hostFailed("the Reloader", "the principal of the user with the same ID", errors.New("it returned another user's"))
	}
	return user, user.check()
}
