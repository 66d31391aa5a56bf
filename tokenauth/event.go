package tokenauth

import (
	"errors"
	"net/netip"
	"time"

	"github.com/bearerkit/bearerkit/tokenauth/event"
)

// An Event is a report of something that a [Service] did, for logs, metrics and
// audits ([Options.Observers]). It never contains a password or an access
// token. It contains a value that the client sent only if the Service verified
// the value.
type Event struct {
	Kind   event.Kind
	Reason event.Reason // refines Kind; may be ""

	// UserID, UserName and ClientID belong to the token. Each is empty if the
	// Service does not know it, for example for a refused sign-in or an unknown
	// token. For a principal that cannot be stored, UserID and UserName are cut
	// to 256 bytes.
	UserID, UserName, ClientID string
	// Device is the ID of the token's device, or "" ([Options.Devices]). The
	// client chose it.
	Device string
	// Key is the ID of the API key ([Key.ID]), or "" for a sign-in.
	Key string
	// Account is a keyed hash of the user name that was typed, ignoring case
	// and accents. It is a hash because people sometimes type a password in
	// place of the user name. The same name has the same hash within one
	// process, and on all replicas that share [ThrottleOptions.Key]. It is
	// empty if the throttle is off, or if the Service refused the sign-in
	// before counting it.
	Account string
	// RemoteAddr is the IP address of the client ([Credentials.RemoteAddr],
	// [Options.TrustedProxies]). It is the zero Addr if the address is unknown,
	// and for [event.Validated].
	RemoteAddr netip.Addr
	// Digest is the token's digest, or zero if there is no token. For a
	// replaced token, it is the Digest of the token that replaced it.
	Digest Digest
	// Duration is how long the Service took for the action. It is zero for a
	// request that is malformed, or was refused because of the user's roles or
	// the client.
	Duration time.Duration
	// Err is the cause of a refusal or a failure. Its text may come from
	// drivers and from the host's code.
	Err error
}

// setToken sets the fields that come from a token. It does nothing if t is nil.
func (e *Event) setToken(t *Token) {
	if t != nil {
		e.UserID, e.UserName, e.ClientID, e.Device, e.Digest = t.Principal.UserID, t.Principal.UserName, t.ClientID, t.Device, t.Digest
		e.Key = t.Key
	}
}

// setError sets Err, Kind and Reason. If the error is the fault of the user or
// the client, it sets Kind to the given kind. Otherwise it sets Kind to
// [event.Unavailable].
func (e *Event) setError(err error, refused event.Kind) {
	e.Err = err
	e.Kind, e.Reason = reasonOf(err, refused)
}

func reasonOf(err error, refused event.Kind) (event.Kind, event.Reason) {
	var refresh *refreshTokenError
	switch {
	case errors.Is(err, ErrBusy):
		return event.Unavailable, event.ReasonBusy
	case errors.Is(err, ErrUnavailable):
		return event.Unavailable, ""
	case errors.Is(err, errPanic), errors.Is(err, ErrInvalidPrincipal):
		return event.Unavailable, event.ReasonInternal
	case errors.As(err, &refresh):
		return refused, refresh.reason
	case errors.Is(err, ErrRejected):
		return refused, event.ReasonCredentials
	case errors.Is(err, ErrThrottled):
		return refused, event.ReasonThrottled
	case errors.Is(err, ErrInvalidClient), errors.Is(err, errUnauthorizedClient):
		return refused, event.ReasonClient
	case errors.Is(err, ErrExpiredToken):
		return refused, event.ReasonExpired
	case errors.Is(err, ErrReplacedToken):
		return refused, event.ReasonReplaced
	case errors.Is(err, ErrInvalidToken):
		return refused, event.ReasonInvalid
	case errors.Is(err, errNoCredentials):
		return refused, event.ReasonNoCredentials
	case errors.Is(err, errCrossSite):
		return refused, event.ReasonCrossSite
	case errors.Is(err, errMissingRole):
		return refused, event.ReasonRole
	case errors.Is(err, errKeyNotAdmitted), errors.Is(err, ErrTooManyKeys):
		return refused, event.ReasonKey
	case errors.Is(err, errMalformed):
		return refused, event.ReasonMalformed
	}
	return event.Unavailable, ""
}
