package main

import (
	"context"
	"fmt"

	"github.com/google/uuid"
	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/bearerkit/bearerkit/tokenauth"
	"github.com/bearerkit/bearerkit/tokenauth/password"
)

// A User is a row of the users table. Users sign in with their e-mail address.
type User struct {
	ID             string `gorm:"primaryKey;size:36"`
	Email          string `gorm:"uniqueIndex;size:254"`
	PasswordHash   string
	EmailConfirmed bool

	// TOTPSecret is the secret that the user's authenticator app has, in base32.
	// Sign-ins need its codes once TOTPOn is true.
	TOTPSecret string
	TOTPOn     bool
	// TOTPStep is the time step of the last code that was used (RFC 6238 §4.2).
	// Only codes of later time steps are accepted.
	TOTPStep int64 `gorm:"not null;default:0"`
}

// account is a [password.Lookup] that reads the users table.
func (s *service) account(ctx context.Context, email string) (password.Account, error) {
	var u User
	// Find, not Take: it does not log the address if no row has it.
	found := s.db.WithContext(ctx).Where("email = ?", email).Limit(1).Find(&u)
	if found.Error != nil {
		return password.Account{}, found.Error
	}
	if found.RowsAffected == 0 {
		return password.Account{}, tokenauth.ErrNotFound
	}
	return password.Account{
		UserID:       u.ID,
		UserName:     u.Email,
		PasswordHash: u.PasswordHash,
		// With TOTPOn in the stamp, turning the factor on rejects a sign-in
		// that is in progress without a code.
		Stamp: fmt.Sprint(u.PasswordHash, u.TOTPOn),
		Row:   u, // for check, and for the handlers that call VerifyPassword
	}, nil
}

// The password of the trial users is in this file, so anyone can know it.
const trialPassword = "correct horse battery staple"

// createTrialUsers creates the table and its users, unless they exist.
func createTrialUsers(ctx context.Context, db *gorm.DB) error {
	if err := db.WithContext(ctx).AutoMigrate(&User{}); err != nil {
		return err
	}
	hash, err := password.Hash(trialPassword)
	if err != nil {
		return err
	}
	users := []User{
		{Email: "alice@example.com", EmailConfirmed: true},
		{Email: "bob@example.com"},
	}
	for i := range users {
		users[i].ID, users[i].PasswordHash = uuid.NewString(), hash
	}
	return db.WithContext(ctx).Clauses(clause.OnConflict{DoNothing: true}).Create(&users).Error
}
