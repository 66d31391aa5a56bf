package gormstore

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"
	"gorm.io/gorm"

	"github.com/bearerkit/bearerkit/tokenauth"
	"github.com/bearerkit/bearerkit/tokenauth/password"
)

var (
	// ErrUserExists is returned by Users.Create if the name is taken.
	ErrUserExists = errors.New("gormstore: there is a user of that name")
	// ErrUserNotFound is returned by the methods of Users for an unknown user.
	ErrUserNotFound = fmt.Errorf("gormstore: no such user: %w", tokenauth.ErrNotFound)
	// ErrUser is returned by Users.Create and Users.SetRoles, wrapped with what
	// is wrong, for values that cannot be stored.
	ErrUser = errors.New("gormstore: invalid user")
)

// Users is a ready table of users, kept beside the tokens. It is a
// tokenauth.Authenticator and a tokenauth.Rechecker. Whatever it changes of a
// user ends the user's tokens in the same transaction. A hash that came from
// elsewhere, or is weaker than password.Hash makes them, is replaced when its
// user signs in, which ends no token; password.Options.KeepHashes leaves them.
// Names are compared as NormalizeUserName has them. It is safe for concurrent
// use.
type Users struct {
	session
	passwords *password.Users
}

var (
	_ tokenauth.Authenticator = (*Users)(nil)
	_ tokenauth.Rechecker     = (*Users)(nil)

	_ tokenauth.UserNameNormalizer = (*Users)(nil)
)

// A User is what the table tells of a user: everything but the password.
type User struct {
	ID         string // a UUID; never changes
	Name       string // as it was given to Create
	Roles      []string
	Attributes map[string]string
	Disabled   bool
	CreatedAt  time.Time
}

// A NewUser is a user to create.
type NewUser struct {
	// Name is unique as NormalizeUserName has it, and kept as it is.
	Name string
	// Password is hashed with password.Hash.
	Password tokenauth.Secret
	// PasswordHash takes the place of Password for users who come from
	// elsewhere and have one; see package password for the formats.
	PasswordHash string
	// Roles must be non-empty and without commas.
	Roles      []string
	Attributes map[string]string
}

func newUsers(s *Store, o *password.Options) (*Users, error) {
	u := &Users{session: session{store: s}}
	var options password.Options
	if o != nil {
		options = *o
	}
	options.NormalizeUserName = u.NormalizeUserName
	if options.Upgrade == nil {
		options.Upgrade = u.upgrade
	}
	var err error
	u.passwords, err = password.NewUsers(u.lookup, &options)
	return u, err
}

// upgrade is the password.Options.Upgrade of this table. It leaves the stamp,
// and so the tokens: the password is the same.
func (u *Users) upgrade(ctx context.Context, id, oldHash, newHash string) error {
	_, err := u.store.upgrade.exec(ctx, newHash, id, oldHash)
	return err
}

// WithTx returns Users that work within the host's transaction: what they
// change, and the tokens that end with it, becomes true when the host commits.
// It is for the goroutine that has the transaction, until that ends. On
// PostgreSQL the transaction must be at READ COMMITTED, the default (see
// ErrIsolation).
func (u *Users) WithTx(tx *gorm.DB) *Users {
	return &Users{session{u.store, tx}, u.passwords}
}

// Authenticate implements tokenauth.Authenticator.
func (u *Users) Authenticate(ctx context.Context, c tokenauth.Credentials) (tokenauth.Principal, error) {
	return u.passwords.Authenticate(ctx, c)
}

// NormalizeUserName implements tokenauth.UserNameNormalizer, so that all
// spellings of a name count as one account's. What cannot be a name stays as it
// is.
func (u *Users) NormalizeUserName(userName string) string {
	if key, err := NormalizeUserName(userName); err == nil {
		return key
	}
	return userName
}

// Recheck implements tokenauth.Rechecker. Its read waits for a transaction
// that is changing the user, and sees what came of it: a change of a user and
// a sign-in cannot pass each other unseen.
func (u *Users) Recheck(ctx context.Context, p tokenauth.Principal) error {
	return u.check(ctx, p, u.store.dialect.share)
}

// Check tells what Recheck does by a plain read that waits for nobody, for
// tokenauth.Options.LiveCheck.
func (u *Users) Check(ctx context.Context, p tokenauth.Principal) error {
	return u.check(ctx, p, "")
}

func (u *Users) check(ctx context.Context, p tokenauth.Principal, lock string) error {
	account, err := u.account(ctx, ` WHERE id = ?`+lock, p.UserID)
	if err != nil && !errors.Is(err, tokenauth.ErrNotFound) {
		return err
	}
	if err != nil || !account.Unchanged(p) {
		return tokenauth.ErrRejected
	}
	return nil
}

// lookup is the password.Lookup of this table.
func (u *Users) lookup(ctx context.Context, userName string) (password.Account, error) {
	key, err := NormalizeUserName(userName)
	if err != nil {
		return password.Account{}, ErrUserNotFound
	}
	return u.account(ctx, ` WHERE name_key = ?`, key)
}

func (u *Users) account(ctx context.Context, where string, arg any) (password.Account, error) {
	row, err := u.read(ctx, u.pool(), where, arg)
	if err != nil {
		return password.Account{}, err
	}
	return password.Account{
		UserID:       row.ID,
		UserName:     row.Name,
		PasswordHash: row.passwordHash,
		Roles:        row.Roles,
		Attributes:   row.Attributes,
		Disabled:     row.Disabled,
		Stamp:        row.stamp,
	}, nil
}

type userRow struct {
	User
	passwordHash, stamp string
}

func (u *Users) read(ctx context.Context, pool gorm.ConnPool, where string, arg any) (row userRow, err error) {
	rows, err := pool.QueryContext(ctx, u.store.sql(
		`SELECT id, name, password_hash, roles, attributes, disabled, stamp, created_at FROM tokenauth_users`+where), arg)
	if err != nil {
		return row, err
	}
	err = readRow(rows, func(scan func(...any) error) error {
		var roles string
		var attributes []byte
		var created int64
		if err := scan(&row.ID, &row.Name, &row.passwordHash, &roles, &attributes, &row.Disabled, &row.stamp, &created); err != nil {
			return err
		}
		row.CreatedAt = time.Unix(created, 0).UTC()
		return decode(roles, attributes, &row.Roles, &row.Attributes)
	})
	if errors.Is(err, sql.ErrNoRows) {
		return row, ErrUserNotFound
	}
	return row, err
}

// Find returns the user with that ID, or ErrUserNotFound.
func (u *Users) Find(ctx context.Context, id string) (User, error) {
	row, err := u.read(ctx, u.pool(), ` WHERE id = ?`, id)
	return row.User, err
}

// FindByName returns the user of that name, in any spelling that
// NormalizeUserName has as the same, or ErrUserNotFound.
func (u *Users) FindByName(ctx context.Context, name string) (User, error) {
	key, err := NormalizeUserName(name)
	if err != nil {
		return User{}, ErrUserNotFound
	}
	row, err := u.read(ctx, u.pool(), ` WHERE name_key = ?`, key)
	return row.User, err
}

// Count returns how many users there are.
func (u *Users) Count(ctx context.Context) (n int64, err error) {
	err = u.pool().QueryRowContext(ctx, u.store.sql(`SELECT count(*) FROM tokenauth_users`)).Scan(&n)
	return n, err
}

// Create adds a user. It returns ErrUserName, password.ErrUnacceptable or
// ErrUser for values that cannot be, and ErrUserExists if the name is taken.
func (u *Users) Create(ctx context.Context, n NewUser) (User, error) {
	key, err := NormalizeUserName(n.Name)
	if err != nil {
		return User{}, err
	}
	if err := checkRoles(n.Roles); err != nil {
		return User{}, err
	}
	for name, value := range n.Attributes {
		if name == "" || !storable(name) || !storable(value) {
			return User{}, fmt.Errorf("%w: attributes must be named, and UTF-8 without NUL", ErrUser)
		}
	}
	hash := n.PasswordHash
	if len(hash) > 512 || !storable(hash) {
		return User{}, fmt.Errorf("%w: the password hash is no text of at most 512 bytes", ErrUser)
	}
	if hash == "" {
		if hash, err = password.Hash(n.Password.Reveal()); err != nil {
			return User{}, err
		}
	}
	roles, attributes, err := encode(n.Roles, n.Attributes)
	if err != nil {
		return User{}, err
	}
	id := uuid.NewString()
	insert := u.store.sql(`INSERT INTO tokenauth_users
		(id, name_key, name, password_hash, roles, attributes, disabled, stamp, created_at)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)` + u.store.dialect.ignore)
	var created userRow
	err = u.transaction(ctx, func(pool gorm.ConnPool) error {
		if _, err := pool.ExecContext(ctx, insert,
			id, key, n.Name, hash, roles, attributes, false, newStamp(), time.Now().Unix()); err != nil {
			return err
		}
		// Who is there now tells whose insert it was, on every engine alike.
		created, err = u.read(ctx, pool, ` WHERE name_key = ?`, key)
		if err == nil && created.ID != id {
			return ErrUserExists
		}
		return err
	})
	if err != nil {
		return User{}, err
	}
	return created.User, nil
}

// SetPassword gives the user another password and ends the user's tokens. It
// returns password.ErrUnacceptable or ErrUserNotFound.
func (u *Users) SetPassword(ctx context.Context, id string, newPassword tokenauth.Secret) error {
	hash, err := password.Hash(newPassword.Reveal())
	if err != nil {
		return err
	}
	return u.change(ctx, id, `UPDATE tokenauth_users SET password_hash = ?, stamp = ? WHERE id = ?`, hash, newStamp(), id)
}

// SetRoles gives the user these roles and no others, and ends the user's
// tokens. It returns ErrUser or ErrUserNotFound.
func (u *Users) SetRoles(ctx context.Context, id string, roles ...string) error {
	if err := checkRoles(roles); err != nil {
		return err
	}
	return u.change(ctx, id, `UPDATE tokenauth_users SET roles = ?, stamp = ? WHERE id = ?`, strings.Join(roles, ","), newStamp(), id)
}

// SetDisabled keeps the user from signing in, or lets the user in again, and
// ends the user's tokens. It returns ErrUserNotFound.
func (u *Users) SetDisabled(ctx context.Context, id string, disabled bool) error {
	return u.change(ctx, id, `UPDATE tokenauth_users SET disabled = ?, stamp = ? WHERE id = ?`, disabled, newStamp(), id)
}

// Delete removes the user and ends the user's tokens. It returns
// ErrUserNotFound. A user created later under the same name is another one.
func (u *Users) Delete(ctx context.Context, id string) error {
	return u.change(ctx, id, `DELETE FROM tokenauth_users WHERE id = ?`, id)
}

// change changes the user's row first and then ends the tokens. A sign-in that
// stores its token in between looks at the row again, and waits for us there.
func (u *Users) change(ctx context.Context, id, statement string, args ...any) error {
	key := tokenauth.UserKeyOf(id)
	return u.changeAndEnd(ctx, ErrUserNotFound, statement, args, deleteTokensOfUser, key[:])
}

// newStamp returns a stamp that no user had before.
func newStamp() string { return rand.Text() }

func checkRoles(roles []string) error {
	for _, role := range roles {
		if role == "" || strings.Contains(role, ",") || !storable(role) {
			return fmt.Errorf("%w: roles must be non-empty UTF-8 without comma or NUL", ErrUser)
		}
	}
	return nil
}

func storable(s string) bool { return utf8.ValidString(s) && !strings.Contains(s, "\x00") }
