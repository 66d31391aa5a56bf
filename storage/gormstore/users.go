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

// Users is a ready-made user table in the same database as the tokens of the [Store].
// It is a [tokenauth.Authenticator], a [tokenauth.Rechecker] and a
// [tokenauth.RevocationQueue]. It is safe for concurrent use.
//
//   - A call that changes a user ends all the user's tokens, in the same transaction
//     if the tokens are in the same database. (In a Galera cluster some tokens may
//     end after that transaction, but before the call returns. For your own
//     transactions, see [Users.WithTx].)
//   - While [tokenauth.Service.Run] runs, it ends tokens in another storage, such as
//     Redis, within 3 seconds of the commit.
//   - A type that wraps Users must also have the methods of
//     [tokenauth.RevocationQueue], because Run calls them.
//   - At a sign-in, Users replaces a password hash that is weaker than the hashes
//     from [password.Hash], or has another format. The user's tokens stay valid. Set
//     [password.Options.KeepHashes] to turn this off.
//   - Two names are equal if [Users.NormalizeUserName] makes them equal. White space
//     around a name does not matter at sign-in and in [Users.FindByName].
//   - Methods return [tokenauth.ErrNotFound], wrapped, for an unknown user.
type Users struct {
	session
	passwords *password.Authenticator
	list      *statement // lists a user's tokens
	rehash    *statement
}

var (
	_ tokenauth.Authenticator = (*Users)(nil)
	_ tokenauth.Rechecker     = (*Users)(nil)
)

// A User is a user in the table [Users], without the password hash.
type User struct {
	ID         string // a UUID; assigned by Create, never changes
	Name       string // stored as given; its normalized form (NormalizeUserName) is unique
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

// upgrade is the default for [password.Options.Upgrade]. It keeps the user's
// stamp, because the password has not changed. So the user's tokens stay valid.
func (u *Users) upgrade(ctx context.Context, id, oldHash, newHash string) error {
	_, err := u.rehash.exec(ctx, newHash, id, oldHash)
	return err
}

// WithTx returns Users whose changes are part of the transaction tx. The changes take
// effect, and the tokens end, when the caller commits. Only the goroutine that owns tx
// may use the returned Users, and only until tx ends.
//
// On PostgreSQL the transaction must have the isolation level READ COMMITTED, the
// default. At a higher level the transaction works on a snapshot and would not end a
// token that was issued after the snapshot, so the methods return an error. On
// MariaDB and MySQL, also choose READ COMMITTED. At their default, REPEATABLE READ,
// the first sign-ins of some other users would wait for the transaction.
//
// In a Galera cluster a transaction does not see concurrent sign-ins at other nodes.
// While [tokenauth.Service.Run] runs, the tokens from those sign-ins end within 3
// seconds of the commit. If your program does not call Run, call
// [tokenauth.Service.RevokeUser] after the commit. If the commit fails with error
// 1213, run the whole transaction again.
func (u *Users) WithTx(tx *gorm.DB) *Users {
	return &Users{session{u.database, tx}, u.passwords, u.list, u.rehash}
}

// Authenticate implements [tokenauth.Authenticator].
func (u *Users) Authenticate(ctx context.Context, c tokenauth.Credentials) (tokenauth.Principal, error) {
	return u.passwords.Authenticate(ctx, c)
}

// NormalizeUserName returns the form of a user name that the table compares. It
// applies the PRECIS profile UsernameCaseMapped (RFC 8265 §3.3), which folds case and
// width and composes marks (NFC). So Alice, ALICE and ＡＬＩＣＥ are the same user.
// Different letters that look alike stay different. White space around the name is
// removed.
//
// If a name is invalid or already normalized, NormalizeUserName returns it unchanged.
func (u *Users) NormalizeUserName(userName string) string {
	if key, err := typedUserName(userName); err == nil {
		return key
	}
	return userName
}

// Recheck implements [tokenauth.Rechecker]. It waits for transactions that are changing
// the user. So a sign-in either sees the change, or has stored its token early enough
// for the change to end that token.
func (u *Users) Recheck(ctx context.Context, p tokenauth.Principal) error {
	return u.check(ctx, p, u.dialect.share)
}

// LiveCheck is like [Users.Recheck], but does not wait for other transactions. Use it
// as [tokenauth.Options.LiveCheck].
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
		err = retry(ctx, u.tries(), look) // Galera may roll this read back because of a change at another node
	}
	if err != nil && !errors.Is(err, tokenauth.ErrNotFound) {
		return err
	}
	if err != nil || !account.StillValid(p) {
		return tokenauth.ErrRejected
	}
	return nil
}

// lookup is the [password.Lookup] for this table.
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

// read returns the user whose row has the given value in the given column. The
// parameter lock is a clause to append to the statement, such as FOR SHARE, or "".
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

// Find returns the user with the given ID.
func (u *Users) Find(ctx context.Context, id string) (User, error) {
	row, err := u.read(ctx, u.pool(), `id`, "", id)
	return row.User, err
}

// FindByName returns the user whose normalized name equals the normalized form of
// name (see [Users.NormalizeUserName]).
func (u *Users) FindByName(ctx context.Context, name string) (User, error) {
	key, err := typedUserName(name)
	if err != nil {
		return User{}, errUserNotFound
	}
	row, err := u.read(ctx, u.pool(), `name_key`, "", key)
	return row.User, err
}

// Count returns the number of users.
func (u *Users) Count(ctx context.Context) (n int64, err error) {
	err = u.pool().QueryRowContext(ctx, u.sql(`SELECT count(*) FROM tokenauth_users WHERE true`+u.dialect.primary)).Scan(&n)
	return n, explain(err)
}

// Create adds a user with a password, and returns the user as stored. The fields ID and
// CreatedAt of user must be zero; Create assigns them. It hashes the password with
// [password.Hash].
//
// Create returns [ErrInvalid], wrapped with the reason, if user is invalid. It
// returns [password.ErrUnacceptable] if the password cannot be used, and [ErrExists]
// if the name is taken.
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

// Import is like [Users.Create], but takes a password hash, for example from another
// users table, instead of a password. The hash may have any format that package
// [password] or [password.Options.Formats] in [Options.Passwords] supports.
func (u *Users) Import(ctx context.Context, user User, passwordHash string) (User, error) {
	if err := checkUser(&user); err != nil {
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

func checkUser(user *User) error {
	if user.ID != "" || !user.CreatedAt.IsZero() {
		return fmt.Errorf("%w: the ID and CreatedAt of a new user must be zero", ErrInvalid)
	}
	if _, err := normalizeUserName(user.Name); err != nil {
		return err
	}
	for name, value := range user.Attributes {
		if name == "" || !storable(name) || !storable(value) {
			return fmt.Errorf("%w: each attribute must have a name, and names and values must be UTF-8 without NUL", ErrInvalid)
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
	if err := errors.Join(u.dialect.fits("the list of roles", roles, maxText), u.dialect.fits("the JSON text of the attributes", attributes, maxText)); err != nil {
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
		// On every engine, the ID in the row shows whether this INSERT added the row.
		// The read locks the row, so it finds even a row that is newer than the
		// snapshot of the caller's transaction.
		created, err = u.read(ctx, pool, `name_key`, u.dialect.share, key)
		if err == nil && created.ID != id {
			return fmt.Errorf("%w: a user with that name", ErrExists)
		}
		return err
	})
	if err != nil {
		return User{}, err
	}
	return created.User, nil
}

// SetPassword sets the user's password and ends all the user's tokens. That includes
// the token with which the change was requested: a user who changes their own
// password must sign in again.
//
// SetPassword returns [password.ErrUnacceptable] for a password that cannot be used.
// It does not reset the counters of failed sign-ins. If the user is throttled because
// of failed sign-ins, also call [tokenauth.Service.Unthrottle].
func (u *Users) SetPassword(ctx context.Context, id string, newPassword tokenauth.Secret) error {
	hash, err := password.Hash(newPassword.Reveal())
	if err != nil {
		return err
	}
	return u.change(ctx, id, `UPDATE tokenauth_users SET password_hash = ?, stamp = ? WHERE id = ?`, hash, newStamp(), id)
}

// SetRoles replaces the user's roles and ends all the user's tokens. It returns
// [ErrInvalid], wrapped, for an invalid role.
func (u *Users) SetRoles(ctx context.Context, id string, roles ...string) error {
	if err := checkRoles(roles); err != nil {
		return err
	}
	text := strings.Join(roles, ",")
	if err := u.dialect.fits("the list of roles", text, maxText); err != nil {
		return err
	}
	return u.change(ctx, id, `UPDATE tokenauth_users SET roles = ?, stamp = ? WHERE id = ?`, text, newStamp(), id)
}

// SetDisabled disables or enables the user, and ends all the user's tokens.
func (u *Users) SetDisabled(ctx context.Context, id string, disabled bool) error {
	return u.change(ctx, id, `UPDATE tokenauth_users SET disabled = ?, stamp = ? WHERE id = ?`, disabled, newStamp(), id)
}

// Delete removes the user and ends all the user's tokens. A user who is created later
// with the same name has another ID.
func (u *Users) Delete(ctx context.Context, id string) error {
	return u.change(ctx, id, `DELETE FROM tokenauth_users WHERE id = ?`, id)
}

// newStamp returns a random stamp, which differs from all earlier ones.
func newStamp() string { return rand.Text() }

func checkRoles(roles []string) error {
	for _, role := range roles {
		if role == "" || strings.Contains(role, ",") || !storable(role) {
			return fmt.Errorf("%w: each role must be non-empty UTF-8 without commas and NUL", ErrInvalid)
		}
	}
	return nil
}

func storable(s string) bool { return utf8.ValidString(s) && !strings.Contains(s, "\x00") }
