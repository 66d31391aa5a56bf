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

// An Account is a row of a [Directory].
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

// SetDisabled disables or enables a user, and changes the stamp.
func (d *Directory) SetDisabled(user string, disabled bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.users == nil {
		d.users = make(map[string]Account)
	}
	d.users[user] = Account{disabled, d.users[user].stamp + 1}
}

// Authenticate implements [tokenauth.Authenticator].
func (d *Directory) Authenticate(_ context.Context, c tokenauth.Credentials) (tokenauth.Principal, error) {
	a := d.Account(c.UserName)
	if a.Disabled || c.Password.Reveal() != c.UserName {
		return tokenauth.Principal{}, tokenauth.ErrRejected
	}
	return tokenauth.Principal{UserID: c.UserName, UserName: c.UserName, Roles: []string{"Reader"}, Stamp: strconv.Itoa(a.stamp)}, nil
}

// Recheck implements [tokenauth.Rechecker].
func (d *Directory) Recheck(_ context.Context, p tokenauth.Principal) error {
	if a := d.Account(p.UserID); a.Disabled || strconv.Itoa(a.stamp) != p.Stamp {
		return tokenauth.ErrRejected
	}
	return nil
}

// Reload implements [tokenauth.Reloader].
func (d *Directory) Reload(ctx context.Context, p tokenauth.Principal) (tokenauth.Principal, error) {
	return p, d.Recheck(ctx, p)
}

// Client returns the ID of client n.
func Client(n int) string { return fmt.Sprint("client ", n) }
