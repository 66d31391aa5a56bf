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
// request has none. An [Authenticator] calls it after the password was right,
// for an account that needs a code, and then verifies the code.
//
// The code counts as wrong until Authenticate accepts the sign-in. Wrong codes
// count for the account of [Credentials.CountAttempt], or else for the user
// name, from all sources together. They have limits of their own
// ([ThrottleOptions]), and do not count as failed sign-ins. A rejection of a
// request without a code counts as nothing, because the client can only learn
// from it that it must send one.
//
//   - If a limit blocks the account's codes, Code returns [ErrThrottled]. Do
//     not verify the code, and return the error unchanged.
//   - It returns [ErrUnavailable] if the code could not be counted.
//   - It returns an error if it is called before the password was right
//     ([Credentials.PasswordMatched]). Otherwise a stranger could use up the
//     account's wrong codes.
//
// Authenticate must return [ErrRejected] or a [Rejection] for a wrong code. Any
// other error means that the code was not verified, and then it does not count.
// If a request has codes in several parameters, each counts. If Authenticate
// verifies a code for several accounts, it counts for each of them: call
// CountAttempt and then Code for each.
//
// Outside of a sign-in, as in a unit test, Code only returns the parameter.
func (c Credentials) Code(ctx context.Context, parameter string) (Secret, error) {
	code := c.Parameters[parameter]
	if c.attempt != nil {
		if err := c.attempt.countCode(ctx, parameter, code.Reveal() != ""); err != nil {
			return Secret{}, err
		}
	}
	return code, nil
}
