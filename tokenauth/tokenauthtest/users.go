package tokenauthtest

import (
	"context"
	"sync"

	"github.com/bearerkit/bearerkit/tokenauth"
)

// Users is a [tokenauth.Authenticator] for tests, with the users that the test
// adds. It stores and compares passwords without hashing, so that sign-ins are
// fast. The zero value is ready to use and has no users. It is safe for
// concurrent use.
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

// Add adds a user, who can then sign in with p.UserName and the password. It
// replaces a user with the same name. Names are compared exactly.
func (u *Users) Add(p tokenauth.Principal, password string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.byName == nil {
		u.byName = make(map[string]user)
	}
	u.byName[p.UserName] = user{p.Clone(), tokenauth.NewSecret(password)}
}

// Remove removes the user with that name, if there is one. As with any
// [tokenauth.Authenticator], the user's tokens stay valid.
// [tokenauth.Service.RevokeUser] revokes them.
func (u *Users) Remove(userName string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	delete(u.byName, userName)
}

// Authenticate implements [tokenauth.Authenticator]. It returns
// [tokenauth.ErrRejected] for an unknown user and for a wrong password.
func (u *Users) Authenticate(_ context.Context, c tokenauth.Credentials) (tokenauth.Principal, error) {
	u.mu.RLock()
	defer u.mu.RUnlock()
	found, ok := u.byName[c.UserName]
	if !ok || found.password.Reveal() != c.Password.Reveal() {
		return tokenauth.Principal{}, tokenauth.ErrRejected
	}
	return found.principal.Clone(), nil
}

// Reload implements [tokenauth.Reloader]. It returns [tokenauth.ErrRejected] as Recheck
// does, except that the owner of an API key may have another Stamp.
func (u *Users) Reload(_ context.Context, p tokenauth.Principal) (tokenauth.Principal, error) {
	u.mu.RLock()
	defer u.mu.RUnlock()
	found, ok := u.byName[p.UserName]
	ofKey := p.Stamp == "" && p.Roles == nil
	if !ok || found.principal.UserID != p.UserID || !ofKey && found.principal.Stamp != p.Stamp {
		return tokenauth.Principal{}, tokenauth.ErrRejected
	}
	return found.principal.Clone(), nil
}

// Recheck implements [tokenauth.Rechecker]. It returns [tokenauth.ErrRejected] if
// the user was removed, or now has another UserID or Stamp.
func (u *Users) Recheck(_ context.Context, p tokenauth.Principal) error {
	u.mu.RLock()
	defer u.mu.RUnlock()
	found, ok := u.byName[p.UserName]
	if !ok || found.principal.UserID != p.UserID || found.principal.Stamp != p.Stamp {
		return tokenauth.ErrRejected
	}
	return nil
}
