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
// Users and Clients need not be in the database of the tokens: their changes end
// tokens elsewhere, too, while tokenauth.Service.Run runs.
//
// # Fail-over of PostgreSQL
//
// With a DSN that names both servers, services and their feeds find by
// themselves the one that is the primary:
//
//	postgres://db1,db2/service?target_session_attrs=read-write&connect_timeout=1
//
// A single server needs connect_timeout, too, and MariaDB and MySQL timeout and
// readTimeout. database/sql opens connections one after the other where calls wait
// for one, and sets no limit. One that hangs keeps all calls waiting after the
// network is back.
//
// Without target_session_attrs they may be at a standby, which lags and still has
// what has ended. There every read fails, and requests get 503. A server that is
// gone without a word costs each new
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
// standby is promoted. Making it read-only is not enough: the services keep the
// connections that they have, and on these a token is valid that has ended at
// the new primary. A cache keeps such an answer until the token expires.
// Nothing here can tell; once it has happened, restart the services. An old primary
// that comes back as a standby does no harm: every read fails there.
//
// # Galera
//
// Services may be connected to several nodes of a Galera cluster of MariaDB, each to
// its own or all through a load balancer. Each statement waits until its node has
// applied what was committed before at any node. Nothing has to be set. What hosts
// change in transactions of their own has to know that locks are a node's own: see
// Users.WithTx.
package gormstore

import (
	"context"
	"database/sql"
	"errors"

	"gorm.io/gorm"

	"github.com/bearerkit/bearerkit/tokenauth"
)

// A Store is a tokenauth.Storage in a SQL database, and has the abilities
// BatchFinder, Lister, Purger, throttle.Storage and ClientRevoker. It is safe for
// concurrent use, by any number of processes on one database.
type Store struct {
	*database
	users *Users

	replace, find, findSmallBatch, findBatch, list, revoke, revokeUser *statement
}

var (
	_ tokenauth.Storage     = (*Store)(nil)
	_ tokenauth.BatchFinder = (*Store)(nil)
	_ tokenauth.Lister      = (*Store)(nil)
	_ tokenauth.Purger      = (*Store)(nil)
)

// New returns a Store in the database. Options may be nil. New reads the version
// of the schema. The host keeps the database, and closes it. New returns
//   - ErrSchemaVersion, wrapped, if Migrate must be called first;
//   - an error that names the wrong argument;
//   - an error that says what to set, if a setting of the database or its pool
//     must change, or a pooler, such as PgBouncer, does not fit how the driver
//     runs statements (README.md lists both);
//   - the database's error.
func New(ctx context.Context, db *gorm.DB, o *Options) (*Store, error) {
	if o == nil {
		o = new(Options)
	}
	d, err := open(db, o.TablePrefix)
	if err != nil {
		return nil, err
	}
	if err := d.check(ctx); err != nil {
		return nil, err
	}
	if err := d.checkMemory(ctx); err != nil {
		return nil, err
	}
	if err := d.checkRowSecurity(ctx); err != nil {
		return nil, err
	}
	if err := d.checkSchema(ctx); err != nil {
		return nil, err
	}
	if err := d.checkEngine(ctx, d.pool); err != nil {
		return nil, err
	}
	users, err := newUsers(d, o.Passwords)
	if err != nil {
		return nil, err
	}
	return &Store{
		database: d,
		users:    users,
		replace: d.statement(`INSERT INTO tokenauth_tokens AS t
			(user_key, client_key, format, digest, issued_at, expires_at, client_id, user_id, user_name, roles, attributes, stamp)
			VALUES (?, ?, ` + d.dialect.guarded("?") + `, ?, ?, ?, ?, ?, ?, ?, ?, ?)` + d.dialect.overwrite),
		find:           d.statement(`SELECT ` + tokenColumns + ` FROM tokenauth_tokens WHERE user_key = ? AND client_key = ?` + d.dialect.primary),
		findSmallBatch: d.statement(d.dialect.findBatch(smallBatch)),
		findBatch:      d.statement(d.dialect.findBatch(maxBatch)),
		list:           users.list,
		revoke:         d.statement(deleteToken),
		revokeUser:     d.statement(deleteTokensOfUser + d.dialect.unlimited),
	}, nil
}

// Replace implements tokenauth.Storage, by one statement.
func (s *Store) Replace(ctx context.Context, t tokenauth.Token) error {
	roles, attributes, err := encode(t.Principal.Roles, t.Principal.Attributes)
	if err != nil {
		return err
	}
	if err := s.dialect.fits("the ID of a client", t.ClientID, 256); err != nil {
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
