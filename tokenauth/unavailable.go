package tokenauth

import (
	"context"
	"errors"
)

// unavailable wraps a failure as an [ErrUnavailable]. The parameter doing
// describes the work that failed, such as "finding a token".
func unavailable(doing string, err error) error {
	return &hostError{ErrUnavailable, doing, err}
}

// hostFailed wraps a failure of the host's code as an [ErrUnavailable]. The
// error's text also names the error that the code must return to reject a
// request, because a common mistake is to return a driver's own "not found"
// instead.
func hostFailed(what, no string, err error) error {
	if !errors.Is(err, ErrBusy) && !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded) {
		what += " failed (it must return " + no + ")"
	}
	return unavailable(what, err)
}
