package tokenauth

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
)

// decisions are what a failure must never look like.
var decisions = []error{ErrRejected, ErrInvalidToken, ErrThrottled, ErrInvalidClient, ErrInvalidPrincipal}

func isDecision(err error) bool {
	if response := (*ErrorResponse)(nil); errors.As(err, &response) && response.Status < http.StatusInternalServerError {
		return true
	}
	return slices.ContainsFunc(decisions, func(decision error) bool { return errors.Is(err, decision) })
}

// unavailable makes an ErrUnavailable of a failure. It unwraps to its cause,
// unless the cause is a decision: a storage, a registry or a fallback that asks
// another Service may return that one's.
func unavailable(doing string, err error) error {
	if isDecision(err) {
		return fmt.Errorf("%w: %s: %v", ErrUnavailable, doing, err)
	}
	return fmt.Errorf("%w: %s: %w", ErrUnavailable, doing, err)
}

// hostFailed is unavailable for the host's code. It names the error with which
// that says no: a driver's "not found", passed on as it is, is a failure.
func hostFailed(what, no string, err error) error {
	if !errors.Is(err, ErrBusy) && !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded) {
		what += " failed (it returns " + no + ")"
	}
	return unavailable(what, err)
}
