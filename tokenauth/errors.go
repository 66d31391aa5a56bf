package tokenauth

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
)

var (
	// ErrRejected is returned by SignIn, Authenticators and Recheckers for
	// credentials that are not good, for whatever reason.
	ErrRejected = errors.New("tokenauth: the user name or password is incorrect")

	// ErrInvalidToken is returned by Validate for a token that is not good:
	// malformed, unknown, revoked, replaced or expired.
	ErrInvalidToken = errors.New("tokenauth: the access token is invalid")

	// ErrExpiredToken is the ErrInvalidToken that Validate returns to whoever
	// holds a token that has expired.
	ErrExpiredToken = fmt.Errorf("%w: it has expired", ErrInvalidToken)

	// ErrReplacedToken is the ErrInvalidToken that Validate returns to whoever
	// holds the token that the slot's present one replaced: the same user
	// signed in at the same client again.
	ErrReplacedToken = fmt.Errorf("%w: it was replaced by a newer sign-in", ErrInvalidToken)

	// ErrUnavailable is what every method of Service returns, wrapped around
	// the cause, if the storage or the users could not be asked in time. It
	// says nothing about the credentials or the token.
	ErrUnavailable = errors.New("tokenauth: temporarily unavailable")

	// ErrBusy is returned, possibly wrapped, by Authenticators that have as
	// much to do as they may; SignIn returns it as ErrUnavailable. Unlike
	// other trouble it is not logged for each request: the Authenticator tells
	// the operator.
	ErrBusy = errors.New("tokenauth: busy")

	// ErrInvalidPrincipal is returned, wrapped with the name of the field, by
	// Issue and SignIn for a principal that cannot be stored, and by RevokeUser
	// for an empty UserID.
	ErrInvalidPrincipal = errors.New("tokenauth: invalid principal")
)

// refusals are what trouble must never pass for.
var refusals = []error{ErrRejected, ErrInvalidToken, ErrThrottled, ErrInvalidClient, ErrInvalidPrincipal}

func isRefusal(err error) bool {
	if refusal := (*Refusal)(nil); errors.As(err, &refusal) && refusal.Status < http.StatusInternalServerError {
		return true
	}
	return slices.ContainsFunc(refusals, func(refusal error) bool { return errors.Is(err, refusal) })
}

// unavailable marks err as trouble that says nothing about who is calling. It
// unwraps to its cause, but not to a refusal: a storage, a registry or a
// fallback that asks another Service may pass on what that one refused.
func unavailable(doing string, err error) error {
	if isRefusal(err) {
		return fmt.Errorf("%w: %s: %v", ErrUnavailable, doing, err)
	}
	return fmt.Errorf("%w: %s: %w", ErrUnavailable, doing, err)
}

// hostFailed is unavailable for what the host supplied. It says what that
// returns for a plain no: a driver's "not found" that was passed on as it is
// looks like trouble.
func hostFailed(what, no string, err error) error {
	if !errors.Is(err, ErrBusy) && !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded) {
		what += " failed (it returns " + no + ")"
	}
	return unavailable(what, err)
}
