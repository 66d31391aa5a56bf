package tokenauth

// A Rejection is an [ErrRejected] with a reason for the client, such as
// "confirm your e-mail address" or "send a one-time code". An [Authenticator]
// returns it, possibly wrapped, and [Service.SignIn] returns it to its caller.
//
// The client gets the reason only if the password was right. Otherwise the
// response is that of any wrong password, so that strangers learn nothing. The
// password counts as right after package password accepted it, or after the
// Authenticator called [Credentials.PasswordMatched].
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
	return ErrRejected.Error() + ": " + r.Code + ": " + r.Description
}

// Is reports whether target is [ErrRejected].
func (r *Rejection) Is(target error) bool { return target == ErrRejected }
