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

// Users is a ready table of users, kept beside the tokens. It is a
// tokenauth.Authenticator, a tokenauth.Rechecker and a tokenauth.RevocationQueue.
// It is safe for concurrent use.
//
//   - A call that changes a user ends the user's tokens in the same transaction if
//     they are in the same database (in a Galera cluster: before it returns, but see
//     WithTx). Elsewhere, in Redis for example, they end
//     within 3 seconds of the commit, while Service.Run runs: Users is a
//     tokenauth.RevocationQueue. A type that wraps it passes those methods on.
//   - When a user signs in whose hash is of another format or weaker than those
//     of password.Hash, Users replaces the hash. That ends no token.
//     password.Options.KeepHashes turns it off.
//   - Names are equal if they are so after NormalizeUserName. White space around a
//     name, as people paste it, does not matter at sign-in and in FindByName.
//   - A method that names an unknown user returns tokenauth.ErrNotFound, wrapped.
type Users struct {
	session
	passwords *password.Authenticator
	list      *statement // of a user's tokens
	rehash    *statement
}

var (
	_ tokenauth.Authenticator = (*Users)(nil)
	_ tokenauth.Rechecker     = (*Users)(nil)
)

// A User is a row of the table, without the password.
type User struct {
	ID         string // a UUID, which Create assigns and nothing changes
	Name       string // unique after NormalizeUserName, and kept as it is
	Roles      []string
	Attributes map[string]string
	Disabled   bool
	CreatedAt  time.Time // assigned by Create
}

func newUsers(d *database, o *password.Options) (*Users, error) {
	u := &Users{
		session: session{database: d},
		list:    d.statement(selectTokensOfUser + d.dialect.primary + d.dialect.unlimited),
		rehash:  d.statement(`UPDATE tokenauth_users SET password_hash = ? WHERE id = ? AND password_hash = ?`),
	}
	var options password.Options
	if o != nil {
		options = *o
	}
	if options.Upgrade == nil {
		options.Upgrade = u.upgrade
	}
	var err error
	u.passwords, err = password.New(u.lookup, &options)
	return u, err
}

// upgrade is the password.Options.Upgrade of this table. It leaves the stamp,
// and so the tokens: the password is the same.
func (u *Users) upgrade(ctx context.Context, id, oldHash, newHash string) error {
	_, err := u.rehash.exec(ctx, newHash, id, oldHash)
	return err
}

// WithTx returns Users that work within the host's transaction: their changes,
// and the end of the tokens, take effect when the host commits. Only the
// goroutine that has the transaction uses them, until it ends. On PostgreSQL the
// transaction must be at READ COMMITTED, the default: at a higher level it works
// on a snapshot, and would leave alive a token that was issued since. On MariaDB
// and MySQL begin it at READ COMMITTED, too: at REPEATABLE READ, their default, the
// first sign-ins of some other users wait for it.
//
// In a Galera cluster a transaction sees nothing of a sign-in at another node. The
// tokens of such sign-ins end within 3 seconds of the commit, while Service.Run runs;
// a host that does not run it calls Service.RevokeUser after the commit. And the
// commit may fail with error 1213: the host then runs its transaction again.
func (u *Users) WithTx(tx *gorm.DB) *Users {
	return &Users{session{u.database, tx}, u.passwords, u.list, u.rehash}
}

// Authenticate implements tokenauth.Authenticator.
func (u *Users) Authenticate(ctx context.Context, c tokenauth.Credentials) (tokenauth.Principal, error) {
	return u.passwords.Authenticate(ctx, c)
}

// NormalizeUserName returns the one spelling of a user name under which it is
// unique: the profile UsernameCaseMapped of PRECIS (RFC 8265 §3.3). It folds case
// and width and composes marks (NFC), so that Alice, ALICE and ＡＬＩＣＥ are one user. Letters
// that only look alike stay different. White space around a name is dropped. It
// returns what cannot be a name unchanged. Normalising twice is the same as once.
func (u *Users) NormalizeUserName(userName string) string {
	if key, err := typedUserName(userName); err == nil {
		return key
	}
	return userName
}

// Recheck implements tokenauth.Rechecker. Its read waits for a transaction that
// changes the user, and sees the result: a change of a user and a sign-in cannot
// miss each other.
func (u *Users) Recheck(ctx context.Context, p tokenauth.Principal) error {
	return u.check(ctx, p, u.dialect.share)
}

// LiveCheck is Recheck by a plain read that waits for nobody, for
// tokenauth.Options.LiveCheck.
func (u *Users) LiveCheck(ctx context.Context, p tokenauth.Principal) error {
	return u.check(ctx, p, "")
}

func (u *Users) check(ctx context.Context, p tokenauth.Principal, lock string) error {
	var account password.Account
	look := func() (err error) {
		account, err = u.account(ctx, `id`, lock, p.UserID)
		return err
	}
	var err error
	if u.tx != nil {
		err = look()
	} else {
		err = retry(ctx, u.tries(), look) // a change at another Galera node takes the lock
	}
	if err != nil && !errors.Is(err, tokenauth.ErrNotFound) {
		return err
	}
	if err != nil || !account.StillValid(p) {
		return tokenauth.ErrRejected
	}
	return nil
}

// lookup is the password.Lookup of this table.
func (u *Users) lookup(ctx context.Context, userName string) (password.Account, error) {
	key, err := typedUserName(userName)
	if err != nil {
		return password.Account{}, errUserNotFound
	}
	return u.account(ctx, `name_key`, "", key)
}

func (u *Users) account(ctx context.Context, column, lock, value string) (password.Account, error) {
	row, err := u.read(ctx, u.pool(), column, lock, value)
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

// read reads the user whose column has the value.
func (u *Users) read(ctx context.Context, pool gorm.ConnPool, column, lock, value string) (row userRow, err error) {
	rows, err := pool.QueryContext(ctx, u.sql(
		`SELECT id, name, password_hash, roles, attributes, disabled, stamp, created_at FROM tokenauth_users WHERE `+column+` = ?`+u.dialect.primary+lock), value)
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
		return row, errUserNotFound
	}
	return row, err
}

// Find returns the user with that ID.
func (u *Users) Find(ctx context.Context, id string) (User, error) {
	row, err := u.read(ctx, u.pool(), `id`, "", id)
	return row.User, err
}

// FindByName returns the user of that name, in any spelling that
// NormalizeUserName makes equal.
func (u *Users) FindByName(ctx context.Context, name string) (User, error) {
	key, err := typedUserName(name)
	if err != nil {
		return User{}, errUserNotFound
	}
	row, err := u.read(ctx, u.pool(), `name_key`, "", key)
	return row.User, err
}

// Count returns how many users there are.
func (u *Users) Count(ctx context.Context) (n int64, err error) {
	err = u.pool().QueryRowContext(ctx, u.sql(`SELECT count(*) FROM tokenauth_users WHERE true`+u.dialect.primary)).Scan(&n)
	return n, err
}

// Create adds a user with a password, which it hashes by password.Hash. It
// assigns ID and CreatedAt, which must be zero. It returns ErrInvalid, wrapped
// with what is wrong; password.ErrUnacceptable; or ErrExists if the name is taken.
func (u *Users) Create(ctx context.Context, user User, newPassword tokenauth.Secret) (User, error) {
	if err := checkUser(&user); err != nil {
		return User{}, err
	}
	hash, err := password.Hash(newPassword.Reveal())
	if err != nil {
		return User{}, err
	}
	return u.create(ctx, user, hash)
}

// Import adds a user as Create does, with a password hash from elsewhere: of any
// format of package password or of Options.Passwords.
func (u *Users) Import(ctx context.Context, user User, passwordHash string) (User, error) {
	if err := checkUser(&user); err != nil {
		return User{}, err
	}
	if len(passwordHash) > 512 || !storable(passwordHash) {
		return User{}, fmt.Errorf("%w: the password hash must have at most 512 bytes of UTF-8 without NUL", ErrInvalid)
	}
	if !u.passwords.CanVerify(passwordHash) { // it may be a password
		return User{}, fmt.Errorf("%w: the password hash is of no format that package password or Options.Passwords.Formats can verify", ErrInvalid)
	}
	return u.create(ctx, user, passwordHash)
}

func checkUser(user *User) error {
	if user.ID != "" || !user.CreatedAt.IsZero() {
		return fmt.Errorf("%w: ID and CreatedAt of a new user must be zero", ErrInvalid)
	}
	if _, err := normalizeUserName(user.Name); err != nil {
		return err
	}
	for name, value := range user.Attributes {
		if name == "" || !storable(name) || !storable(value) {
			return fmt.Errorf("%w: attributes must be named, and UTF-8 without NUL", ErrInvalid)
		}
	}
	return checkRoles(user.Roles)
}

func (u *Users) create(ctx context.Context, user User, hash string) (User, error) {
	key, err := normalizeUserName(user.Name)
	if err != nil {
		return User{}, err
	}
	roles, attributes, err := encode(user.Roles, user.Attributes)
	if err != nil {
		return User{}, err
	}
	if err := errors.Join(u.dialect.fits("the text of all roles", roles, maxText), u.dialect.fits("the JSON of all attributes", attributes, maxText)); err != nil {
		return User{}, err
	}
	id := uuid.NewString()
	insert := u.sql(`INSERT INTO tokenauth_users
		(id, name_key, name, password_hash, roles, attributes, disabled, stamp, created_at)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)` + u.dialect.ignore)
	var created userRow
	err = u.transaction(ctx, func(pool gorm.ConnPool) error {
		if _, err := pool.ExecContext(ctx, insert,
			id, key, user.Name, hash, roles, attributes, user.Disabled, newStamp(), time.Now().Unix()); err != nil {
			return err
		}
		// Who is there now tells whose insert it was, on every engine alike. A read
		// that locks sees what the INSERT saw, also in a host's transaction whose
		// snapshot is older.
		created, err = u.read(ctx, pool, `name_key`, u.dialect.share, key)
		if err == nil && created.ID != id {
			return fmt.Errorf("%w: a user of that name", ErrExists)
		}
		return err
	})
	if err != nil {
		return User{}, err
	}
	return created.User, nil
}

// SetPassword sets the user's password and ends the user's tokens. It also returns
// password.ErrUnacceptable. It resets no failed sign-ins: call
// tokenauth.Service.Unthrottle afterwards if the user was helped because of them.
func (u *Users) SetPassword(ctx context.Context, id string, newPassword tokenauth.Secret) error {
	hash, err := password.Hash(newPassword.Reveal())
	if err != nil {
		return err
	}
	return u.change(ctx, id, `UPDATE tokenauth_users SET password_hash = ?, stamp = ? WHERE id = ?`, hash, newStamp(), id)
}

// SetRoles gives the user these roles and no others, and ends the user's tokens.
// It also returns ErrInvalid.
func (u *Users) SetRoles(ctx context.Context, id string, roles ...string) error {
	if err := checkRoles(roles); err != nil {
		return err
	}
	text := strings.Join(roles, ",")
	if err := u.dialect.fits("the text of all roles", text, maxText); err != nil {
		return err
	}
	return u.change(ctx, id, `UPDATE tokenauth_users SET roles = ?, stamp = ? WHERE id = ?`, text, newStamp(), id)
}

// SetDisabled disables or enables the user, and ends the user's tokens.
func (u *Users) SetDisabled(ctx context.Context, id string, disabled bool) error {
	return u.change(ctx, id, `UPDATE tokenauth_users SET disabled = ?, stamp = ? WHERE id = ?`, disabled, newStamp(), id)
}

// Delete removes the user and ends the user's tokens. A user created later under
// the same name is another one.
func (u *Users) Delete(ctx context.Context, id string) error {
	return u.change(ctx, id, `DELETE FROM tokenauth_users WHERE id = ?`, id)
}

// newStamp returns a stamp that no user had before.
func newStamp() string { return rand.Text() }

func checkRoles(roles []string) error {
	for _, role := range roles {
		if role == "" || strings.Contains(role, ",") || !storable(role) {
			return fmt.Errorf("%w: roles must be non-empty UTF-8 without comma or NUL", ErrInvalid)
		}
	}
	return nil
}

func storable(s string) bool { return utf8.ValidString(s) && !strings.Contains(s, "\x00") }
