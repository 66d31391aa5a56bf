package tokenauth

import (
	"context"
	"errors"
)

// unavailable makes an ErrUnavailable of a failure.
func unavailable(doing string, err error) error {
	return &hostError{ErrUnavailable, doing, err}
}

// hostFailed is unavailable for the host's code. It names the error with which
// that says no: a driver's "not found", passed on as it is, is a failure.
func hostFailed(what, no string, err error) error {
	if !errors.Is(err, ErrBusy) && !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded) {
		what += " failed (it returns " + no + ")"
	}
	return unavailable(what, err)
}
