// Package gormstore keeps tokens, and users for hosts that have none, in the
// database that a host already uses through GORM: PostgreSQL, MariaDB or
// MySQL, and SQLite. It imports no driver.
//
// It takes the host's *gorm.DB as it is, and uses it for its connections only:
// statements go straight to the connection pool, so no naming strategy, no
// hook, no DryRun and no replica resolver changes what they say or where they
// go, and no SQL logger prints a digest or a password hash.
//
// The tables are made by Migrate, or by the SQL files in the folder migrations
// for hosts with a migration tool of their own. New fails if they are missing.
//
// # Fail-over of PostgreSQL
//
// With a DSN that names both servers, services and their feeds find by
// themselves the one that is the primary:
//
//	postgres://db1,db2/service?target_session_attrs=read-write&connect_timeout=1
//
// Without target_session_attrs they may be at a standby, which lags and accepts
// what has ended. A server that is gone without a word costs each new
// connection connect_timeout, which is endless by default. It has to leave time
// for the next server within tokenauth.Options.Timeout.
//
// PostgreSQL replicates after it has answered, unless it is told otherwise. A
// fail-over then loses what the standby had not received: a token that was just
// issued is unknown, and its client signs in again; but a token that was just
// revoked or replaced is good again, until it expires or is ended once more.
// With synchronous_standby_names set, and synchronous_commit at its default on
// or at remote_apply, nothing is lost that was confirmed. (What ended in a 503
// may have been done, and a fail-over may undo it.) While no such standby
// answers, each commit waits: sign-ins and revocations end in a 503, and
// validations go on.
//
// The old primary must be down, or out of the services' reach, before the
// standby is promoted. That it is read-only does not do: the services keep the
// connections that they have, and on these a token is good that has ended at
// the new primary. A cache keeps such an answer until the token expires.
// Nothing here can tell; once it has happened, restart the services.
package gormstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"gorm.io/gorm"
	"gorm.io/gorm/logger"

	"github.com/bearerkit/bearerkit/tokenauth"
	"github.com/bearerkit/bearerkit/tokenauth/password"
)

// Options are what a host may want otherwise. The zero value is the advice.
type Options struct {
	// TablePrefix begins the names of the tables; empty means "tokenauth_". It
	// has 1 to 32 lower-case letters, digits and '_', and begins with a letter.
	TablePrefix string
	// Feed has Migrate install the trigger on which WithFeed, and so the cache,
	// is built; on PostgreSQL only. Zero means no trigger. One that is there
	// stays.
	Feed bool
	// Passwords are the options of Users; nil for their defaults. Without an
	// Upgrade of the host's, Users upgrades its own table. Its NormalizeUserName
	// is that of Users, whatever this one is.
	Passwords *password.Options
}

// A Store is a tokenauth.Storage in a SQL database, and has the abilities
// Lister, Purger, throttle.Storage and ClientRevoker. It is safe for
// concurrent use, by any number of processes on one database.
type Store struct {
	db      *gorm.DB // for transactions
	pool    gorm.ConnPool
	dialect dialect
	prefix  string
	users   *Users

	replace, find, list, revoke, revokeUser, upgrade *statement
}

var (
	_ tokenauth.Storage = (*Store)(nil)
	_ tokenauth.Lister  = (*Store)(nil)
	_ tokenauth.Purger  = (*Store)(nil)
)

// New returns a Store in the database. Options may be nil. It reads the
// version of the schema and returns ErrSchemaVersion, wrapped, if Migrate has to be
// called first; or an error that names what is wrong with the arguments; or
// the database's. The host keeps the database, and closes it.
func New(ctx context.Context, db *gorm.DB, o *Options) (*Store, error) {
	s, err := open(db, o)
	if err != nil {
		return nil, err
	}
	version, err := s.schemaVersion(ctx, s.pool)
	if err != nil {
		return nil, fmt.Errorf("gormstore: reading the schema's version: %w", err)
	}
	if version < schemaVersion {
		return nil, fmt.Errorf("%w (found version %d, need %d, tables %s…)", ErrSchemaVersion, version, schemaVersion, s.prefix)
	}
	var passwords *password.Options
	if o != nil {
		passwords = o.Passwords
	}
	if s.users, err = newUsers(s, passwords); err != nil {
		return nil, err
	}
	return s, nil
}

// open returns a Store whose schema has not been looked at.
func open(db *gorm.DB, o *Options) (*Store, error) {
	if db == nil || db.Statement == nil || db.Statement.ConnPool == nil {
		return nil, errors.New("gormstore: the database is nil or not open")
	}
	pool := db.Statement.ConnPool
	if _, ok := pool.(gorm.TxCommitter); ok {
		return nil, errors.New("gormstore: the database is a transaction; a store needs its connection pool")
	}
	if o == nil {
		o = &Options{}
	}
	prefix := o.TablePrefix
	if prefix == "" {
		prefix = defaultPrefix
	}
	if !prefixPattern.MatchString(prefix) {
		return nil, fmt.Errorf("gormstore: Options.TablePrefix is %q, must be 1 to 32 lower-case letters, digits and '_', beginning with a letter", prefix)
	}
	d, ok := dialects[db.Name()]
	if !ok {
		return nil, fmt.Errorf("gormstore: the dialect is %q, must be postgres, mysql or sqlite", db.Name())
	}
	s := &Store{
		db:      db.Session(&gorm.Session{NewDB: true, Logger: logger.Discard}),
		pool:    pool,
		dialect: d,
		prefix:  prefix,
	}
	s.replace = s.statement(`INSERT INTO tokenauth_tokens AS t
		(user_key, client_key, format, digest, issued_at, expires_at, client_id, user_id, user_name, roles, attributes, stamp)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)` + d.overwrite)
	s.find = s.statement(`SELECT ` + tokenColumns + ` FROM tokenauth_tokens WHERE user_key = ? AND client_key = ?`)
	s.list = s.statement(`SELECT ` + tokenColumns + ` FROM tokenauth_tokens WHERE user_key = ?`)
	s.revoke = s.statement(`DELETE FROM tokenauth_tokens WHERE user_key = ? AND client_key = ? AND digest = ?`)
	s.revokeUser = s.statement(deleteTokensOfUser)
	s.upgrade = s.statement(`UPDATE tokenauth_users SET password_hash = ? WHERE id = ? AND password_hash = ?`)
	return s, nil
}

const deleteTokensOfUser = `DELETE FROM tokenauth_tokens WHERE user_key = ?`

// Replace implements tokenauth.Storage, by one statement.
func (s *Store) Replace(ctx context.Context, t tokenauth.Token) error {
	roles, attributes, err := encode(t.Principal.Roles, t.Principal.Attributes)
	if err != nil {
		return err
	}
	p := &t.Principal
	_, err = s.replace.exec(ctx,
		t.Slot.User[:], t.Slot.Client[:], rowFormat, t.Digest[:], t.IssuedAt.Unix(), t.ExpiresAt.Unix(),
		t.ClientID, p.UserID, p.UserName, roles, attributes, p.Stamp)
	return err
}

// Find implements tokenauth.Storage, by one read of the primary key.
func (s *Store) Find(ctx context.Context, slot tokenauth.Slot) (t tokenauth.Token, err error) {
	r := tokenRows.Get().(*tokenRow)
	defer r.free()
	// The raw bytes are only good until the rows are closed, so no QueryRow here.
	err = s.find.queryRow(ctx, func(scan func(...any) error) error {
		t, err = r.read(scan)
		return err
	}, slot.User[:], slot.Client[:])
	if errors.Is(err, sql.ErrNoRows) {
		err = tokenauth.ErrNotFound
	}
	return t, err
}

// Revoke implements tokenauth.Storage.
func (s *Store) Revoke(ctx context.Context, slot tokenauth.Slot, d tokenauth.Digest) error {
	_, err := s.revoke.exec(ctx, slot.User[:], slot.Client[:], d[:])
	return err
}

// RevokeUser implements tokenauth.Storage.
func (s *Store) RevokeUser(ctx context.Context, u tokenauth.UserKey) error {
	_, err := s.revokeUser.exec(ctx, u[:])
	return err
}

// Users returns the users that are kept beside the tokens, for hosts without a
// users table of their own.
func (s *Store) Users() *Users { return s.users }
