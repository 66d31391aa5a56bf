package password

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"runtime"
	"slices"
	"time"

	"github.com/bearerkit/bearerkit/tokenauth"
)

// An Account is what a Lookup finds.
type Account struct {
	// UserID identifies the user for ever, whatever the name becomes.
	UserID string
	// UserName is the name as stored. Lookup must find the account by it.
	UserName string
	// PasswordHash is as Hash returns it, or bcrypt. An account without one,
	// or with one that cannot be read, cannot sign in by password.
	PasswordHash string
	// Roles and Attributes go into the principal.
	Roles      []string
	Attributes map[string]string
	// Disabled accounts cannot sign in.
	Disabled bool
	// Stamp is any text that changes whenever the user's tokens should end,
	// such as Identity's SecurityStamp. If it is empty, a change of the
	// password hash, the roles or the name counts.
	Stamp string
}

// A Lookup finds an account by the user name that somebody typed, under the
// host's own rules of what spellings are the same.
//
//   - It returns tokenauth.ErrNotFound, possibly wrapped, for an unknown name.
//     Any other error means that it could not tell, and becomes a 503.
//   - It must read what was last committed: the primary, no cache.
//   - It is safe for concurrent use and returns soon after its context ends.
type Lookup func(ctx context.Context, userName string) (Account, error)

// Options are what a host may want otherwise. The zero value is the advice.
type Options struct {
	// Timeout bounds each look-up; zero means 2 seconds.
	Timeout time.Duration
	// Logger is told of accounts whose hash cannot be used; nil means
	// slog.Default().
	Logger *slog.Logger
}

// Users is a tokenauth.Authenticator, and a tokenauth.Rechecker, for accounts
// with a password hash. It is safe for concurrent use.
type Users struct {
	lookup  Lookup
	timeout time.Duration
	logger  *slog.Logger
	hashing chan struct{} // one place for each hash at work
	dummy   verifier
}

// NewUsers returns Users whose accounts are found by lookup. Options may be
// nil. It hashes once, for something to compare with where there is no account.
//
// At most GOMAXPROCS passwords are hashed at once; others wait their turn,
// because each takes 19 MiB and all of a core.
func NewUsers(lookup Lookup, o *Options) (*Users, error) {
	if lookup == nil {
		return nil, errors.New("password: the lookup is nil")
	}
	if o == nil {
		o = &Options{}
	}
	if o.Timeout < 0 || o.Timeout > time.Minute {
		return nil, fmt.Errorf("password: Options.Timeout is %v, must be up to a minute", o.Timeout)
	}
	u := &Users{
		lookup:  lookup,
		timeout: o.Timeout,
		logger:  o.Logger,
		hashing: make(chan struct{}, runtime.GOMAXPROCS(0)),
		dummy:   newArgon2id("a password that no account has"),
	}
	if u.timeout == 0 {
		u.timeout = 2 * time.Second
	}
	if u.logger == nil {
		u.logger = slog.Default()
	}
	return u, nil
}

// Authenticate returns the principal whose user name and password these are.
// It returns tokenauth.ErrRejected for an unknown user, a wrong password, a
// disabled account and an unusable hash alike, after hashing once; the
// lookup's error if that failed; and the context's if it ended before its turn
// to hash came.
func (u *Users) Authenticate(ctx context.Context, c tokenauth.Credentials) (tokenauth.Principal, error) {
	account, err := u.find(ctx, c.UserName)
	found := !errors.Is(err, tokenauth.ErrNotFound)
	if err != nil && found {
		return tokenauth.Principal{}, err
	}
	stored, usable := u.dummy, false
	if found && !account.Disabled {
		if v, ok := parse(account.PasswordHash); ok {
			stored, usable = v, true
		} else {
			u.logger.WarnContext(ctx, "password: an account has a hash that cannot be used", "userId", account.UserID)
		}
	}
	matches, err := u.verify(ctx, stored, c.Password.Reveal())
	if err != nil {
		return tokenauth.Principal{}, err
	}
	if !matches || !usable {
		return tokenauth.Principal{}, tokenauth.ErrRejected
	}
	return account.principal(), nil
}

// Recheck returns nil if the user can still be found under that name, may sign
// in, and has not changed since p was made; tokenauth.ErrRejected if not; and
// the lookup's error if that failed.
func (u *Users) Recheck(ctx context.Context, p tokenauth.Principal) error {
	account, err := u.find(ctx, p.UserName)
	if errors.Is(err, tokenauth.ErrNotFound) {
		return tokenauth.ErrRejected
	}
	if err != nil {
		return err
	}
	if !account.Unchanged(p) {
		return tokenauth.ErrRejected
	}
	return nil
}

func (u *Users) find(ctx context.Context, userName string) (Account, error) {
	ctx, cancel := context.WithTimeout(ctx, u.timeout)
	defer cancel()
	return u.lookup(ctx, userName)
}

func (u *Users) verify(ctx context.Context, stored verifier, password string) (bool, error) {
	select {
	case u.hashing <- struct{}{}:
	case <-ctx.Done():
		return false, ctx.Err()
	}
	defer func() { <-u.hashing }()
	return stored.verify(password), nil
}

func (a *Account) principal() tokenauth.Principal {
	return tokenauth.Principal{
		UserID:     a.UserID,
		UserName:   a.UserName,
		Roles:      slices.Clone(a.Roles),
		Attributes: maps.Clone(a.Attributes),
		Stamp:      a.stamp(),
	}
}

// Unchanged reports whether the account may still sign in and has not changed
// since p was made of it, for those who look accounts up in a way of their own.
func (a *Account) Unchanged(p tokenauth.Principal) bool {
	return !a.Disabled && a.UserID == p.UserID && a.stamp() == p.Stamp
}

// stamp digests what must not change while a token is good.
func (a *Account) stamp() string {
	change := a.Stamp
	if change == "" {
		change = a.PasswordHash
	}
	h := sha256.New()
	for _, field := range append([]string{a.UserID, a.UserName, change}, slices.Sorted(slices.Values(a.Roles))...) {
		var length [8]byte
		binary.BigEndian.PutUint64(length[:], uint64(len(field)))
		h.Write(length[:])
		h.Write([]byte(field))
	}
	return base64.RawURLEncoding.EncodeToString(h.Sum(nil)[:16])
}
