package tokenauth

import (
	"errors"
	"reflect"
	"slices"
)

// A hostError is an error of this package that code of the host caused: a
// storage, an authenticator, a registry, a live check or a fallback.
//
// The Service goes by the decision. The cause is for the host: errors.Is and
// errors.As find in it what the host wrapped, but no error of this package. Such
// a one may be another Service's refusal, and decides nothing here.
type hostError struct {
	decision error
	doing    string // or ""
	cause    error
}

// because returns the decision with its cause, or as it is if the cause says
// nothing more.
func because(decision, cause error) error {
	if cause == ErrRejected || cause == decision {
		return decision
	}
	return &hostError{decision, "", cause}
}

// Error has the text of both. The cause of an ErrRejected wraps that, and so has
// its text.
func (e *hostError) Error() string {
	if e.decision == ErrRejected {
		return e.cause.Error()
	}
	text := e.decision.Error()
	if e.doing != "" {
		text += ": " + e.doing
	}
	return text + ": " + e.cause.Error()
}

// Unwrap returns the decision.
func (e *hostError) Unwrap() error { return e.decision }

// Is reports whether the cause is the target. The target may be an error of this
// package only if it decides nothing.
func (e *hostError) Is(target error) bool {
	if target == ErrBusy && e.decision != ErrUnavailable || slices.Contains(decisions, target) {
		return false
	}
	return errors.Is(e.cause, target)
}

// As finds an error of the host's own type in the cause. The types of this package
// decide, too.
func (e *hostError) As(target any) bool {
	wanted := reflect.TypeOf(target).Elem()
	if wanted.Kind() == reflect.Pointer {
		wanted = wanted.Elem()
	}
	return wanted.PkgPath() != reflect.TypeFor[hostError]().PkgPath() && errors.As(e.cause, target)
}

// decisions are the errors that errors.Is does not find in a cause. ErrBusy is one
// of them, except in the cause of a failure.
var decisions = []error{
	ErrRejected, ErrInvalidClient, ErrThrottled, ErrInvalidToken, ErrExpiredToken, ErrReplacedToken,
	ErrUnavailable, ErrInvalidPrincipal,
	errMalformed, errNoCredentials, errMissingRole, errUnauthorizedClient, errPanic,
}
