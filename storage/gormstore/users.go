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
	spaces    bool // whether new names may have spaces
}

var (
	_ tokenauth.Authenticator = (*Users)(nil)
	_ tokenauth.Rechecker     = (*Users)(nil)
)

// A User is a user in the table [Users], without the password hash.
type User struct {
	ID         string // a UUID that Create assigned, or the ID that Import was given; never changes
	Name       string // stored as given; its normalized form (NormalizeUserName) is unique
	Roles      []string
	Attributes map[string]string
	Disabled   bool
	CreatedAt  time.Time // in whole seconds
}

func newUsers(d *database, o *Options) (*Users, error) {
	u := &Users{
		session: session{database: d},
		list:    d.statement(selectTokensOfUser + d.dialect.primary + d.dialect.unlimited),
		rehash:  d.statement(`UPDATE tokenauth_users SET password_hash = ? WHERE id = ? AND password_hash = ?`),
		spaces:  o.SpacesInNames,
	}
	var options password.Options
	if o.Passwords != nil {
		options = *o.Passwords
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
	return &Users{session{u.database, tx}, u.passwords, u.list, u.rehash, u.spaces}
}

// Authenticate implements [tokenauth.Authenticator].
func (u *Users) Authenticate(ctx context.Context, c tokenauth.Credentials) (tokenauth.Principal, error) {
	return u.passwords.Authenticate(ctx, c)
}

// NormalizeUserName returns the form of a user name that the table compares. It
// applies the PRECIS profile UsernameCaseMapped (RFC 8265 §3.3), which folds case and
// width and composes marks (NFC). So Alice, ALICE and ＡＬＩＣＥ are the same user.
// Different letters that look alike stay different. White space around the name is
// removed. Spaces within the name separate its parts (RFC 8265 §3.1); several spaces
// become one.
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

// LiveCheck is like [Users.Recheck] for the principal of a token, but does not wait for
// other transactions. Use it as [tokenauth.Options.LiveCheck].
func (u *Users) LiveCheck(ctx context.Context, t tokenauth.Token) error {
	return u.check(ctx, t.Principal, "")
}

// Reload implements [tokenauth.Reloader], for [tokenauth.Options.Refresh].
func (u *Users) Reload(ctx context.Context, p tokenauth.Principal) (tokenauth.Principal, error) {
	account, err := u.accountOf(ctx, p.UserID, "")
	if errors.Is(err, tokenauth.ErrNotFound) {
		return tokenauth.Principal{}, tokenauth.ErrRejected
	}
	if err != nil {
		return tokenauth.Principal{}, err
	}
	return account.Reload(p)
}

func (u *Users) check(ctx context.Context, p tokenauth.Principal, lock string) error {
	account, err := u.accountOf(ctx, p.UserID, lock)
	if err != nil && !errors.Is(err, tokenauth.ErrNotFound) {
		return err
	}
	if err != nil || !account.StillValid(p) {
		return tokenauth.ErrRejected
	}
	return nil
}

// Principal returns the principal of a user as a sign-in would, with the user's
// current [tokenauth.Principal.Stamp]. It is for [tokenauth.Service.Issue], after the
// host authenticated the user in its own way, for example by single sign-on. Call
// Issue with [tokenauth.IssueOptions.Recheck].
//
// For a disabled user, Principal returns [tokenauth.ErrRejected], wrapped.
func (u *Users) Principal(ctx context.Context, id string) (tokenauth.Principal, error) {
	account, err := u.accountOf(ctx, id, "")
	if err != nil {
		return tokenauth.Principal{}, err
	}
	if account.Disabled {
		return tokenauth.Principal{}, fmt.Errorf("gormstore: user %q is disabled: %w", id, tokenauth.ErrRejected)
	}
	return account.Principal(), nil
}

// accountOf returns the account of the user with the given ID. The parameter lock is
// as for read.
func (u *Users) accountOf(ctx context.Context, id, lock string) (account password.Account, err error) {
	look := func() (err error) {
		account, err = u.account(ctx, `id`, lock, id)
		return err
	}
	if u.tx != nil {
		err = look()
	} else {
		err = retry(ctx, u.tries(), look) // Galera may roll this read back because of a change at another node
	}
	return account, err
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
	return row.account(), nil
}

// userColumns are the columns that a userRow scans, in this order.
const userColumns = `id, name, password_hash, roles, attributes, disabled, stamp, created_at`

type userRow struct {
	User
	passwordHash, stamp string
}

func (r *userRow) scan(scan func(...any) error) error {
	var roles string
	var attributes []byte
	var created int64
	if err := scan(&r.ID, &r.Name, &r.passwordHash, &roles, &attributes, &r.Disabled, &r.stamp, &created); err != nil {
		return err
	}
	r.CreatedAt = time.Unix(created, 0).UTC()
	return decode(roles, attributes, &r.Roles, &r.Attributes)
}

func (r *userRow) account() password.Account {
	return password.Account{
		UserID:       r.ID,
		UserName:     r.Name,
		PasswordHash: r.passwordHash,
		Roles:        r.Roles,
		Attributes:   r.Attributes,
		Disabled:     r.Disabled,
		Stamp:        r.stamp,
	}
}

// read returns the user whose row has the given value in the given column. The
// parameter lock is a clause to append to the statement, such as FOR SHARE, or "".
func (u *Users) read(ctx context.Context, pool gorm.ConnPool, column, lock, value string) (row userRow, err error) {
	rows, err := pool.QueryContext(ctx, u.sql(`SELECT `+userColumns+` FROM tokenauth_users WHERE `+column+` = ?`+u.dialect.primary+lock), value)
	if err != nil {
		return row, err
	}
	err = readRow(rows, row.scan)
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
