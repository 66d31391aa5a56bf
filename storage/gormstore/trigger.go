package gormstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"gorm.io/gorm"
)

var errNoFeed = errors.New("gormstore: the feed of changes is not available")

// canFeed returns errNoFeed, wrapped, if the engine has no notifications.
func (d *database) canFeed() error {
	if d.db.Name() != "postgres" {
		return fmt.Errorf("%w: %s cannot notify of changes, only PostgreSQL can", errNoFeed, d.db.Name())
	}
	return nil
}

// rowBeat is the beginning of the payload that the trigger sends for a heartbeat. The
// rest of the payload is the new stamp of the heartbeat row. Every version of this
// package ignores unknown payloads that begin with "beat ".
const rowBeat = "beat row "

// extension is part of the trigger function of the newest migration, which does not
// report that a token was extended. Earlier versions of this package accept that
// function, too, because they look for rowBeat only.
const extension = "extended.expires_at"

// noTrigger returns errNoFeed, wrapped with the reason that the token table lacks
// working triggers.
func (d *database) noTrigger() error {
	return fmt.Errorf("%w: table %stokens lacks the trigger, or the trigger is an old one or is not ENABLE ALWAYS, or the table is partitioned or inherited from: call Migrate with Options.Feed, or apply the SQL files in storage/gormstore/migrations/postgres_feed", errNoFeed, d.prefix)
}

// ordinary is a condition on a row c of pg_class. It is true for an ordinary table
// from which no other table inherits, and false for a partitioned table, a foreign
// table or a view.
const ordinary = `c.relkind = 'r' AND NOT EXISTS (SELECT FROM pg_catalog.pg_inherits i WHERE i.inhparent = c.oid)`

// checkOrdinary returns errNoFeed, wrapped, if the token table is not ordinary. Some
// changes to such a table might not fire its triggers.
func (d *database) checkOrdinary(ctx context.Context, pool gorm.ConnPool) error {
	var tables int
	err := pool.QueryRowContext(ctx, `SELECT pg_catalog.count(*) FROM pg_catalog.pg_class c WHERE c.oid = pg_catalog.to_regclass($1)::oid AND `+ordinary, d.prefix+"tokens").Scan(&tables)
	if err == nil && tables == 0 {
		err = fmt.Errorf("%w: table %stokens is partitioned or inherited from, or is not an ordinary table, so some changes may not fire its triggers; keep the tokens in one ordinary table, or set no cache", errNoFeed, d.prefix)
	}
	return err
}

// readTriggers counts the table's triggers that match the newest migration. Two are
// needed: one for any UPDATE or DELETE (type 25 in PostgreSQL's pg_trigger.h), and
// one for TRUNCATE (type 32). The count is 0 if the table is not ordinary, because
// some changes may then not fire its triggers.
//
// It also returns a version, which changes whenever the table, a trigger or the
// trigger function is altered or replaced, even if the result is the same as before.
//
// In this and all other statements for PostgreSQL, names are schema-qualified.
// Arguments are cast unless pg_catalog has an operator or function for exactly their
// types. Without these precautions, another role could create a better-matching
// operator or function in a schema on the search path, and PostgreSQL would call
// that.
const readTriggers = `SELECT pg_catalog.count(*) AS triggers,
	pg_catalog.string_agg(pg_catalog.concat_ws(' ', t.oid, t.xmin, p.oid, p.xmin, c.oid, c.xmin), ', ' ORDER BY t.tgname) AS version
	FROM pg_catalog.pg_trigger t JOIN pg_catalog.pg_proc p ON p.oid = t.tgfoid JOIN pg_catalog.pg_class c ON c.oid = t.tgrelid
	WHERE t.tgrelid = pg_catalog.to_regclass(?)::oid AND t.tgenabled = 'A'
	AND (t.tgname = ? AND t.tgtype = 25 OR t.tgname = ? AND t.tgtype = 32) AND t.tgattr::text = ''
	AND ` + ordinary + `
	AND 'search_path=pg_catalog, pg_temp' = ANY (p.proconfig) AND pg_catalog.strpos(p.prosrc, '` + rowBeat + `') > 0
	AND pg_catalog.strpos(p.prosrc, '` + extension + `') > 0`

// allTriggers is the count that readTriggers returns if the feed is installed.
const allTriggers = 2

// triggerArgs are the arguments of readTriggers.
func (d *database) triggerArgs() []any {
	return []any{d.prefix + "tokens", d.prefix + "tell", d.prefix + "tell_all"}
}

// feedInstalled reports whether both triggers of the newest migration exist. Unlike
// older triggers, they report heartbeats, fire in every session, and do not report that
// a token was extended.
func (d *database) feedInstalled(ctx context.Context, pool gorm.ConnPool) (bool, error) {
	var triggers int
	var version sql.NullString
	err := pool.QueryRowContext(ctx, d.sql(readTriggers), d.triggerArgs()...).Scan(&triggers, &version)
	return triggers == allTriggers, err
}
