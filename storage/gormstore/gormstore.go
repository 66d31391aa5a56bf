// Package gormstore stores tokens in the database that a service already uses through
// GORM: PostgreSQL, MariaDB, MySQL or SQLite. It also has a users table for services
// that have none ([Users]), and a table of OAuth clients ([Clients]). It imports no
// driver.
//
// Create the tables with [Migrate], or with the SQL files in the folder migrations if
// you have a migration tool ([Migrations]). Then open the store with [New].
//
// The store uses only the connection pool of your [gorm.DB]. Naming strategies, hooks,
// DryRun and replica resolvers do not affect its statements, and GORM's logger does not
// print the digests and password hashes in them.
//
// The tokens may be in a different database from Users and Clients, or in Redis. A
// change to a user or client then ends tokens in that other storage only while
// [tokenauth.Service.Run] runs.
//
// # PostgreSQL failover
//
// Name both servers in the DSN, so that services and their feeds find the primary:
//
//	postgres://db1,db2/service?target_session_attrs=read-write&connect_timeout=1
//
// Set connect_timeout for a single server, too. For MariaDB and MySQL, set timeout
// and readTimeout. These settings are necessary because the pool ([sql.DB]) has no
// timeout of its own. While calls wait for a connection, the pool opens connections
// one at a time. So without a timeout, one attempt that hangs keeps all calls
// waiting, even after the network is back.
//
// Without target_session_attrs, connections may lead to a standby. A standby lags
// behind the primary and may still have tokens that have ended. Therefore the store
// refuses to read there, and requests get 503.
//
// If the first server does not answer, each new connection waits for connect_timeout
// before it tries the next one. By default that wait is unlimited. Choose a value that
// leaves time for the next server within [tokenauth.Options.Timeout].
//
// By default PostgreSQL replicates asynchronously, so a failover loses changes that the
// standby has not received:
//
//   - A token that was just issued is unknown. Its client signs in again.
//   - A token that was just revoked or replaced is valid again, until it expires or is
//     revoked or replaced a second time.
//   - A refresh token that was just issued by a refresh is unknown. When its client uses
//     it, the sign-in ends, and the log reports reuse. The client signs in again.
//
// To keep every confirmed change, set synchronous_standby_names, and set
// synchronous_commit to on (the default) or remote_apply. A change whose request got
// 503 may have been made nevertheless, and a failover may undo it. While no synchronous
// standby answers, commits wait: sign-ins and revocations get 503, and validations go
// on.
//
// Before you promote the standby, make sure that the old primary is down, or that
// services cannot reach it. Making the old primary read-only is not enough, because
// services keep their connections to it. Tokens that end at the new primary then stay
// valid at the old one, and a cache keeps such a token until it expires. This package
// cannot detect that services still use a read-only old primary, so restart the
// services afterwards. An old primary that returns as a standby is safe, because the
// store refuses to read there.
//
// # Galera
//
// Services may use several nodes of a MariaDB Galera cluster, directly or through a
// load balancer. No MariaDB setting is necessary, because each of the store's statements
// waits until its node has applied everything that any node committed before. Nodes
// do not share locks, which matters in your own transactions: see [Users.WithTx].
package gormstore

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"gorm.io/gorm"

	"github.com/bearerkit/bearerkit/tokenauth"
)

// A Store is a [tokenauth.Storage] in a SQL database. It also implements
// [tokenauth.BatchFinder], [tokenauth.Lister], [tokenauth.Purger],
// [tokenauth.BulkRevoker], [tokenauth.UseRecorder], [tokenauth.Refresher],
// [tokenauth.Renamer] and throttle.Storage. It is safe for concurrent use. Any number of
// processes may use one database.
type Store struct {
	*database
	tx    *gorm.DB // the caller's transaction, or nil
	users *Users

	replace, replaceAllColumns, replaceWithRefresh, refresh *statement
	find, list, revoke, revokeUser                          *statement
	findBatch, findUses, findRefresh                        batchStatement
}

var (
	_ tokenauth.Storage     = (*Store)(nil)
	_ tokenauth.BatchFinder = (*Store)(nil)
	_ tokenauth.Lister      = (*Store)(nil)
	_ tokenauth.Purger      = (*Store)(nil)
	_ tokenauth.BulkRevoker = (*Store)(nil)
	_ tokenauth.UseRecorder = (*Store)(nil)
	_ tokenauth.Refresher   = (*Store)(nil)
	_ tokenauth.Renamer     = (*Store)(nil)
)

// New returns a [Store] in the database db. A nil o selects the defaults. New checks
// the database but creates no tables. The caller remains responsible for closing db.
//
// The error is one of:
//   - [ErrSchemaVersion], wrapped: call [Migrate] first;
//   - an error that names an invalid argument or option;
//   - an error that says which setting to change in the database, in the connection
//     pool, or for a pooler such as PgBouncer (README.md lists the settings);
//   - an error from the database.
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
	users, err := newUsers(d, o)
	if err != nil {
		return nil, err
	}
	return &Store{
		database: d,
		users:    users,
		replace: d.statement(`INSERT INTO tokenauth_tokens AS t
			(user_key, client_key, format, digest, issued_at, expires_at, client_id, user_id, user_name, roles, attributes, stamp)
			VALUES (?, ?, ` + d.dialect.guarded("?") + `, ?, ?, ?, ?, ?, ?, ?, ?, ?)` + d.dialect.overwrite + clearDevice),
		replaceAllColumns: d.statement(`INSERT INTO tokenauth_tokens AS t
			(user_key, client_key, format, digest, issued_at, expires_at, client_id, user_id, user_name, roles, attributes, stamp, device, device_name, issued_ms, lifetime)
			VALUES (?, ?, ` + d.dialect.guarded("?") + `, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)` + d.dialect.overwrite + d.dialect.overwriteDevice),
		replaceWithRefresh: d.statement(`INSERT INTO tokenauth_tokens AS t
			(user_key, client_key, format, digest, issued_at, expires_at, client_id, user_id, user_name, roles, attributes, stamp, device, device_name, issued_ms, lifetime, refresh, refresh_expires_at)
			VALUES (?, ?, ` + d.dialect.guarded("?") + `, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)` + d.dialect.overwrite + d.dialect.overwriteDevice + d.dialect.overwriteRefresh),
		refresh: d.statement(`UPDATE tokenauth_tokens SET digest = ?, replaced = ?, issued_at = ?, expires_at = ?, user_name = ?, roles = ?, attributes = ?, stamp = ?,
			issued_ms = ?, refresh = ?, refresh_expires_at = ? WHERE user_key = ? AND client_key = ? AND digest = ? AND refresh = ? AND stamp = ?`),
		find:        d.statement(`SELECT ` + tokenColumns + ` FROM tokenauth_tokens WHERE user_key = ? AND client_key = ?` + d.dialect.primary),
		findBatch:   d.batchStatement("tokenauth_tokens", tokenColumns),
		findUses:    d.batchStatement("tokenauth_uses", useColumns),
		findRefresh: d.batchStatement("tokenauth_tokens", refreshColumns),
		list:        users.list,
		revoke:      d.statement(deleteToken),
		revokeUser:  d.statement(deleteTokensOfUser + d.dialect.unlimited),
	}, nil
}

// Replace implements [tokenauth.Storage] with one statement.
//
// For a token without the fields that version 6 of the schema added, the statement has
// the same arguments as in earlier versions, and sets the columns of these fields to
// constants.
func (s *Store) Replace(ctx context.Context, t tokenauth.Token) error {
	roles, attributes, err := encode(t.Principal.Roles, t.Principal.Attributes)
	if err != nil {
		return err
	}
	if err := s.dialect.fits("the client ID", t.ClientID, 256); err != nil {
		return err
	}
	p := &t.Principal
	replace, args := s.replace, []any{
		t.Slot.User[:], t.Slot.Client[:], rowFormat, t.Digest[:], t.IssuedAt.Unix(), t.ExpiresAt.Unix(),
		t.ClientID, p.UserID, p.UserName, roles, attributes, p.Stamp,
	}
	issuedMS := t.IssuedAt.Nanosecond() / int(time.Millisecond)
	if t.Device != "" || t.DeviceName != "" || issuedMS != 0 || t.Lifetime != 0 {
		if err := errors.Join(s.dialect.fits("the device", t.Device, 64), s.dialect.fitsName(t.DeviceName)); err != nil {
			return err
		}
		replace, args = s.replaceAllColumns, append(args, t.Device, t.DeviceName, issuedMS, int64(t.Lifetime/time.Second))
	}
	if t.Refresh != nil {
		if replace == s.replace {
			args = append(args, "", "", 0, 0)
		}
		if err := s.dialect.fits("the state of the refresh token", string(t.Refresh.State), 512); err != nil {
			return err
		}
		replace, args = s.replaceWithRefresh, append(args, t.Refresh.State, t.Refresh.ExpiresAt.Unix())
	}
	_, err = replace.exec(ctx, args...)
	return err
}

// Find implements [tokenauth.Storage] with one read by the primary key.
func (s *Store) Find(ctx context.Context, slot tokenauth.Slot) (t tokenauth.Token, err error) {
	r := tokenRows.Get().(*tokenRow)
	defer r.free()
	// Do not use QueryRowContext, because sql.Row.Scan rejects the sql.RawBytes in r.
	err = s.find.queryRow(ctx, func(scan func(...any) error) error {
		t, err = r.read(scan)
		return err
	}, slot.User[:], slot.Client[:])
	if errors.Is(err, sql.ErrNoRows) {
		err = tokenauth.ErrNotFound
	}
	return t, err
}

// Revoke implements [tokenauth.Storage].
func (s *Store) Revoke(ctx context.Context, slot tokenauth.Slot, d tokenauth.Digest) error {
	if err := s.mayEndTokens(ctx); err != nil {
		return err
	}
	_, err := s.revoke.exec(ctx, slot.User[:], slot.Client[:], d[:])
	return err
}

// RevokeUser implements [tokenauth.Storage].
func (s *Store) RevokeUser(ctx context.Context, u tokenauth.UserKey) error {
	if err := s.mayEndTokens(ctx); err != nil {
		return err
	}
	_, err := s.revokeUser.exec(ctx, u[:])
	return err
}

// Users returns the users table in the store's database, for services that have no
// users table of their own.
func (s *Store) Users() *Users { return s.users }
