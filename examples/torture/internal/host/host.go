// Package host is the app around the services: its table of users and its
// clients.
package host

import (
	"context"
	"fmt"
	"strconv"
	"sync"

	"github.com/bearerkit/bearerkit/tokenauth"
)

// A Directory is the host's table of users: whoever asks exists, and can be
// disabled. Each change has a stamp of its own. The password is the name.
type Directory struct {
	mu    sync.RWMutex
	users map[string]Account
}

type Account struct {
	Disabled bool
	stamp    int
}

func (d *Directory) Account(user string) Account {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.users[user]
}

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

// Client returns the name of a client, which each host has.
func Client(n int) string { return fmt.Sprint("client ", n) }
