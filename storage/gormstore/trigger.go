package gormstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"gorm.io/gorm"
)

var errNoFeed = errors.New("gormstore: no feed of changes")

// canFeed returns errNoFeed for an engine without notifications.
func (d *database) canFeed() error {
	if d.db.Name() != "postgres" {
		return fmt.Errorf("%w: %s does not tell of changes; only PostgreSQL does", errNoFeed, d.db.Name())
	}
	return nil
}

// rowBeat begins the payload that the trigger sends for a heartbeat; the new stamp
// of the row follows. Each version ignores what begins with "beat ".
const rowBeat = "beat row "

// noTrigger returns errNoFeed for a table without working triggers.
func (d *database) noTrigger() error {
	return fmt.Errorf("%w: table %stokens lacks the trigger, or has an old one or one that is not ENABLE ALWAYS, or is partitioned or inherited from: call Migrate with Options.Feed, or apply the SQL files in storage/gormstore/migrations/postgres_feed", errNoFeed, d.prefix)
}

// ordinary is a condition on c of pg_class: the table has all its rows itself.
const ordinary = `c.relkind = 'r' AND NOT EXISTS (SELECT FROM pg_catalog.pg_inherits i WHERE i.inhparent = c.oid)`

// checkOrdinary returns errNoFeed for a table whose triggers need not fire for all
// of its rows.
func (d *database) checkOrdinary(ctx context.Context, pool gorm.ConnPool) error {
	var tables int
	err := pool.QueryRowContext(ctx, `SELECT pg_catalog.count(*) FROM pg_catalog.pg_class c WHERE c.oid = pg_catalog.to_regclass($1)::oid AND `+ordinary, d.prefix+"tokens").Scan(&tables)
	if err == nil && tables == 0 {
		err = fmt.Errorf("%w: table %stokens is partitioned or inherited from, or is not an ordinary table: what changes a partition need not fire its triggers; keep the tokens in one ordinary table, or set no cache", errNoFeed, d.prefix)
	}
	return err
}

// readTriggers counts the triggers that are as the newest migration makes them,
// on the table that the name means at this moment. Both are needed: of changed
// and deleted rows, whichever the columns (type 25 in PostgreSQL's pg_trigger.h), and
// of TRUNCATE (32). The table must have all rows itself: what happens to a partition,
// or to a table that inherits from it, need not fire its triggers.
// The version is another one once somebody altered or replaced the table, a
// trigger or their function, also if all is as before.
//
// Names are qualified and types cast in statements for PostgreSQL where no
// operator or function of exactly these types exists. One that another role made in
// a schema on the search path would be the better match, and be called.
const readTriggers = `SELECT pg_catalog.count(*) AS triggers,
	pg_catalog.string_agg(pg_catalog.concat_ws(' ', t.oid, t.xmin, p.oid, p.xmin, c.oid, c.xmin), ', ' ORDER BY t.tgname) AS version
	FROM pg_catalog.pg_trigger t JOIN pg_catalog.pg_proc p ON p.oid = t.tgfoid JOIN pg_catalog.pg_class c ON c.oid = t.tgrelid
	WHERE t.tgrelid = pg_catalog.to_regclass(?)::oid AND t.tgenabled = 'A'
	AND (t.tgname = ? AND t.tgtype = 25 OR t.tgname = ? AND t.tgtype = 32) AND t.tgattr::text = ''
	AND ` + ordinary + `
	AND 'search_path=pg_catalog, pg_temp' = ANY (p.proconfig) AND pg_catalog.strpos(p.prosrc, '` + rowBeat + `') > 0`

// allTriggers is what readTriggers counts if the feed is installed.
const allTriggers = 2

// triggerArgs are the arguments of readTriggers.
func (d *database) triggerArgs() []any {
	return []any{d.prefix + "tokens", d.prefix + "tell", d.prefix + "tell_all"}
}

// feedInstalled reports whether the newest triggers are there: those that report
// the heartbeat, in every session.
func (d *database) feedInstalled(ctx context.Context, pool gorm.ConnPool) (bool, error) {
	var triggers int
	var version sql.NullString
	err := pool.QueryRowContext(ctx, d.sql(readTriggers), d.triggerArgs()...).Scan(&triggers, &version)
	return triggers == allTriggers, err
}
