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
// and [errors.As] find the host's own errors in it, but not the errors of this
// package. Such an error may come from another Service that the host's code
// called, and must not change the decision here.
type hostError struct {
	decision error  // such as ErrRejected or ErrUnavailable
	doing    string // the operation that failed; may be ""
	cause    error
}

// because returns the decision with its cause, or the plain decision if the
// cause adds nothing.
func because(decision, cause error) error {
	if cause == ErrRejected || cause == decision {
		return decision
	}
	return &hostError{decision, "", cause}
}

// Error returns the text of the decision and of the cause. The cause of an
// [ErrRejected] wraps it, so its text has both.
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

// Is reports whether the cause matches the target. It returns false for the
// decisions of this package, and for [ErrBusy] unless the decision is
// [ErrUnavailable].
func (e *hostError) Is(target error) bool {
	if target == ErrBusy && e.decision != ErrUnavailable || slices.Contains(decisions, target) {
		return false
	}
	return errors.Is(e.cause, target)
}

// As finds an error of the host's own type in the cause. It ignores the types
// of this package, which could change the decision.
func (e *hostError) As(target any) bool {
	wanted := reflect.TypeOf(target).Elem()
	if wanted.Kind() == reflect.Pointer {
		wanted = wanted.Elem()
	}
	return wanted.PkgPath() != reflect.TypeFor[hostError]().PkgPath() && errors.As(e.cause, target)
}

// decisions are the errors that [errors.Is] must not find in a cause. [ErrBusy]
// is one more, unless the decision is [ErrUnavailable].
var decisions = []error{
	ErrRejected, ErrInvalidClient, ErrThrottled, ErrInvalidToken, ErrExpiredToken, ErrReplacedToken,
	ErrUnavailable, ErrInvalidPrincipal,
	errMalformed, errNoCredentials, errMissingRole, errUnauthorizedClient, errPanic,
}
