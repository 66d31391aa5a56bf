package tokenauth

import (
	"context"
	"errors"
)

// unavailable wraps a failure as an [ErrUnavailable].
func unavailable(doing string, err error) error {
	return &hostError{ErrUnavailable, doing, err}
}

// hostFailed is unavailable for the host's code. The text also names the error
// that the code should return to say no: a common mistake is to return a
// driver's "not found" as it is.
func hostFailed(what, no string, err error) error {
	if !errors.Is(err, ErrBusy) && !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded) {
		what += " failed (it must return " + no + ")"
	}
	return unavailable(what, err)
}
