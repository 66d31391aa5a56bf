package tokenauth

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"net/netip"
	"time"

	"github.com/bearerkit/bearerkit/tokenauth/event"
	"github.com/bearerkit/bearerkit/tokenauth/internal/accesstoken"
	"github.com/bearerkit/bearerkit/tokenauth/internal/deadline"
	"github.com/bearerkit/bearerkit/tokenauth/internal/rotation"
	"github.com/bearerkit/bearerkit/tokenauth/internal/source"
	"github.com/bearerkit/bearerkit/tokenauth/internal/wire"
)

// A Refresh is what a storage keeps of a refresh token, in the slot of its access
// token.
type Refresh struct {
	// ExpiresAt is when the refresh token expires, in UTC and whole seconds.
	ExpiresAt time.Time
	// SignedInAt is the time of the sign-in, in UTC and whole seconds.
	// [Token.IssuedAt] is the time of the latest refresh. Only [Service.Tokens] and
	// an [IssuedToken] have it; a storage does not keep it.
	SignedInAt time.Time
	// State is everything else, at most 512 bytes. It is opaque to a storage. No
	// token can be computed from it.
	State []byte `json:"-"`
}

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
//     it is another client's, or the user may no longer sign in. Or it was used
//     before, and cannot be repeated. If the grace is over, the sign-in has ended.
//   - [ErrInvalidClient], if there is a [ClientRegistry]: as for [Service.SignIn].
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

// refreshTries is how often a refresh that another one overtook is tried again. A
// refresh token is rotated once, and repeated a few times, so more is not needed.
const refreshTries = 2 + rotation.MaxRepeats + rotation.MaxRecent

var errOvertaken = errors.New("other refreshes of the same sign-in keep overtaking this one")

// refreshSteps performs the steps of a refresh, in order.
func (s *Service) refreshSteps(ctx context.Context, c Credentials, readings []clientCredentials, e *Event) (issued IssuedToken, err error) {
	if s.refresh == nil {
		return issued, unavailable("refreshing", errNoRefresh)
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
		f, err := s.judge(ctx, p)
		if err != nil {
			return issued, err
		}
		if client != nil && f.token.ClientID != client.ID {
			return issued, because(errRefreshToken, errOtherClient)
		}
		done := false
		switch e.setToken(f.token); f.verdict {
		case rotation.Current:
			issued, done, err = s.rotate(ctx, &c, client, p, f)
		case rotation.Repeated:
			issued, done, err = s.repeat(ctx, &c, p, f, e)
		case rotation.Reused:
			if done, err = s.endSignIn(ctx, p, f.token, Event{Reason: event.ReasonReused, RemoteAddr: c.RemoteAddr}); done {
				err = because(errRefreshToken, errReused)
			}
		case rotation.Exhausted:
			err = because(errRefreshToken, errRepeatedOften)
		default:
			err = because(errRefreshToken, errUsed)
		}
		if done || err != nil {
			return issued, err
		}
	}
	return issued, unavailable("refreshing", errOvertaken)
}

// A presentedRefresh is a refresh token that a client sent.
type presentedRefresh struct {
	accesstoken.Refresh
	text           string
	digest, family Digest
	slot           Slot
}

// A refresher has what only refreshing needs.
type refresher struct {
	options *RefreshOptions
	storage Refresher
	lookups *lookups
	key     []byte
	process [4]byte
}

func newRefresher(r Refresher, s *Service) *refresher {
	f := &refresher{
		options: s.options.Refresh,
		storage: r,
		lookups: newRefreshLookups(r, &s.timeout, s.securityLog),
		key:     []byte(s.options.Refresh.Key.Reveal()),
	}
	rand.Read(f.process[:]) // never returns an error
	return f
}

// familyDomain is part of the stored format, so it must never change.
const familyDomain = "tokenauth/v1/family\x00"

func familyDigest(family []byte) Digest {
	return sha256.Sum256(append([]byte(familyDomain), family...))
}

// parse reports false for a string that is no refresh token. The refresher may be nil.
func (f *refresher) parse(text string) (p presentedRefresh, ok bool) {
	if f == nil {
		return p, false
	}
	if p.Refresh, p.digest, ok = accesstoken.ParseRefresh(f.options.Prefix, text); !ok {
		return p, false
	}
	p.text, p.slot, p.family = text, slotFrom(p.Slot), familyDigest(p.Family[:])
	return p, true
}

func (f *refresher) reader(now time.Time) rotation.Reader {
	return rotation.Reader{Now: now, Grace: f.options.Grace, Process: f.process}
}

// source returns a keyed hash of the network of a client's address. Without the key, all
// networks could be tried.
func (f *refresher) source(addr netip.Addr) (hash [8]byte) {
	network, _ := source.Networks(addr)
	mac := hmac.New(sha256.New, f.key)
	mac.Write([]byte("tokenauth/v1/source\x00" + network.String()))
	copy(hash[:], mac.Sum(nil))
	return hash
}

// findSignIn returns the token in the slot. With [Options.Refresh], it also has its
// Refresh.
func (s *Service) findSignIn(ctx context.Context, slot Slot) (*Token, error) {
	if s.refresh == nil {
		return s.lookups.find(ctx, slot)
	}
	return s.refresh.lookups.find(ctx, slot)
}

// refreshState returns the state of the token's refresh token, or nil if it has none that
// counts: a sign-in without refresh tokens may have left an earlier one.
func (t *Token) refreshState() *rotation.State {
	if t.Refresh == nil {
		return nil
	}
	state, err := rotation.Decode(t.Refresh.State)
	if err != nil || !equal((*Digest)(&state.Access), &t.Digest) {
		return nil
	}
	return state
}

// continues reports whether t is the earlier token, or belongs to the same sign-in:
// refreshes replaced the earlier token by t. If the earlier token was read without its
// Refresh, only the latest refresh is found.
func (t *Token) continues(earlier *Token) bool {
	if t.Slot != earlier.Slot || equal(&t.Digest, &earlier.Digest) {
		return t.Slot == earlier.Slot
	}
	state := t.refreshState()
	if state == nil || len(state.Recent) == 0 {
		return false
	}
	before := earlier.refreshState()
	if before == nil {
		return equal(&t.Replaced, &earlier.Digest)
	}
	return before.Family == state.Family
}

// setSignedIn sets the SignedInAt of t.Refresh, and removes a Refresh that does not
// count.
func (t *Token) setSignedIn() {
	if state := t.refreshState(); state == nil {
		t.Refresh = nil
	} else {
		t.Refresh.SignedInAt = time.Unix(state.SignedIn, 0).UTC()
	}
}

// beginRefresh gives a new token a refresh token, and returns it.
func (s *Service) beginRefresh(t *Token) Secret {
	r := accesstoken.NewFamily(t.Slot.bytes())
	refreshToken, digest := r.Make(s.refresh.options.Prefix)
	state := rotation.State{Access: t.Digest, Current: digest, Family: familyDigest(r.Family[:]), SignedIn: t.IssuedAt.Unix()}
	s.setRefresh(t, &state)
	return NewSecret(refreshToken)
}

// setRefresh sets t.Refresh, and limits the lifetimes of both tokens.
func (s *Service) setRefresh(t *Token, state *rotation.State) {
	signedIn := time.Unix(state.SignedIn, 0).UTC()
	end := signedIn.Add(s.refresh.options.MaxLifetime)
	expires := t.IssuedAt.Truncate(time.Second).Add(s.refresh.options.Lifetime)
	if expires.After(end) {
		expires = end
	}
	if t.ExpiresAt.After(end) {
		t.ExpiresAt = end
	}
	t.Refresh = &Refresh{ExpiresAt: expires, SignedInAt: signedIn, State: state.Encode()}
}

// A foundRefresh is what the storage has in the slot of a presented refresh token, and
// what the refresh token is worth.
type foundRefresh struct {
	token   *Token
	state   *rotation.State
	verdict rotation.Verdict
	index   int // of the rotation that a repetition repeats
}

// judge finds the sign-in of a presented refresh token. It returns errRefreshToken if
// the token belongs to no sign-in, or if its sign-in is over.
func (s *Service) judge(ctx context.Context, p presentedRefresh) (f foundRefresh, err error) {
	f.token, err = s.refresh.lookups.find(ctx, p.slot)
	switch {
	case errors.Is(err, ErrNotFound):
		return f, errRefreshToken
	case errors.Is(err, ErrCorrupt):
		s.securityLog.corrupt(ctx, err)
		return f, errRefreshToken
	case err == errPanic:
		return f, err
	case err != nil:
		return f, unavailable("finding a refresh token", err)
	}
	now := s.options.Now()
	if f.state = f.token.refreshState(); f.state == nil {
		return f, errRefreshToken
	}
	f.verdict, f.index = f.state.Judge((*[32]byte)(&p.digest), (*[32]byte)(&p.family), s.refresh.reader(now))
	switch {
	case f.verdict == rotation.Foreign:
		return f, errRefreshToken
	case now.Unix() >= f.token.Refresh.ExpiresAt.Unix():
		return f, because(errRefreshToken, errRefreshExpired)
	}
	return f, nil
}

// rotate replaces the pair of tokens. It reports false if another refresh did so first,
// or if the user was changed meanwhile.
func (s *Service) rotate(ctx context.Context, c *Credentials, client *Client, p presentedRefresh, f foundRefresh) (issued IssuedToken, done bool, err error) {
	was := f.token
	user, err := s.reload(ctx, was.Principal)
	if errors.Is(err, ErrRejected) && s.restamped(ctx, was) {
		return issued, false, nil
	}
	if err == nil && !client.admits(&user) {
		err = errRefreshToken
	}
	if err != nil {
		return issued, false, err
	}
	lifetime := s.options.Lifetime
	if client != nil && client.Lifetime != 0 {
		lifetime = client.Lifetime
	}
	now := s.options.Now().UTC()
	r := rotation.Rotation{Used: [16]byte(p.digest[:16]), At: now.UnixMilli(), Process: s.refresh.process, Source: s.refresh.source(c.RemoteAddr)}
	rand.Read(r.Salt[:]) // never returns an error
	access, next := s.derive(p, r.Salt)
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
	s.setRefresh(&t, f.state.Next(r, t.Digest, next.digest, s.refresh.reader(now)))
	if done, err = s.storeRefresh(ctx, was, &t); !done {
		return issued, false, err
	}
	further, cancel := deadline.Detach(ctx) // the tokens must not stay if they must not be used
	defer cancel()
	err = s.lookAgain(further, t.Principal, t.ClientID)
	if errors.Is(err, ErrRejected) {
		s.discard(context.WithoutCancel(ctx), &t)
		err = because(errRefreshToken, err)
	}
	if err != nil {
		// If the look-up failed, the tokens stay: otherwise a failure would sign the
		// user out. The client gets them when it repeats the refresh.
		return issued, false, err
	}
	issued = IssuedToken{AccessToken: NewSecret(access), RefreshToken: NewSecret(next.text), Token: t.clone()}
	issued.Token.Principal.Row = user.Row
	return issued, true, nil
}

// restamped reports whether the slot still holds the token, with another stamp. A change
// of the user may have kept the token, as SetPassword of gormstore's Users does.
func (s *Service) restamped(ctx context.Context, t *Token) bool {
	now, err := s.refresh.lookups.find(ctx, t.Slot)
	return err == nil && equal(&now.Digest, &t.Digest) && now.Principal.Stamp != t.Principal.Stamp
}

// repeat returns the pair of tokens that the sign-in has now, to a client that used its
// refresh token before. It reports false if another refresh changed the slot meanwhile.
func (s *Service) repeat(ctx context.Context, c *Credentials, p presentedRefresh, f foundRefresh, e *Event) (issued IssuedToken, done bool, err error) {
	var access string
	next := p
	for i := range f.state.Recent[f.index:] {
		access, next = s.derive(next, f.state.Recent[f.index+i].Salt)
	}
	if digest := Digest(sha256.Sum256([]byte(access))); !equal(&digest, &f.token.Digest) || !equal(&next.digest, (*Digest)(&f.state.Current)) {
		s.securityLog.otherKey(ctx, f.token)
		return issued, false, because(errRefreshToken, errOtherKey)
	}
	// The refresh that is repeated may have ended before it looked again.
	switch err = s.lookAgain(ctx, f.token.Principal, f.token.ClientID); {
	case errors.Is(err, ErrRejected) && s.restamped(ctx, f.token):
		return issued, false, nil
	case errors.Is(err, ErrRejected):
		return issued, false, because(errRefreshToken, err)
	case err != nil:
		return issued, false, err
	}
	t := f.token.clone()
	r := &f.state.Recent[f.index]
	r.Repeats++
	t.Refresh.State = f.state.Encode()
	if done, err = s.storeRefresh(ctx, f.token, &t); !done {
		return issued, false, err
	}
	e.Reason = event.ReasonRepeated
	if r.Source != s.refresh.source(c.RemoteAddr) {
		e.Reason = event.ReasonRepeatedElsewhere
	}
	issued = IssuedToken{AccessToken: NewSecret(access), RefreshToken: NewSecret(next.text), Token: t.clone()}
	issued.Token.setSignedIn()
	return issued, true, nil
}

// derive returns the access token and the refresh token that replace a refresh token.
func (s *Service) derive(p presentedRefresh, salt [16]byte) (access string, next presentedRefresh) {
	accessSecret, refreshSecret := rotation.Derive(s.refresh.key, p.text, salt)
	access, _ = accesstoken.Make(s.options.Prefix, p.Slot, accessSecret)
	next = p
	next.Secret = refreshSecret
	next.text, next.digest = next.Make(s.refresh.options.Prefix)
	return access, next
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

// endSignIn ends the sign-in of a presented refresh token, and reports the event. It
// returns false if a refresh replaced the tokens meanwhile.
func (s *Service) endSignIn(ctx context.Context, p presentedRefresh, t *Token, e Event) (done bool, err error) {
	began := time.Now()
	further, cancel := deadline.Detach(ctx) // finish what has begun
	defer cancel()
	e.setToken(t)
	if err = s.revoke(further, t.Slot, t.Digest); err == nil {
		_, err = s.judge(further, p)
		if done = errors.Is(err, errRefreshToken); done {
			err = nil
		} else if err == nil {
			return false, nil
		}
	}
	s.observeRevoked(ctx, e, began, err)
	return done, err
}

// revokeRefresh ends the sign-in of a refresh token, which may have been used before. If
// the client is not nil, the token must be the client's.
func (s *Service) revokeRefresh(ctx context.Context, p presentedRefresh, client *Client, e Event) error {
	for range refreshTries {
		f, err := s.judge(ctx, p)
		switch {
		case errors.Is(err, errRefreshToken):
			return nil // it cannot be valid
		case err != nil:
			return err
		case client != nil && f.token.ClientID != client.ID:
			return unauthorizedClient(wire.TokenOfAnotherClient)
		}
		if done, err := s.endSignIn(ctx, p, f.token, e); done || err != nil {
			return err
		}
	}
	return unavailable("revoking a refresh token", errOvertaken)
}

// follow calls end for a token, and then for each token by which a concurrent refresh
// replaced it before it ended. Otherwise that refresh would keep the sign-in. The token
// has its Refresh.
func (s *Service) follow(ctx context.Context, t *Token, end func(*Token) error) error {
	for range refreshTries {
		if err := end(t); err != nil || s.refresh == nil || t.refreshState() == nil {
			return err
		}
		now, err := s.refresh.lookups.find(ctx, t.Slot)
		switch {
		case errors.Is(err, ErrNotFound), errors.Is(err, ErrCorrupt), err == nil && !now.continues(t):
			return nil
		case err == errPanic:
			return err
		case err != nil:
			return unavailable("finding a token to revoke", err)
		}
		t = now
	}
	return unavailable("revoking a sign-in", errOvertaken)
}

// reload returns the user's current principal.
func (s *Service) reload(ctx context.Context, p Principal) (user Principal, err error) {
	call, cancel, err := s.timeout.Call(ctx)
	if err != nil {
		return user, unavailable("reloading the user", err)
	}
	defer cancel()
	defer calling("the authenticator")
	user, err = s.authenticator.(Reloader).Reload(call, p)
	switch {
	case errors.Is(err, ErrRejected):
		return user, because(errRefreshToken, err)
	case err != nil:
		return user, hostFailed("the Reloader", "ErrRejected for a user who may no longer sign in", err)
	case user.UserID != p.UserID:
		return user, hostFailed("the Reloader", "the principal of the user with the same ID", errors.New("it returned another user's"))
	}
	return user, user.check()
}

// These errors are causes of errRefreshToken.
var (
	errRefreshExpired = errors.New("it has expired")
	errUsed           = errors.New("it was used before")
	errRepeatedOften  = errors.New("its refresh was repeated too often")
	errReused         = errors.New("it was used before, so somebody may have a copy: the sign-in has ended")
	errOtherKey       = errors.New("it was used at a process with another RefreshOptions.Key, so the refresh cannot be repeated")
	errOtherClient    = errors.New("it was issued to another client")
)
