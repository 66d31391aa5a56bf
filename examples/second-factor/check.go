package main

import (
	"context"

	"github.com/pquerna/otp/hotp"

	"github.com/bearerkit/bearerkit/tokenauth"
	"github.com/bearerkit/bearerkit/tokenauth/password"
)

// The reasons for which a user with the right password may not sign in.
var (
	errEmailNotConfirmed = &tokenauth.Rejection{Description: "Confirm your e-mail address first."}
	errCodeRequired      = &tokenauth.Rejection{Code: "mfa_required", Description: "Send a code of your authenticator app in the parameter otp."}
	errCodeWrong         = &tokenauth.Rejection{Description: "The code is wrong, or was used before."}
)

// check is the [password.Options.Check]. It runs once the password is right.
func (s *service) check(ctx context.Context, a password.Account, c tokenauth.Credentials) error {
	user := a.Row.(User)
	if !user.EmailConfirmed {
		return errEmailNotConfirmed
	}
	if !user.TOTPOn {
		return nil
	}
	code, err := c.Code(ctx, codeParameter)
	if err != nil {
		return err // for example after too many wrong codes
	}
	if code.Reveal() == "" {
		return errCodeRequired
	}
	used, err := s.useCode(ctx, user, code.Reveal())
	if err == nil && !used {
		return errCodeWrong
	}
	return err
}

// useCode uses up a code of the user's authenticator app. It returns false if the
// code is wrong or was used before. The first code turns the factor on.
func (s *service) useCode(ctx context.Context, user User, code string) (bool, error) {
	step, ok := s.timeStep(user.TOTPSecret, code)
	if !ok {
		return false, nil
	}
	// All replicas may get the same code at the same time. Only one of these
	// statements changes the row.
	used := s.db.WithContext(ctx).Model(&User{}).
		Where("id = ? AND totp_secret = ? AND totp_step < ?", user.ID, user.TOTPSecret, step).
		Updates(map[string]any{"totp_step": step, "totp_on": true})
	return used.RowsAffected == 1, used.Error
}

// period is the length of a time step in seconds (RFC 6238 §4.1).
const period = 30

// timeStep returns the time step of a code. It accepts codes of three time steps,
// because the clock of the authenticator app may be wrong by one. If two of them
// have the same code, it returns the later one, so that the code works only once.
func (s *service) timeStep(secret, code string) (step int64, ok bool) {
	if secret == "" { // codes of the empty secret are known to all
		return 0, false
	}
	now := s.now().Unix() / period
	for step := now + 1; step >= now-1; step-- {
		if hotp.Validate(code, uint64(step), secret) { // compares in constant time
			return step, true
		}
	}
	return 0, false
}
