// Package wire has the texts of the HTTP contract. The endpoints and guards of
// package tokenauth send them, and package openapi describes them.
package wire

import (
	"slices"
	"strings"
)

// The values of "error" (RFC 6749 §5.2 and §4.1.2.1, RFC 6750 §3.1).
const (
	InvalidRequest         = "invalid_request"
	InvalidClient          = "invalid_client"
	UnauthorizedClient     = "unauthorized_client"
	InvalidGrant           = "invalid_grant"
	UnsupportedGrantType   = "unsupported_grant_type"
	TemporarilyUnavailable = "temporarily_unavailable"
	ServerError            = "server_error"
	InvalidToken           = "invalid_token"
	InsufficientScope      = "insufficient_scope"
)

// The values of "error_description" at the token, revocation and introspection
// endpoints.
const (
	RejectedCredentials = "The user name or password is incorrect."
	RejectedRefresh     = "The refresh token is not valid."
	RejectedClient      = "The client is unknown, or its secret is wrong."
	Throttled           = "Too many failed sign-ins. Try again later."
	Unavailable         = "The server is temporarily unable to handle the request. Try again later."
	Unexpected          = "The server met an unexpected condition."

	GrantTypeMissing = "The parameter grant_type is missing."
	GrantTypeUnknown = "The grant type must be password."
	GrantTypeNeither = "The grant type must be password or refresh_token."
	UserNameMissing  = "The parameter username is missing."
	UserNameTooLong  = "The parameter username has more than 256 bytes."
	UserNameControls = "The parameter username has control characters."
	PasswordMissing  = "The parameter password is missing."
	RefreshMissing   = "The parameter refresh_token is missing."
	TokenMissing     = "The parameter token is missing."

	SendTokenRequest = "Send the parameters urlencoded in the body: grant_type=password&username=...&password=..."
	SendToken        = "Send the parameters urlencoded in the body: token=..."

	CredentialsInQuery     = "Credentials belong in the body, never in the query."
	QueryTooLong           = "The query has more than 8192 bytes."
	ParameterTwice         = "A parameter is given twice."
	TooManyParameters      = "There are more than 32 parameters."
	ParameterControls      = "The parameters have control characters."
	ParametersNotUTF8      = "The parameters are not UTF-8."
	ByteOrderMark          = "A byte order mark may only begin the body."
	BodyUnreadable         = "The body could not be read."
	BodyGone               = "The body is empty, or other code of the server has read it before."
	BodyTooLarge           = "The body has more than 8192 bytes."
	BodyOverLimit          = "The body is larger than the server accepts."
	BodyTooSlow            = "The body took too long to arrive."
	BodyCompressed         = "The body must not be compressed."
	AuthorizationMalformed = "The Authorization header is malformed, or there are several."
	ClientTwice            = "The client is named by Basic authentication or in the body, not by both."
	ParameterTooLong       = "A parameter has more than 1024 bytes."
	DeviceMalformed        = "The device must be 1 to 64 bytes of printable ASCII."
	DeviceNameMalformed    = "The name of the device must be at most 100 bytes without control characters."
	TokenMethod            = "The token endpoint does not answer this method."
	PostOnly               = "The endpoint answers POST only."

	MayNotIntrospect     = "The client may not introspect tokens."
	TokenOfAnotherClient = "The token was issued to another client."
)

// The values of "error_description" on protected routes.
const (
	TokenInvalid      = "The access token is invalid."
	TokenExpired      = "The access token has expired."
	TokenReplaced     = "The access token was replaced by a newer sign-in."
	TokenSucceeded    = "The access token was replaced by a newer token." // with refresh tokens
	BearerMalformed   = "The request needs one Authorization header with one bearer token."
	TokenTwice        = "The request has several access tokens."
	FromAnotherSite   = "The request comes from another site."
	RoleMissing       = "The user does not have the role that this needs."
	ClientNotAdmitted = "The access token was issued to a client that may not do this."
	KeyNotAdmitted    = "An API key may not do this."
	TooManyKeys       = "The user has too many API keys."
)

// MaxPassword is the maximum length of a password in bytes. The Service rejects
// a longer password instead of truncating it.
const MaxPassword = 1024

// MaxParameter is the maximum length of a further parameter in bytes
// (Options.Parameters).
const MaxParameter = 1024

// Denied is the "Message" that ASP.NET Web API sends when it refuses a request.
// Clients of Web API services know this text.
const Denied = "Authorization has been denied for this request."

// TokenResponse returns the names of the members of every token response, in
// order.
func TokenResponse() []string {
	return []string{"access_token", "token_type", "expires_in", "userName", "userId", "role", ".issued", ".expires"}
}

// IntrospectionResponse returns the names of the members of the response for an
// active token (RFC 7662 §2.2).
func IntrospectionResponse() []string {
	return []string{"active", "client_id", "username", "token_type", "exp", "iat", "sub", "role"}
}

// HasMember reports whether a decoder may confuse name with one of the members.
// The decoders of Go and .NET ignore the case of names. Go's decoder also
// applies Unicode case folding.
func HasMember(members []string, name string) bool {
	return slices.ContainsFunc(members, func(m string) bool { return strings.EqualFold(m, name) })
}

// IsToken reports whether s is a token (RFC 9110 §5.6.2), as the name of a
// header, a scheme or a cookie must be.
func IsToken(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return r <= ' ' || r > '~' || strings.ContainsRune("\"(),/:;<=>?@[\\]{}", r)
	})
}

// BearerChallenge returns the WWW-Authenticate header of a protected route (RFC
// 6750 §3). It omits an empty code and an empty description.
func BearerChallenge(realm, code, description string) string {
	challenge := `Bearer realm="` + realm + `"`
	if code != "" {
		challenge += `, error="` + code + `"`
	}
	if description != "" {
		challenge += `, error_description="` + description + `"`
	}
	return challenge
}

// BasicChallenge returns the WWW-Authenticate header for client authentication
// (RFC 7617 §2.1).
func BasicChallenge(realm string) string {
	return `Basic realm="` + realm + `", charset="UTF-8"`
}

// TokenParameters returns the names of the parameters that every token request
// may have, each of them once (RFC 6749 §3.2).
func TokenParameters() []string {
	return []string{"grant_type", "username", "password", "client_id", "client_secret"}
}
