package main

import (
	"context"
	"time"

	"github.com/pquerna/otp/hotp"
	"gorm.io/gorm"

	"github.com/bearerkit/bearerkit/tokenauth"
	"github.com/bearerkit/bearerkit/tokenauth/password"
)

// A factor is a row of a table beside that of the users. It is not an attribute of
// the user, because attributes become part of each token.
type factor struct {
	UserID string `gorm:"primaryKey;size:36"`
	// Secret is the secret that the user's authenticator app has, in base32.
	// Encrypt it in your service, with a key that is not in the database.
	Secret string `gorm:"size:64;not null"`
	// Step is the time step of the last code that was used (RFC 6238 §4.2).
	Step int64 `gorm:"not null;default:0"`
}

func (factor) TableName() string { return "consumer_factors" }

// passwordChange is the client ID of a password change, for which check needs no
// code: its user is signed in.
const passwordChange = "password change"

// check is a [password.Options.Check]. It runs once the password is right.
func check(db *gorm.DB) func(context.Context, password.Account, tokenauth.Credentials) error {
	return func(ctx context.Context, a password.Account, c tokenauth.Credentials) error {
		if c.ClientID == passwordChange {
			return nil
		}
		var f factor
		found := db.WithContext(ctx).Where("user_id = ?", a.UserID).Limit(1).Find(&f)
		if found.Error != nil || found.RowsAffected == 0 {
			return found.Error // without a factor, the password is enough
		}
		code, err := c.Code(ctx, codeParameter)
		if err != nil {
			return err // for example after too many wrong codes
		}
		if code.Reveal() == "" {
			return &tokenauth.Rejection{Code: "mfa_required", Description: "Send a code of your authenticator app in the parameter otp."}
		}
		used, err := f.use(ctx, db, code.Reveal())
		if err == nil && !used {
			return &tokenauth.Rejection{Description: "The code is wrong, or was used before."}
		}
		return err
	}
}

// use uses up a code. It returns false if the code is wrong or was used before.
func (f factor) use(ctx context.Context, db *gorm.DB, code string) (bool, error) {
	now := time.Now().Unix() / 30
	for step := now + 1; step >= now-1; step-- { // the app's clock may be wrong by 30 seconds
		if hotp.Validate(code, uint64(step), f.Secret) {
			// All processes may get the same code at the same time. Only one of
			// these statements changes the row.
			used := db.WithContext(ctx).Model(&factor{}).Where("user_id = ? AND step < ?", f.UserID, step).Update("step", step)
			return used.RowsAffected == 1, used.Error
		}
	}
	return false, nil
}
