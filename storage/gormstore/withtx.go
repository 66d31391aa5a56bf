package gormstore

import (
	"context"

	"gorm.io/gorm"
)

// WithTx returns a Store whose statements are part of the transaction tx, for example to
// end a user's tokens together with a change to your own users table. The changes take
// effect when the caller commits. Only the goroutine that owns tx may use the returned
// Store, and only until tx ends. It has no [Store.ChangeUser].
//
// On PostgreSQL the transaction must have the isolation level READ COMMITTED, the
// default. At a higher level the transaction works on a snapshot and would not end a
// token that was issued after the snapshot, so the methods that end tokens return an
// error. On MariaDB and MySQL, also choose READ COMMITTED. At their default, REPEATABLE
// READ, some sign-ins of other users would wait for the transaction.
//
// A sign-in that is in progress when the transaction ends the user's tokens may store
// its token before the commit, and that token stays valid. So call
// [tokenauth.Service.RevokeUser] after the commit, or use [Store.ChangeUser].
//
// RevokeClient, RevokeAll, RevokeUnused and Purge read the whole table of tokens. In a
// transaction, sign-ins wait until it ends if their tokens are among the deleted ones.
//
// If the database rolls the transaction back because of a deadlock, or in a Galera
// cluster because of a conflict (error 1213), run the whole transaction again.
func (s *Store) WithTx(tx *gorm.DB) *Store {
	pool := explaining{tx.Statement.ConnPool}
	c := *s
	c.tx, c.users = tx, s.users.WithTx(tx)
	for _, q := range []**statement{
		&c.replace, &c.replaceAllColumns, &c.replaceWithRefresh, &c.refresh, &c.find, &c.list, &c.revoke, &c.revokeUser,
		&c.findBatch.small, &c.findBatch.large, &c.findUses.small, &c.findUses.large,
		&c.findRefresh.small, &c.findRefresh.large,
	} {
		*q = &statement{text: (*q).text, tries: 1, pool: pool}
	}
	return &c
}

// session returns the session that runs the store's statements.
func (s *Store) session() session { return session{s.database, s.tx} }

// mayEndTokens returns errIsolationLevel, wrapped, if the store is in a transaction that
// might not see all tokens.
func (s *Store) mayEndTokens(ctx context.Context) error {
	own := s.session()
	return own.checkIsolation(ctx, own.pool())
}
