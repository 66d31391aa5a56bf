package main

import (
	"context"
	"strconv"
	"sync"

	"github.com/bearerkit/bearerkit/tokenauth"
)

// A directory is the host's table of users: whoever asks exists, and can be
// disabled. Each change has a stamp of its own. The password is the name.
type directory struct {
	mu    sync.RWMutex
	users map[string]account
}

type account struct {
	disabled bool
	stamp    int
}

func (d *directory) account(user string) account {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.users[user]
}

func (d *directory) setDisabled(user string, disabled bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.users == nil {
		d.users = make(map[string]account)
	}
	d.users[user] = account{disabled, d.users[user].stamp + 1}
}

// Authenticate implements tokenauth.Authenticator.
func (d *directory) Authenticate(_ context.Context, c tokenauth.Credentials) (tokenauth.Principal, error) {
	a := d.account(c.UserName)
	if a.disabled || c.Password.Reveal() != c.UserName {
		return tokenauth.Principal{}, tokenauth.ErrRejected
	}
	return tokenauth.Principal{UserID: c.UserName, UserName: c.UserName, Roles: []string{"Reader"}, Stamp: strconv.Itoa(a.stamp)}, nil
}

// Recheck implements tokenauth.Rechecker.
func (d *directory) Recheck(_ context.Context, p tokenauth.Principal) error {
	if a := d.account(p.UserID); a.disabled || strconv.Itoa(a.stamp) != p.Stamp {
		return tokenauth.ErrRejected
	}
	return nil
}
