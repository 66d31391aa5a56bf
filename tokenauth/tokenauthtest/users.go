package tokenauthtest

import (
	"context"
	"sync"

	"github.com/bearerkit/bearerkit/tokenauth"
)

// Users are users who can sign in, with passwords that are compared as they
// are: nothing is hashed, so that tests are fast. The zero value is ready and
// has nobody. They are safe for concurrent use.
type Users struct {
	mu     sync.RWMutex
	byName map[string]user
}

type user struct {
	principal tokenauth.Principal
	password  tokenauth.Secret
}

var (
	_ tokenauth.Authenticator = (*Users)(nil)
	_ tokenauth.Rechecker     = (*Users)(nil)
)

// Add adds the user p.UserName, in place of the one who has the name.
func (u *Users) Add(p tokenauth.Principal, password string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.byName == nil {
		u.byName = make(map[string]user)
	}
	u.byName[p.UserName] = user{p.Clone(), tokenauth.NewSecret(password)}
}

// Remove removes the user. Tokens stay good, as they do with any users, until
// Service.RevokeUser ends them.
func (u *Users) Remove(userName string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	delete(u.byName, userName)
}

// Authenticate implements tokenauth.Authenticator.
func (u *Users) Authenticate(_ context.Context, c tokenauth.Credentials) (tokenauth.Principal, error) {
	u.mu.RLock()
	defer u.mu.RUnlock()
	found, ok := u.byName[c.UserName]
	if !ok || found.password.Reveal() != c.Password.Reveal() {
		return tokenauth.Principal{}, tokenauth.ErrRejected
	}
	return found.principal.Clone(), nil
}

// Recheck implements tokenauth.Rechecker.
func (u *Users) Recheck(_ context.Context, p tokenauth.Principal) error {
	u.mu.RLock()
	defer u.mu.RUnlock()
	found, ok := u.byName[p.UserName]
	if !ok || found.principal.UserID != p.UserID || found.principal.Stamp != p.Stamp {
		return tokenauth.ErrRejected
	}
	return nil
}
