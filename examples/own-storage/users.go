package main

import (
	"context"

	"github.com/bearerkit/bearerkit/tokenauth"
	"github.com/bearerkit/bearerkit/tokenauth/password"
)

// trialUsers returns an authenticator for users in memory. A real service looks up
// its users in its own table.
func trialUsers() (*password.Authenticator, error) {
	hash, err := password.Hash("password")
	if err != nil {
		return nil, err
	}
	accounts := map[string]password.Account{
		"alice": {UserID: "user-1", UserName: "alice", PasswordHash: hash, Roles: []string{"Administrator"}, Stamp: "1"},
		"bob":   {UserID: "user-2", UserName: "bob", PasswordHash: hash, Roles: []string{"Reader"}, Stamp: "1"},
	}
	return password.New(func(_ context.Context, userName string) (password.Account, error) {
		account, ok := accounts[userName]
		if !ok {
			return password.Account{}, tokenauth.ErrNotFound
		}
		return account, nil
	}, nil)
}
