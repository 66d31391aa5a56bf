package tokenauth

import (
	"errors"
	"fmt"
	"time"
)

var (
	// ErrRejected is returned by SignIn, Authenticators and Recheckers for
	// credentials that are not valid, whatever the reason.
	ErrRejected = errors.New("tokenauth: the user name or password is incorrect")

	// ErrInvalidClient is returned by SignIn, with a registry of clients, for a
	// client that is unknown or disabled, or does not prove its secret.
	ErrInvalidClient = errors.New("tokenauth: invalid client")

	// ErrThrottled is returned by SignIn, as a ThrottledError, after too many
	// failures. The credentials were not checked, and may be valid.
	ErrThrottled = errors.New("tokenauth: too many failed sign-ins")

	// ErrInvalidToken is returned by Validate for a token that is not valid:
	// malformed, unknown, revoked, replaced or expired. RevokeToken returns it
	// for a token without a digest.
	ErrInvalidToken = errors.New("tokenauth: the access token is invalid")

	// ErrExpiredToken is the ErrInvalidToken that Validate returns for a token
	// that has expired, to whoever holds that very token.
	ErrExpiredToken = fmt.Errorf("%w: it has expired", ErrInvalidToken)

	// ErrReplacedToken is the ErrInvalidToken that Validate returns for the token
	// that the present one replaced, to whoever holds that very token: the user
	// signed in again at the same client.
	ErrReplacedToken = fmt.Errorf("%w: it was replaced by a newer sign-in", ErrInvalidToken)

	// ErrUnavailable is returned by every method of Service, wrapped around the
	// cause, if the storage or the host's code failed or took too long. The
	// credentials or the token may be valid.
	ErrUnavailable = errors.New("tokenauth: temporarily unavailable")

	// ErrBusy is returned, possibly wrapped, by an Authenticator that has too
	// many sign-ins to do. SignIn returns it as ErrUnavailable. The Service does
	// not log it for each request: the Authenticator logs its overload.
	ErrBusy = errors.New("tokenauth: busy")

	// ErrInvalidPrincipal is returned, wrapped with the name of the field, by
	// Issue and SignIn for a principal that cannot be stored, and by RevokeUser
	// for an empty UserID.
	ErrInvalidPrincipal = errors.New("tokenauth: invalid principal")

	// ErrNotFound is returned by Storage.Find for an empty slot, by
	// ClientRegistry.FindClient for an unknown client, and by look-ups of users
	// for an unknown user.
	ErrNotFound = errors.New("tokenauth: not found")

	// ErrCorrupt is returned, wrapped, by Storage.Find for a stored token that it
	// cannot read. The Service rejects the token as invalid, so that its client
	// signs in again, and logs the error.
	ErrCorrupt = errors.New("tokenauth: stored token is corrupt")
)

// A ThrottledError is the ErrThrottled that says after how long to try again.
type ThrottledError struct{ RetryAfter time.Duration }

// Error does not print the time, which depends on the account.
func (e *ThrottledError) Error() string { return ErrThrottled.Error() }

// Is reports whether target is ErrThrottled.
func (e *ThrottledError) Is(target error) bool { return target == ErrThrottled }

// The causes of error responses that no method of Service returns.
var (
	errMalformed          = errors.New("tokenauth: malformed request")
	errNoCredentials      = errors.New("tokenauth: no credentials")
	errMissingRole        = errors.New("tokenauth: the user does not have the role")
	errUnauthorizedClient = errors.New("tokenauth: the client may not do this")
	errPanic              = errors.New("tokenauth: panic")
	errForeignRow         = errors.New("the storage returned another slot's token")
)

// A roleError is the errMissingRole that names the roles.
type roleError struct{ needed, has []string }

func (e *roleError) Error() string {
	return fmt.Sprintf("%v: it needs one of %q, and has %q", errMissingRole, e.needed, e.has)
}

func (e *roleError) Unwrap() error { return errMissingRole }
