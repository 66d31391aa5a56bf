// Package event names the kinds of events that a tokenauth.Service reports, and
// the reasons that refine them. An observer finds both in a tokenauth.Event: a
// [Kind] and a [Reason].
//
// Both sets are fixed, and no value comes from a request, so both can be used
// as metric labels.
package event

// A Kind says what happened. The zero value is not an event.
type Kind int

const (
	// Issued: the Service issued a token. With [ReasonKey], a user made an API key.
	Issued Kind = iota + 1
	// SignInRefused: the Service refused a sign-in, or a password that the host
	// asked for again (Service.VerifyPassword). The [Reason] says why. Without a
	// Reason, the password was right, but something else is missing, such as a
	// one-time code. The user and the client are not authenticated.
	SignInRefused
	// Validated: the access token of a request is valid. With [ReasonKey], it is an API
	// key. With [ReasonFallback], Options.Fallback authenticated the request.
	Validated
	// Refused: the Service refused a request on a protected route, a request to
	// the revocation or introspection endpoint, or a call of Service.Validate.
	// The [Reason] says why.
	Refused
	// Introspected: the Service answered an introspection request. For an
	// active token the [Reason] is "". Otherwise the Reason says why the token
	// is not active. Event.ClientID is the client that the token was issued to.
	Introspected
	// Revoked: the Service revoked a token that was stored. With [ReasonUser],
	// [ReasonClient] or [ReasonAll] it revoked all tokens of a user, of a client
	// or in the storage, if there were any. With [ReasonKey] it revoked an API key, or
	// all of a user.
	Revoked
	// Refreshed: the Service issued a new pair of tokens for a refresh token. With
	// [ReasonRepeated] or [ReasonRepeatedElsewhere], it returned the current pair to
	// a client that repeated its refresh.
	Refreshed
	// RefreshRefused: the Service refused a refresh token. The [Reason] says why.
	RefreshRefused
	// Unavailable: the Service could not do its work, for example because the
	// storage or a user look-up failed. [ReasonBusy], [ReasonCanceled] and
	// [ReasonInternal] refine it. Event.Err has the cause.
	Unavailable
)

var kinds = [...]string{"unknown", "issued", "sign_in_refused", "validated", "refused", "introspected", "revoked", "refreshed", "refresh_refused", "unavailable"}

// String returns the name of the kind, such as "sign_in_refused", or "unknown".
func (k Kind) String() string {
	if k < 0 || int(k) >= len(kinds) {
		k = 0
	}
	return kinds[k]
}

// A Reason refines a [Kind]. It is "" if the kind needs no reason.
type Reason string

const (
	// ReasonMalformed: the request violates the protocol.
	ReasonMalformed Reason = "malformed"
	// ReasonCredentials: the user is unknown, the password or the one-time code
	// is wrong, or the account is disabled.
	ReasonCredentials Reason = "credentials"
	// ReasonClient: the client is unknown, did not prove its secret, or may not
	// make this request. For a [Revoked] event: all tokens of a client were
	// revoked.
	ReasonClient Reason = "client"
	// ReasonThrottled: too many sign-ins failed before, or too many one-time
	// codes were wrong.
	ReasonThrottled Reason = "throttled"
	// ReasonBusy: too many passwords are waiting to be hashed.
	ReasonBusy Reason = "busy"
	// ReasonCanceled: the client disconnected, or the caller's context ended.
	ReasonCanceled Reason = "canceled"
	// ReasonInternal: the host's code panicked, or returned a principal that
	// cannot be stored.
	ReasonInternal Reason = "internal"

	// ReasonNoCredentials: the request has no access token.
	ReasonNoCredentials Reason = "no_credentials"
	// ReasonInvalid: the access token is malformed, unknown or revoked.
	ReasonInvalid Reason = "invalid"
	// ReasonExpired: the access token has expired.
	ReasonExpired Reason = "expired"
	// ReasonReplaced: a newer sign-in or a refresh replaced the access token. If
	// this happens repeatedly, two processes probably use the same account, and
	// each signs in separately, or they share a refresh token.
	ReasonReplaced Reason = "replaced"
	// ReasonCrossSite: a page of another site may have made a browser send the
	// request with its cookie.
	ReasonCrossSite Reason = "cross_site"
	// ReasonRole: the user has none of the required roles.
	ReasonRole Reason = "role"

	// ReasonUser, only for a [Revoked] event: all tokens of a user were revoked,
	// except those that the host kept.
	ReasonUser Reason = "user"
	// ReasonAll, only for a [Revoked] event: all tokens in the storage were
	// revoked.
	ReasonAll Reason = "all"
	// ReasonDevices, only for a [Revoked] event: the user signed in on more
	// devices than Options.Devices allows, so the Service revoked the token that
	// was used longest ago.
	ReasonDevices Reason = "devices"
	// ReasonRepeated, only for a [Refreshed] event: the client repeated a refresh
	// within RefreshOptions.Grace.
	ReasonRepeated Reason = "repeated"
	// ReasonRepeatedElsewhere, only for a [Refreshed] event: as ReasonRepeated, but
	// from another address than the first time. A client may have changed its
	// network. If not, there is a copy of its refresh token.
	ReasonRepeatedElsewhere Reason = "repeated_elsewhere"
	// ReasonReused: a refresh token was used again after RefreshOptions.Grace, so
	// there is a copy of it. The Service ended the sign-in, which is a [Revoked] event
	// with the same Reason.
	ReasonReused Reason = "reused"
	// ReasonKey is about an API key. For an [Issued] event, a user made a key. For a
	// [Validated] event, the request has a key. For a [Revoked] event, the Service
	// revoked a key, or all keys of a user. For a [Refused] event, the key is valid,
	// but the route lets only sign-ins through.
	ReasonKey Reason = "key"
	// ReasonFallback, only for a [Validated] event: Options.Fallback
	// authenticated the request.
	ReasonFallback Reason = "fallback"
)
