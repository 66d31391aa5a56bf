package tokenauth

import (
	"errors"
	"fmt"
	"time"

	"github.com/bearerkit/bearerkit/tokenauth/event"
)

var (
	// ErrRejected means that the credentials of a sign-in are not valid, for
	// whatever reason. [Service.SignIn] and [Service.VerifyPassword] return it,
	// and so do an [Authenticator] and a [Rechecker]. A [Rejection] is one with
	// a reason for the client.
	ErrRejected = errors.New("tokenauth: the user name or password is incorrect")

	// ErrInvalidClient means that the client is unknown, is disabled, or did
	// not prove its secret. [Service.SignIn] returns it if there is a client
	// registry ([Options.Clients]).
	ErrInvalidClient = errors.New("tokenauth: invalid client")

	// ErrThrottled means that too many earlier sign-ins failed, or that too many
	// one-time codes were wrong. [Service.SignIn] returns it as a
	// [ThrottledError]. The credentials may be valid: the password was not
	// checked, or was right and the code was not checked.
	ErrThrottled = errors.New("tokenauth: too many failed sign-ins")

	// ErrInvalidToken means that an access token is malformed, unknown,
	// revoked, replaced or expired. [Service.Validate] returns it.
	// [Service.RevokeToken] returns it for a [Token] without a Digest.
	ErrInvalidToken = errors.New("tokenauth: the access token is invalid")

	// ErrExpiredToken means that the access token has expired. It wraps
	// [ErrInvalidToken]. [Service.Validate] returns it while the storage still
	// has the token, and [ErrInvalidToken] later.
	ErrExpiredToken = fmt.Errorf("%w: it has expired", ErrInvalidToken)

	// ErrReplacedToken means that the user signed in again at the same client,
	// or that the token was refreshed ([Options.Refresh]), so a newer token
	// replaced this one. It wraps [ErrInvalidToken].
	// [Service.Validate] returns it only for the most recently replaced token,
	// and [ErrInvalidToken] for tokens that were replaced earlier.
	ErrReplacedToken = fmt.Errorf("%w: it was replaced by a newer sign-in", ErrInvalidToken)

	// ErrUnavailable means that the storage or the host's code failed or took
	// too long. The methods of [Service] return it, wrapped around the cause.
	// The credentials or the token may be valid: try again later.
	ErrUnavailable = errors.New("tokenauth: temporarily unavailable")

	// ErrBusy means that an [Authenticator] has too many sign-ins in progress.
	// Authenticate returns it, possibly wrapped. [Service.SignIn] then returns
	// an [ErrUnavailable] that wraps ErrBusy. The Service does not log this
	// error for each request, so the Authenticator must log its overload.
	ErrBusy = errors.New("tokenauth: too many sign-ins in progress")

	// ErrInvalidPrincipal means that a [Principal] cannot be stored.
	// [Service.Issue] and [Service.SignIn] return it, wrapped with the name of
	// the field. [Service.RevokeUser] returns it for an empty UserID.
	ErrInvalidPrincipal = errors.New("tokenauth: invalid principal")

	// ErrTooManyKeys means that a user has [KeyOptions.Max] API keys, and cannot make
	// another one. [Keys.Create] returns it.
	ErrTooManyKeys = errors.New("tokenauth: the user has too many API keys")

	// ErrNotFound means that there is no such entry. [Storage.Find] returns it
	// for an empty slot, [ClientRegistry.FindClient] for an unknown client, and
	// a user look-up for an unknown user.
	ErrNotFound = errors.New("tokenauth: not found")

	// ErrCorrupt means that a stored token cannot be read. [Storage.Find]
	// returns it, wrapped. The Service logs the error and rejects the token as
	// invalid, so that its client signs in again.
	ErrCorrupt = errors.New("tokenauth: stored token is corrupt")
)

// A ThrottledError is an [ErrThrottled] with the time to wait before the next
// try.
type ThrottledError struct{ RetryAfter time.Duration }

// Error returns the text of [ErrThrottled]. It omits the time to wait, because
// that depends on the account.
func (e *ThrottledError) Error() string { return ErrThrottled.Error() }

// Is reports whether target is [ErrThrottled].
func (e *ThrottledError) Is(target error) bool { return target == ErrThrottled }

// These errors are causes in [ErrorResponse.Err] and [Event.Err].
var (
	errMalformed          = errors.New("tokenauth: malformed request")
	errNoCredentials      = errors.New("tokenauth: the request has no credentials")
	errCrossSite          = errors.New("tokenauth: the request comes from another site, and its token is in a cookie")
	errMissingRole        = errors.New("tokenauth: the user does not have a required role")
	errUnauthorizedClient = errors.New("tokenauth: the client is not authorized to make this request")
	errKeyNotAdmitted     = errors.New("tokenauth: the request has an API key, but the route needs a sign-in")
	errKeyInCookie        = errors.New("an API key is not accepted in a cookie")
	errKeyMakesKey        = errors.New("tokenauth: an API key cannot make API keys")
	errSignInEnded        = errors.New("tokenauth: the sign-in has ended")
	errPanic              = errors.New("tokenauth: panic")
	errForeignRow         = errors.New("the storage returned the token of another slot")
	errEarlyCode          = errors.New("tokenauth: Credentials.Code was called before the password was right, or after Authenticate returned: verify the password first, and call Credentials.PasswordMatched")
)

// A refreshTokenError is an [ErrInvalidToken] about a refresh token.
type refreshTokenError struct {
	reason event.Reason
	detail string
}

// errRefreshToken means that a refresh token is not valid. The others say why.
var (
	errRefreshToken   = &refreshTokenError{event.ReasonInvalid, ""}
	errUsed           = &refreshTokenError{event.ReasonInvalid, ": it was used before"}
	errRepeatedOften  = &refreshTokenError{event.ReasonInvalid, ": its refresh was repeated too often"}
	errOtherKey       = &refreshTokenError{event.ReasonInvalid, ": it was used at a process with another RefreshOptions.Key, so the refresh cannot be repeated"}
	errRefreshExpired = &refreshTokenError{event.ReasonExpired, ": it has expired"}
	errOtherClient    = &refreshTokenError{event.ReasonClient, ": it was issued to another client"}
	errReused         = &refreshTokenError{event.ReasonReused, ": it was used before, so there may be a copy: the sign-in has ended"}
)

// Error returns the text for the log.
func (e *refreshTokenError) Error() string {
	return "tokenauth: the refresh token is invalid" + e.detail
}

// Is reports whether target is [ErrInvalidToken] or errRefreshToken.
func (e *refreshTokenError) Is(target error) bool {
	return target == ErrInvalidToken || target == errRefreshToken
}

// A roleError is an errMissingRole with the roles that the route needs and the
// roles that the user has.
type roleError struct{ needed, has []string }

func (e *roleError) Error() string {
	return fmt.Sprintf("%v: the route needs one of %q, the user has %q", errMissingRole, e.needed, e.has)
}

func (e *roleError) Unwrap() error { return errMissingRole }
