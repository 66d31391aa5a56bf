package tokenauth

import (
	"cmp"
	"errors"
	"strings"

	"github.com/bearerkit/bearerkit/tokenauth/internal/wire"
)

// A Rejection is an [ErrRejected] with a reason for the client, such as
// "confirm your e-mail address" or "send a one-time code". An [Authenticator]
// returns it, possibly wrapped, and [Service.SignIn] returns it to its caller.
//
// The client gets the reason only if the password was right. Otherwise the
// response is that of any wrong password, so that strangers learn nothing. The
// password counts as right after package password accepted it, or after the
// Authenticator called [Credentials.PasswordMatched].
//
// If Code or Description is not valid, the Service logs an error, and the
// response is that of a wrong password, too.
type Rejection struct {
	// Code is the value of "error" in the response, such as "mfa_required". It
	// has 1 to 64 bytes of printable ASCII without space, quotes and backslashes.
	// Empty means "invalid_grant".
	Code string
	// Description is the value of "error_description": 1 to 256 bytes of
	// printable ASCII without quotes and backslashes (RFC 6749 §5.2). It should
	// be a constant, and must not contain what the client sent.
	Description string
}

// Error returns the code and the description.
func (r *Rejection) Error() string {
	if r == nil {
		return ErrRejected.Error()
	}
	return ErrRejected.Error() + ": " + r.code() + ": " + r.Description
}

// Is reports whether target is [ErrRejected].
func (r *Rejection) Is(target error) bool { return target == ErrRejected }

func (r *Rejection) code() string { return cmp.Or(r.Code, wire.InvalidGrant) }

// check returns an error if the reason cannot be sent. The error does not quote
// the field, because it may contain what the client sent.
func (r *Rejection) check() error {
	switch {
	case r == nil:
		return errors.New("the Rejection is nil")
	case len(r.Code) > 64 || strings.ContainsFunc(r.Code, notQuotable) || strings.Contains(r.Code, " "):
		return errors.New("Rejection.Code must have at most 64 bytes of printable ASCII without space, quotes and backslashes")
	case r.Description == "" || len(r.Description) > 256 || strings.ContainsFunc(r.Description, notQuotable):
		return errors.New("Rejection.Description must have 1 to 256 bytes of printable ASCII without quotes and backslashes")
	}
	return nil
}
