// Package host is the app that embeds the services: its users and its clients.
package host

import (
	"context"
	"fmt"
	"strconv"
	"sync"

	"github.com/bearerkit/bearerkit/tokenauth"
)

// A Directory is the host's table of users. Every name is a user, whose password is
// the name. A user can be disabled. Each change sets a new stamp.
type Directory struct {
	mu    sync.RWMutex
	users map[string]Account
}

// An Account is a row of a Directory.
type Account struct {
	Disabled bool
	stamp    int
}

// Account returns the account of a user.
func (d *Directory) Account(user string) Account {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.users[user]
}

// SetDisabled disables or enables a user.
func (d *Directory) SetDisabled(user string, disabled bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.users == nil {
		d.users = make(map[string]Account)
	}
	d.users[user] = Account{disabled, d.users[user].stamp + 1}
}

// Authenticate implements tokenauth.Authenticator.
func (d *Directory) Authenticate(_ context.Context, c tokenauth.Credentials) (tokenauth.Principal, error) {
	a := d.Account(c.UserName)
	if a.Disabled || c.Password.Reveal() != c.UserName {
		return tokenauth.Principal{}, tokenauth.ErrRejected
	}
	return tokenauth.Principal{UserID: c.UserName, UserName: c.UserName, Roles: []string{"Reader"}, Stamp: strconv.Itoa(a.stamp)}, nil
}

// Recheck implements tokenauth.Rechecker.
func (d *Directory) Recheck(_ context.Context, p tokenauth.Principal) error {
	if a := d.Account(p.UserID); a.Disabled || strconv.Itoa(a.stamp) != p.Stamp {
		return tokenauth.ErrRejected
	}
	return nil
}

// Client returns the ID of the client with the number.
func Client(n int) string { return fmt.Sprint("client ", n) }
