package tokenauth

import (
	"errors"
	"net/netip"
	"time"

	"github.com/bearerkit/bearerkit/tokenauth/event"
)

// An Event is something that a Service did. It has no password and no access
// token. What a client sent is in it only where the Service verified it.
type Event struct {
	Kind   event.Kind
	Reason event.Reason // "" where the kind says everything

	// UserID, UserName and ClientID are the token's. They are empty where the
	// Service does not know them: for a refused sign-in, and for an unknown token.
	// For a principal that cannot be stored they are cut to 256 bytes.
	UserID, UserName, ClientID string
	// Account is a keyed hash of the user name that was typed, without case and
	// accents: people type passwords there. The same name has the same hash in
	// one process, and on all replicas that share ThrottleOptions.Key. It is empty
	// where the throttle is off, and where the Service refused the sign-in before
	// it counted it.
	Account string
	// RemoteAddr is the client's address: Credentials.RemoteAddr, or what
	// Options.TrustedProxies makes of the request. It is the zero Addr where it
	// is unknown, and for event.Validated.
	RemoteAddr netip.Addr
	// Digest is the token's, and zero where there is none. For a replaced token
	// it is that of the token which replaced it.
	Digest Digest
	// Duration is how long the Service took. It is zero for a request that is
	// malformed, or refused for its role or its client.
	Duration time.Duration
	// Err is the cause of a refusal or a failure. It may have text of drivers
	// and of the host's code.
	Err error
}

// setToken sets whose token it is.
func (e *Event) setToken(t *Token) {
	if t != nil {
		e.UserID, e.UserName, e.ClientID, e.Digest = t.Principal.UserID, t.Principal.UserName, t.ClientID, t.Digest
	}
}

// setError sets the kind and the reason of what failed: refused, which is the
// caller's fault, or event.Unavailable.
func (e *Event) setError(err error, refused event.Kind) {
	e.Err = err
	e.Kind, e.Reason = reasonOf(err, refused)
}

func reasonOf(err error, refused event.Kind) (event.Kind, event.Reason) {
	switch {
	case errors.Is(err, ErrBusy):
		return event.Unavailable, event.ReasonBusy
	case errors.Is(err, ErrUnavailable):
		return event.Unavailable, ""
	case errors.Is(err, errPanic), errors.Is(err, ErrInvalidPrincipal):
		return event.Unavailable, event.ReasonInternal
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
	case errors.Is(err, errMissingRole):
		return refused, event.ReasonRole
	case errors.Is(err, errMalformed):
		return refused, event.ReasonMalformed
	}
	return event.Unavailable, ""
}
