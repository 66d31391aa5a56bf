// Package event names what a tokenauth.Service reports in a tokenauth.Event:
// the kinds of events, and the reasons that refine them.
//
// Both sets are fixed, and no value comes from a request. So both can be labels
// of a metric.
package event

// A Kind says what happened.
type Kind int

const (
	// Issued: the Service issued a token.
	Issued Kind = iota + 1
	// SignInRefused: the Service refused a sign-in, for its Reason. The user
	// and the client are not authenticated.
	SignInRefused
	// Validated: the access token of a request is valid. With ReasonFallback,
	// Options.Fallback authenticated the request.
	Validated
	// Refused: the Service refused a request on a protected route, for
	// revocation or for introspection, or a call of Validate, for its Reason.
	Refused
	// Introspected: the Service answered an introspection. The Reason says why
	// the token is not active; it is "" for an active token. ClientID is the
	// token's.
	Introspected
	// Revoked: the Service revoked a token that was stored, or with ReasonUser or
	// ReasonClient all tokens of a user or of a client, if there were any.
	Revoked
	// Unavailable: a look-up in the storage or of a user failed, or the Reason
	// says what did. Err has the cause.
	Unavailable
)

var kinds = [...]string{"unknown", "issued", "sign_in_refused", "validated", "refused", "introspected", "revoked", "unavailable"}

// String returns the name of the kind, as in "sign_in_refused".
func (k Kind) String() string {
	if k < 0 || int(k) >= len(kinds) {
		k = 0
	}
	return kinds[k]
}

// A Reason refines a Kind. It is "" where the kind says everything.
type Reason string

const (
	// ReasonMalformed: the request breaks the protocol.
	ReasonMalformed Reason = "malformed"
	// ReasonCredentials: unknown user, wrong password or disabled account.
	ReasonCredentials Reason = "credentials"
	// ReasonClient: the client is unknown, did not prove its secret, or may not
	// do this. Of Revoked: all tokens of a client.
	ReasonClient Reason = "client"
	// ReasonThrottled: too many sign-ins failed before.
	ReasonThrottled Reason = "throttled"
	// ReasonBusy: too many passwords wait to be hashed.
	ReasonBusy Reason = "busy"
	// ReasonCanceled: the client disconnected, or the caller's context ended.
	ReasonCanceled Reason = "canceled"
	// ReasonInternal: the host's code panicked, or made a principal that cannot
	// be stored.
	ReasonInternal Reason = "internal"

	// ReasonNoCredentials: the request has no bearer token.
	ReasonNoCredentials Reason = "no_credentials"
	// ReasonInvalid: the access token is unknown or revoked, or is not one.
	ReasonInvalid Reason = "invalid"
	// ReasonExpired: the access token has expired.
	ReasonExpired Reason = "expired"
	// ReasonReplaced: a newer sign-in replaced the access token. It repeats
	// where two processes share an account and each signs in on its own.
	ReasonReplaced Reason = "replaced"
	// ReasonRole: the user does not have the role.
	ReasonRole Reason = "role"

	// ReasonUser, of Revoked: all tokens of a user.
	ReasonUser Reason = "user"
	// ReasonFallback, of Validated: Options.Fallback authenticated the request.
	ReasonFallback Reason = "fallback"
)
