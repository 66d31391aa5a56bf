package main

import (
	"context"
	"errors"
	"fmt"
	"net"

	"gorm.io/gorm/clause"

	"github.com/bearerkit/bearerkit/storage/gormstore"
	"github.com/bearerkit/bearerkit/tokenauth"
	"github.com/bearerkit/bearerkit/tokenauth/password"
)

// users are the users who can sign in. [gormstore.Users] has all that a service
// without a users table of its own needs.
type users interface {
	tokenauth.Authenticator
	SetPassword(ctx context.Context, id string, newPassword tokenauth.Secret, keep ...tokenauth.Token) error
}

// inMemory are users in memory, whose tokens are in another storage. It does not
// embed [gormstore.Users], because it leaves out the methods of
// [tokenauth.RevocationQueue]: with these, Run would also end the token that
// changePassword keeps.
type inMemory func() *gormstore.Users

func (u inMemory) Authenticate(ctx context.Context, c tokenauth.Credentials) (tokenauth.Principal, error) {
	return u().Authenticate(ctx, c)
}

func (u inMemory) Recheck(ctx context.Context, p tokenauth.Principal) error {
	return u().Recheck(ctx, p)
}

// Reload accepts a user with a new password, whom [gormstore.Users.Reload] refuses: the
// token that changePassword keeps still has the stamp of the old one.
func (u inMemory) Reload(ctx context.Context, p tokenauth.Principal) (tokenauth.Principal, error) {
	now, err := u().Principal(ctx, p.UserID)
	if errors.Is(err, tokenauth.ErrNotFound) {
		err = tokenauth.ErrRejected
	}
	return now, err
}

func (u inMemory) SetPassword(ctx context.Context, id string, newPassword tokenauth.Secret, _ ...tokenauth.Token) error {
	return u().SetPassword(ctx, id, newPassword) // changePassword ends the other tokens
}

// The trial users. Their password and the secret are in this file, so they are
// public.
var trialUsers = []gormstore.User{
	{ID: "user-1", Name: "username", Roles: []string{"Administrator"}},
	{ID: "user-2", Name: "reader", Roles: []string{"Reader"}},
	{ID: "user-3", Name: "mfa", Roles: []string{"Reader"}},
}

const (
	trialPassword = "password"
	trialSecret   = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP" // of the user mfa
)

// createTrialUsers creates the trial users if the store is empty. If other machines
// can reach the address, it creates no users. In that case it returns an error if
// the store is empty, or has a trial user with the public password.
func createTrialUsers(ctx context.Context, s *store, listening net.Addr) (created bool, err error) {
	n, err := s.table.Count(ctx)
	if err != nil {
		return false, err
	}
	switch public := !isLoopback(listening); {
	case public && n == 0:
		return false, fmt.Errorf("the store is empty, and trial users with a public password cannot be created: "+
			"other machines can reach the address %s; listen on a loopback address such as 127.0.0.1:8080", listening)
	case public:
		return false, refuseTrialUsers(ctx, s.users, listening)
	case n > 0:
		return false, nil
	}
	hash, err := password.Hash(trialPassword)
	if err != nil {
		return false, err
	}
	// The factor comes first: without it, mfa could sign in without a code.
	factor := factor{UserID: "user-3", Secret: trialSecret}
	if err := s.db.WithContext(ctx).Clauses(clause.OnConflict{DoNothing: true}).Create(&factor).Error; err != nil {
		return false, err
	}
	for _, user := range trialUsers {
		// Another process that starts on the same store may create them first.
		if _, err := s.table.Import(ctx, user, hash); err != nil && !errors.Is(err, gormstore.ErrExists) {
			return false, err
		}
	}
	return true, nil
}

// refuseTrialUsers returns an error if a trial user still has the public password.
func refuseTrialUsers(ctx context.Context, users tokenauth.Authenticator, listening net.Addr) error {
	for _, user := range trialUsers {
		_, err := users.Authenticate(ctx, tokenauth.Credentials{UserName: user.Name, Password: tokenauth.NewSecret(trialPassword)})
		var rejection *tokenauth.Rejection // after the right password
		switch {
		case err == nil || errors.As(err, &rejection):
			return fmt.Errorf("the store has the trial user %q with its public password, and other machines can reach the address %s; "+
				"listen on a loopback address such as 127.0.0.1:8080, or use another -store", user.Name, listening)
		case !errors.Is(err, tokenauth.ErrRejected):
			return err
		}
	}
	return nil
}
