package tokenauth

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/bearerkit/bearerkit/tokenauth/event"
	"github.com/bearerkit/bearerkit/tokenauth/internal/accesstoken"
	"github.com/bearerkit/bearerkit/tokenauth/internal/deadline"
)

// IssueOptions configures a call of [Service.Issue]. Nil or the zero value
// selects the defaults.
type IssueOptions struct {
	// ClientID is the ID of the client to which the token is issued: at most 256
	// bytes of UTF-8 without NUL. It need not be in [Options.Clients]; Issue
	// does not ask the registry. Without a registry, each ID has a [Slot] of its
	// own, and "" is the slot of the token endpoint.
	//
	// With both a registry and [Options.Refresh], only this client can refresh the
	// token. So the refresh token is useless if the registry does not have the ID.
	ClientID string
	// Device and DeviceName are as in [Credentials].
	Device, DeviceName string
	// Lifetime is how long the token is valid, in whole seconds. Zero means
	// [Options.Lifetime]. The range is as in [Credentials].
	Lifetime time.Duration
	// Recheck makes Issue look at the user and the client again after it stored
	// the token, as a sign-in does. If one of them was disabled or changed in
	// the meantime, Issue removes the token and returns [ErrRejected]. It needs
	// an [Authenticator] that is a [Rechecker], and a principal with the user's
	// current [Principal.Stamp].
	Recheck bool
}

// Issue issues a new token for a principal that the host authenticated itself,
// for example by single sign-on. The new token replaces the user's earlier token
// at the client, or on the device.
//
// Issue looks at the user only with [IssueOptions.Recheck]. Without it, another
// request may disable the user at the same time: then call [Service.RevokeUser]
// after both have finished.
//
// If the [Authenticator] is both a [RevocationQueue] and a [Rechecker], as
// gormstore's is, set p.Stamp to the user's current stamp. Otherwise a token
// issued right after a change to the user ends together with the user's earlier
// tokens. Account.Principal in package password and Users.Principal in package
// gormstore return a principal with the current stamp.
//
//   - It returns [ErrInvalidPrincipal], with the name of the field, for a
//     principal or options that cannot be stored.
//   - It returns [ErrRejected] if the second look rejected the user or the
//     client.
//   - It returns [ErrUnavailable] if the storage failed or did not answer in
//     time.
func (s *Service) Issue(ctx context.Context, p Principal, o *IssueOptions) (IssuedToken, error) {
	defer plainPanic()
	if o == nil {
		o = new(IssueOptions)
	}
	began := time.Now()
	issued, err := s.issue(ctx, p, o)
	e := Event{Kind: event.Issued, Duration: time.Since(began)}
	switch {
	case err == nil:
		e.setToken(&issued.Token)
	case errors.Is(err, ErrInvalidPrincipal):
		return issued, err // the caller's mistake, so it is not an event
	default:
		e.setError(err, event.SignInRefused)
	}
	s.observe(ctx, &e)
	return issued, err
}

func (s *Service) issue(ctx context.Context, p Principal, o *IssueOptions) (IssuedToken, error) {
	if o.Recheck && !canRecheck(s.authenticator) {
		return IssuedToken{}, fmt.Errorf("%w: IssueOptions.Recheck needs an Authenticator that is a Rechecker, and %T is not one", ErrInvalidPrincipal, s.authenticator)
	}
	again := func(context.Context, Principal) error { return nil }
	if o.Recheck {
		again = func(ctx context.Context, p Principal) error { return s.lookAgain(ctx, p, o.ClientID) }
	}
	return s.storeAndCheck(ctx, p, destination{o.ClientID, o.Device, o.DeviceName, o.Lifetime}, again)
}

// A destination says where a token is stored, and for how long it is valid.
type destination struct {
	clientID, device, deviceName string
	lifetime                     time.Duration // zero means Options.Lifetime
}

// storeAndCheck stores a new token, calls again, and ends the tokens beyond the
// bound on devices. If again or the end of such a token fails, it removes the new
// token and returns the error. Only the returned token has the principal's Row.
//
// Once the token is stored, all steps run even if the client disconnects, so
// that the token is removed if it must not be used.
func (s *Service) storeAndCheck(ctx context.Context, p Principal, at destination, again func(context.Context, Principal) error) (IssuedToken, error) {
	var newest time.Time
	row := p.Row
	p.Row = nil
	for try := 1; ; try++ {
		issued, err := s.store(ctx, p, at, newest)
		if err != nil {
			return IssuedToken{}, err
		}
		further, cancel := deadline.Detach(ctx)
		defer cancel()
		if err = again(further, p); err == nil {
			newest, err = s.boundDevices(further, &issued.Token)
		}
		switch {
		case err != nil:
			s.discard(context.WithoutCancel(ctx), &issued.Token)
			return IssuedToken{}, err
		case newest.IsZero() || try == 2:
			issued.Token.Principal.Row = row
			return issued, nil
		}
		// This token counted as older than the others and was ended. Store another
		// one, which counts as newer.
		ctx = further
	}
}

// store makes a token for the principal and stores it in its slot. With
// [Options.Devices], the token's IssuedAt is later than the given time.
func (s *Service) store(ctx context.Context, p Principal, at destination, after time.Time) (IssuedToken, error) {
	if err := p.check(); err != nil {
		return IssuedToken{}, err
	}
	lifetime, err := s.checkDestination(&at)
	if err != nil {
		return IssuedToken{}, err
	}
	slot := slotOf(p.UserID, at.clientID, at.device)
	accessToken, digest := accesstoken.Mint(s.options.Prefix, slot.bytes())
	now := s.options.Now().UTC()
	t := Token{
		Slot:       slot,
		Digest:     digest,
		ClientID:   at.clientID,
		Device:     at.device,
		DeviceName: at.deviceName,
		Principal:  p.Clone(),
		IssuedAt:   s.issueTime(now, after),
		ExpiresAt:  now.Truncate(time.Second).Add(lifetime),
	}
	if s.options.MaxLifetime != 0 {
		t.Lifetime = lifetime
	}
	issued := IssuedToken{AccessToken: NewSecret(accessToken)}
	if s.options.Refresh != nil {
		issued.RefreshToken = s.refresh.begin(&t)
	}
	if err := s.replace(ctx, t); err != nil {
		return IssuedToken{}, unavailable("storing a token", err)
	}
	s.warnRunNotCalled(ctx)
	issued.Token = t.clone()
	return issued, nil
}

// issueTime returns the IssuedAt of a token that is issued now. With
// [Options.Devices], it is later than the given time.
//
// Responses show whole seconds, so it rounds down. Otherwise a response could promise
// more time than remains.
func (s *Service) issueTime(now, after time.Time) time.Time {
	second := now.Truncate(time.Second)
	if s.options.Devices == nil {
		return second
	}
	// The milliseconds order the devices by their sign-ins.
	at := now.Truncate(time.Millisecond)
	if !at.After(after) {
		at = after.Add(time.Millisecond)
	}
	if at.Equal(second) {
		// A storage may drop the name of a token without milliseconds
		// ([Storage.Replace]).
		at = second.Add(time.Millisecond)
	}
	return at
}

// checkDestination returns the lifetime of a token. It returns
// [ErrInvalidPrincipal], wrapped, if the destination is not valid.
func (s *Service) checkDestination(at *destination) (lifetime time.Duration, err error) {
	bad := func(format string, args ...any) (time.Duration, error) {
		return 0, fmt.Errorf("%w: "+format, append([]any{ErrInvalidPrincipal}, args...)...)
	}
	switch {
	case at.clientID == keyClient:
		return bad("the client ID is reserved for API keys")
	case len(at.clientID) > 256 || !storable(at.clientID):
		return bad("the client ID must have at most 256 bytes of UTF-8 without NUL")
	case s.options.Devices == nil && (at.device != "" || at.deviceName != ""):
		return bad("a device was named, but Options.Devices is nil")
	case !validDevice(at.device):
		return bad("the device must have at most %d bytes of printable ASCII", maxDevice)
	case !validDeviceName(at.deviceName):
		return bad("the device's name must have at most %d bytes of UTF-8 without control characters", maxDeviceName)
	}
	longest := maxLifetime
	if s.options.MaxLifetime != 0 {
		longest = s.options.MaxLifetime
	}
	switch lifetime = at.lifetime; {
	case lifetime == 0:
		return s.options.Lifetime, nil
	case lifetime < time.Minute || lifetime > longest || lifetime%time.Second != 0:
		return bad("the lifetime is %v, must be a whole number of seconds from 1 minute to %v", lifetime, longest)
	}
	return lifetime, nil
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
