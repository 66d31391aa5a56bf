package gormstore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/google/uuid"
	"gorm.io/gorm"

	"github.com/bearerkit/bearerkit/tokenauth"
	"github.com/bearerkit/bearerkit/tokenauth/password"
)

var (
	errNameTaken   = fmt.Errorf("%w: a user with that name", ErrExists)
	errUserIDTaken = fmt.Errorf("%w: a user with that ID", ErrExists)
)

// Create adds a user with a password, and returns the user as stored. The fields ID and
// CreatedAt of user must be zero; Create assigns them. It hashes the password with
// [password.Hash].
//
// Create returns [ErrInvalid], wrapped with the reason, if user is invalid. It
// returns [password.ErrUnacceptable] if the password cannot be used, and [ErrExists],
// wrapped, if the name is taken.
func (u *Users) Create(ctx context.Context, user User, newPassword tokenauth.Secret) (User, error) {
	if user.ID != "" || !user.CreatedAt.IsZero() {
		return User{}, fmt.Errorf("%w: the ID and CreatedAt of a new user must be zero; Import accepts them", ErrInvalid)
	}
	if err := u.checkUser(&user); err != nil {
		return User{}, err
	}
	hash, err := password.Hash(newPassword.Reveal())
	if err != nil {
		return User{}, err
	}
	return u.create(ctx, user, hash)
}

// Import is like [Users.Create], but takes a password hash, for example from another
// users table, instead of a password. The hash may have any format that package
// [password] or [password.Options.Formats] in [Options.Passwords] supports.
//
// Import keeps user.ID and user.CreatedAt if they are set. An ID has 1 to 36 bytes of
// UTF-8 without control characters. If the ID is taken, Import returns [ErrExists],
// wrapped with that reason.
//
// An earlier user may have had the same ID. So Import with an ID ends all tokens and API
// keys of that ID in this database. Tokens in another storage end only if the earlier
// user was deleted by [Users.Delete]; otherwise call [tokenauth.Service.RevokeUser]
// before Import. Before Import, [tokenauth.Keys.RevokeAll] ends API keys in another
// storage. The counters of failed sign-ins of that ID continue until they expire
// ([tokenauth.Service.Unthrottle]).
func (u *Users) Import(ctx context.Context, user User, passwordHash string) (User, error) {
	if len(user.ID) > 36 || !utf8.ValidString(user.ID) || strings.ContainsFunc(user.ID, unicode.IsControl) {
		return User{}, fmt.Errorf("%w: the ID of a user must have 1 to 36 bytes of UTF-8 without control characters", ErrInvalid)
	}
	if err := u.checkUser(&user); err != nil {
		return User{}, err
	}
	if len(passwordHash) > 512 || !storable(passwordHash) {
		return User{}, fmt.Errorf("%w: the password hash must have at most 512 bytes of UTF-8 without NUL", ErrInvalid)
	}
	if !u.passwords.CanVerify(passwordHash) { // the error must not quote the hash, which may be a password
		return User{}, fmt.Errorf("%w: neither package password nor Options.Passwords.Formats supports the format of the password hash", ErrInvalid)
	}
	return u.create(ctx, user, passwordHash)
}

func (u *Users) checkUser(user *User) error {
	if _, err := u.newUserName(user.Name); err != nil {
		return err
	}
	if err := checkAttributes(user.Attributes); err != nil {
		return err
	}
	return checkRoles(user.Roles)
}

func checkAttributes(attributes map[string]string) error {
	for name, value := range attributes {
		if name == "" || !storable(name) || !storable(value) {
			return fmt.Errorf("%w: each attribute must have a name, and names and values must be UTF-8 without NUL", ErrInvalid)
		}
	}
	return nil
}

// encode encodes roles and attributes for their columns. It returns [ErrInvalid],
// wrapped, if one of them is too long.
func (u *Users) encode(roles []string, attributes map[string]string) (r, a string, err error) {
	if r, a, err = encode(roles, attributes); err != nil {
		return "", "", err
	}
	return r, a, errors.Join(u.dialect.fits("the list of roles", r, maxText), u.dialect.fits("the JSON text of the attributes", a, maxText))
}

func (u *Users) create(ctx context.Context, user User, hash string) (User, error) {
	key, err := u.newUserName(user.Name)
	if err != nil {
		return User{}, err
	}
	roles, attributes, err := u.encode(user.Roles, user.Attributes)
	if err != nil {
		return User{}, err
	}
	imported := user.ID != ""
	if !imported {
		user.ID = uuid.NewString()
	}
	if user.CreatedAt.IsZero() {
		user.CreatedAt = time.Now()
	}
	stamp := newStamp()
	insert := u.sql(`INSERT INTO tokenauth_users
		(id, name_key, name, password_hash, roles, attributes, disabled, stamp, created_at)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)` + u.dialect.ignore)
	var created userRow
	err = u.transaction(ctx, func(pool gorm.ConnPool) error {
		if imported {
			if err := u.checkIsolation(ctx, pool); err != nil {
				return err
			}
		}
		if _, err := pool.ExecContext(ctx, insert,
			user.ID, key, user.Name, hash, roles, attributes, user.Disabled, stamp, user.CreatedAt.Unix()); err != nil {
			return err
		}
		// On every engine, the stamp in the row shows whether this INSERT added the
		// row. The read locks the row, so it finds even a row that is newer than the
		// snapshot of the caller's transaction.
		created, err = u.read(ctx, pool, `id`, u.dialect.share, user.ID)
		switch {
		case errors.Is(err, tokenauth.ErrNotFound):
			if _, err = u.read(ctx, pool, `name_key`, u.dialect.share, key); errors.Is(err, tokenauth.ErrNotFound) {
				return errNotInserted
			}
			return cmp.Or(err, errNameTaken)
		case err != nil:
			return err
		case created.stamp != stamp:
			return errUserIDTaken
		case !imported:
			return nil
		}
		tokens := tokenauth.UserKeyOf(user.ID)
		_, err = pool.ExecContext(ctx, u.sql(deleteTokensAndKeys+u.dialect.unlimited), tokens[:], keysOf(tokens[:]))
		return err
	})
	if err != nil {
		return User{}, err
	}
	return created.User, nil
}
