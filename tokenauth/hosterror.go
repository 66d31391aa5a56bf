package tokenauth

import (
	"errors"
	"reflect"
	"slices"
)

// A hostError is an error of this package that was caused by the host's code: a
// [Storage], an [Authenticator], a [ClientRegistry], a LiveCheck or a Fallback
// ([Options]).
//
// The Service acts on the decision only. The cause is for the host: [errors.Is]
// and [errors.As] find the host's own errors in the cause, but not this
// package's. An error of this package in the cause may come from another
// Service that the host's code called, so it must not change the decision of
// this Service.
type hostError struct {
	decision error  // such as ErrRejected or ErrUnavailable
	doing    string // the operation that failed; may be ""
	cause    error
}

// The func because returns an error that has the decision and its cause. If the
// cause adds nothing, it returns the decision itself.
func because(decision, cause error) error {
	if cause == ErrRejected || cause == decision {
		return decision
	}
	return &hostError{decision, "", cause}
}

// Error returns the decision's text, followed by the cause's. If the decision
// is [ErrRejected] or a [Rejection], it returns only the cause's text, because
// that usually includes the decision's.
func (e *hostError) Error() string {
	if errors.Is(e.decision, ErrRejected) {
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

// Is reports whether the cause matches target. It never matches an error listed
// in decisions, since such an error must not change what the Service decided.
// It matches [ErrBusy] only if the decision is [ErrUnavailable].
func (e *hostError) Is(target error) bool {
	if target == ErrBusy && e.decision != ErrUnavailable || slices.Contains(decisions, target) {
		return false
	}
	return errors.Is(e.cause, target)
}

// As finds an error in the cause by its type. It never finds an error whose
// type this package declares, since such an error must not change what the
// Service decided.
func (e *hostError) As(target any) bool {
	wanted := reflect.TypeOf(target).Elem()
	if wanted.Kind() == reflect.Pointer {
		wanted = wanted.Elem()
	}
	return wanted.PkgPath() != reflect.TypeFor[hostError]().PkgPath() && errors.As(e.cause, target)
}

// decisions are the errors of this package that [errors.Is] must not find in a
// cause. [ErrBusy] is not among them, because it may be the cause of an
// [ErrUnavailable].
var decisions = []error{
	ErrRejected, ErrInvalidClient, ErrThrottled, ErrInvalidToken, ErrExpiredToken, ErrReplacedToken,
	ErrUnavailable, ErrInvalidPrincipal, ErrTooManyKeys,
	errMalformed, errNoCredentials, errCrossSite, errMissingRole, errUnauthorizedClient, errKeyNotAdmitted, errPanic,
	errRefreshToken,
}
