package tokenauth

import "context"

// PasswordMatched records that the password is right, even if the
// [Authenticator] then rejects the sign-in for another reason. Call it in
// Authenticate as soon as the password was checked. Package password calls it
// itself. Outside of a sign-in it does nothing.
func (c Credentials) PasswordMatched() {
	if c.attempt != nil {
		c.attempt.right.Store(true)
	}
}

// Code returns the one-time code in the parameter, or the empty [Secret] if the
// request has none.
func (c Credentials) Code(ctx context.Context, parameter string) (Secret, error) {
	return c.Parameters[parameter], nil
}
