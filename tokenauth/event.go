package tokenauth

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"time"
)

// An Observer is told what a Service did (Options.Observers): for metrics,
// traces, an audit trail, an alarm.
type Observer interface {
	// Observe is told of an event that has just happened.
	//
	//   - It is called by the request's own goroutine, before the answer, so it
	//     returns at once; what takes long it hands to somebody else.
	//   - Many requests call it at the same time.
	//   - It decides nothing: the answer stands, and a panic is logged and
	//     forgotten.
	Observe(ctx context.Context, e Event)
}

// An EventKind says what happened.
type EventKind int

const (
	// EventIssued: a token was issued.
	EventIssued EventKind = iota + 1
	// EventSignInRefused: a sign-in was refused, for its Reason. The user and
	// the client are not proven.
	EventSignInRefused
	// EventValidated: an access token was found good, or with ReasonFallback
	// Options.Fallback vouched for the request.
	EventValidated
	// EventRefused: a request on a protected route, for revocation or for
	// introspection, or a call of Validate, was refused, for its Reason.
	EventRefused
	// EventIntrospected: an introspection was answered, with the Reason why
	// the token is not active, or "" for one that is. ClientID is the token's.
	EventIntrospected
	// EventRevoked: a token, or with ReasonUser or ReasonClient all of a user
	// or of a client were revoked.
	EventRevoked
	// EventUnavailable: it could not be told or done what was asked, because
	// of trouble with the storage or the users, or for its Reason. Err has the
	// cause.
	EventUnavailable
)

var eventKinds = [...]string{"unknown", "issued", "sign_in_refused", "validated", "refused", "introspected", "revoked", "unavailable"}

// String returns the name of the kind, as in "sign_in_refused".
func (k EventKind) String() string {
	if k < 0 || int(k) >= len(eventKinds) {
		k = 0
	}
	return eventKinds[k]
}

// A Reason refines an EventKind. There are no others than these, and none
// comes from a request, so it may be a label of a metric.
type Reason string

const (
	// ReasonMalformed: the request broke the protocol.
	ReasonMalformed Reason = "malformed"
	// ReasonCredentials: unknown user, wrong password, disabled account.
	ReasonCredentials Reason = "credentials"
	// ReasonClient: the client is unknown, did not prove its secret, or may
	// not do this; of EventRevoked: all tokens of a client.
	ReasonClient Reason = "client"
	// ReasonThrottled: too many failures before.
	ReasonThrottled Reason = "throttled"
	// ReasonBusy: too many passwords to hash.
	ReasonBusy Reason = "busy"
	// ReasonCanceled: the client went away, or the caller gave up.
	ReasonCanceled Reason = "canceled"
	// ReasonInternal: the host's own code panicked, or made a principal that
	// cannot be stored.
	ReasonInternal Reason = "internal"

	// ReasonNoCredentials: no bearer token was sent.
	ReasonNoCredentials Reason = "no_credentials"
	// ReasonInvalid: the access token is unknown, revoked, or none at all.
	ReasonInvalid Reason = "invalid"
	// ReasonExpired: the access token has expired.
	ReasonExpired Reason = "expired"
	// ReasonReplaced: a newer sign-in replaced the access token. Two processes
	// that share an account and sign in on their own get this again and again.
	ReasonReplaced Reason = "replaced"
	// ReasonRole: the user lacks the role.
	ReasonRole Reason = "role"

	// ReasonUser: all tokens of a user.
	ReasonUser Reason = "user"
	// ReasonFallback: Options.Fallback vouched for the request.
	ReasonFallback Reason = "fallback"
)

// An Event is something that a Service did. It has no password and no access
// token, and nothing that a client sent unless it turned out to be true.
type Event struct {
	Kind   EventKind
	Reason Reason // "" where the kind says all

	// UserID, UserName and ClientID are the token's, where it is known whose it
	// is: those of a sign-in that was refused, or of a token that nobody holds,
	// are empty. Those of a principal that cannot be stored are as it had them,
	// cut to 256 bytes.
	UserID, UserName, ClientID string
	// Account names the account that a sign-in was for by a keyed hash of the
	// name as it was typed, since people type passwords there. The same
	// account has the same hash in one process, and on all replicas that share
	// ThrottleOptions.Key. It is empty where the throttle is off, and where the
	// sign-in was refused before it was looked at.
	Account string
	// RemoteAddr is the client's address: as SignIn was told, or as
	// Options.TrustedProxies have it. The zero Addr where it is not known, and
	// of EventValidated.
	RemoteAddr netip.Addr
	// Digest is the token's, and zero where there is none. Of a token that was
	// replaced it is that of the one which took its place.
	Digest Digest
	// Duration is how long it took, and ends now. It is zero for requests that
	// were refused before anybody was asked.
	Duration time.Duration
	// Err is the cause of a refusal or of trouble. It may have text of
	// drivers and of the host's own code.
	Err error
}

// of fills in whose token it is.
func (e *Event) of(t *Token) {
	e.UserID, e.UserName, e.ClientID, e.Digest = t.Principal.UserID, t.Principal.UserName, t.ClientID, t.Digest
}

// observe tells everybody of an event.
func (s *Service) observe(ctx context.Context, e *Event) {
	// A storage that was in trouble of its own before the client lost patience
	// was in trouble.
	if e.Kind == EventUnavailable && e.Reason == "" && ctx.Err() != nil && errors.Is(e.Err, context.Canceled) {
		e.Reason = ReasonCanceled
	}
	if invalid := (*principalError)(nil); e.Reason == ReasonInternal && errors.As(e.Err, &invalid) {
		e.UserID, e.UserName = invalid.whose.UserID, invalid.whose.UserName
	}
	s.securityLog.record(ctx, e)
	for _, o := range s.options.Observers {
		s.tell(ctx, o, e)
	}
}

func (s *Service) tell(ctx context.Context, o Observer, e *Event) {
	defer func() {
		if p := recover(); p != nil {
			s.securityLog.panicked(ctx, "an observer", p)
		}
	}()
	o.Observe(ctx, *e)
}

// observed reports whether anybody wants to hear of what is not logged.
func (s *Service) observed() bool { return len(s.options.Observers) > 0 }

// reasonOf returns the reason that an error of the Service stands for, and the
// kind of event: refused, which is the caller's, or EventUnavailable.
func reasonOf(err error, refused EventKind) (EventKind, Reason) {
	switch {
	case errors.Is(err, ErrBusy):
		return EventUnavailable, ReasonBusy
	case errors.Is(err, ErrUnavailable):
		return EventUnavailable, ""
	case errors.Is(err, errPanic), errors.Is(err, ErrInvalidPrincipal):
		return EventUnavailable, ReasonInternal
	case errors.Is(err, ErrRejected):
		return refused, ReasonCredentials
	case errors.Is(err, ErrThrottled):
		return refused, ReasonThrottled
	case errors.Is(err, ErrInvalidClient), errors.Is(err, errUnauthorizedClient):
		return refused, ReasonClient
	case errors.Is(err, ErrExpiredToken):
		return refused, ReasonExpired
	case errors.Is(err, ErrReplacedToken):
		return refused, ReasonReplaced
	case errors.Is(err, ErrInvalidToken):
		return refused, ReasonInvalid
	case errors.Is(err, errNoCredentials):
		return refused, ReasonNoCredentials
	case errors.Is(err, errMissingRole):
		return refused, ReasonRole
	case errors.Is(err, errMalformed):
		return refused, ReasonMalformed
	}
	return EventUnavailable, ""
}

// The causes of refusals that no method of Service returns.
var (
	errMalformed          = errors.New("tokenauth: malformed request")
	errNoCredentials      = errors.New("tokenauth: no credentials")
	errMissingRole        = errors.New("tokenauth: the user does not have the role")
	errUnauthorizedClient = errors.New("tokenauth: the client may not do this")
)

// A roleError is the errMissingRole that knows which. Neither belongs in a
// metric.
type roleError struct{ needed, has []string }

func missingRole(anyOf []string, t held) error {
	return &roleError{anyOf, t.copy().Principal.Roles}
}

func (e *roleError) Error() string {
	return fmt.Sprintf("%v: it needs one of %q, and has %q", errMissingRole, e.needed, e.has)
}

func (e *roleError) Unwrap() error { return errMissingRole }

// account names the account that a sign-in is for; see Event.Account.
func (s *Service) account(userName string) string {
	if s.throttle == nil {
		return ""
	}
	key := s.throttle.accountKey(s.normalize(userName))
	return hex.EncodeToString(key[8:])
}
