// Package host provides the users and clients of the application that embeds the
// services.
package host

import (
	"context"
	"fmt"
	"strconv"
	"sync"

	"github.com/bearerkit/bearerkit/tokenauth"
)

// A Directory is the host's table of users. Every name is a user, and the password is
// the name. Each change of a user sets a new stamp. The zero value has only enabled
// users. It is safe for concurrent use.
type Directory struct {
	mu    sync.RWMutex
	users map[string]Account
}

// Role is the role of every user who has not lost it ([Account.Roleless]).
const Role = "Reader"

// An Account is a row of a [Directory].
type Account struct {
	Disabled bool
	Roleless bool // whether the user lost [Role]
	Changes  int  // how often the user was changed
}

// Account returns the account of a user.
func (d *Directory) Account(user string) Account {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.users[user]
}

// SetDisabled disables or enables a user, and changes the stamp.
func (d *Directory) SetDisabled(user string, disabled bool) {
	d.Change(user, func(a *Account) { a.Disabled = disabled })
}

// Change changes a user and the stamp, and returns the changed account.
func (d *Directory) Change(user string, change func(*Account)) Account {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.users == nil {
		d.users = make(map[string]Account)
	}
	a := d.users[user]
	change(&a)
	a.Changes++
	d.users[user] = a
	return a
}

// Authenticate implements [tokenauth.Authenticator].
func (d *Directory) Authenticate(_ context.Context, c tokenauth.Credentials) (tokenauth.Principal, error) {
	a := d.Account(c.UserName)
	if a.Disabled || c.Password.Reveal() != c.UserName {
		return tokenauth.Principal{}, tokenauth.ErrRejected
	}
	return a.principal(c.UserName), nil
}

// principal returns the principal of the user with the account.
func (a Account) principal(user string) tokenauth.Principal {
	p := tokenauth.Principal{UserID: user, UserName: user, Stamp: a.stamp()}
	if !a.Roleless {
		p.Roles = []string{Role}
	}
	return p
}

func (a Account) stamp() string { return strconv.Itoa(a.Changes) }

// Recheck implements [tokenauth.Rechecker].
func (d *Directory) Recheck(_ context.Context, p tokenauth.Principal) error {
	if a := d.Account(p.UserID); a.Disabled || a.stamp() != p.Stamp {
		return tokenauth.ErrRejected
	}
	return nil
}

// Reload implements [tokenauth.Reloader].
func (d *Directory) Reload(_ context.Context, p tokenauth.Principal) (tokenauth.Principal, error) {
	a := d.Account(p.UserID)
	if a.Disabled || p.Stamp != "" && a.stamp() != p.Stamp {
		return tokenauth.Principal{}, tokenauth.ErrRejected
	}
	return a.principal(p.UserID), nil
}

// Client returns the ID of client n.
func Client(n int) string { return fmt.Sprint("client ", n) }
