package gormstore

import (
	"context"
	"database/sql"
	"embed"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"gorm.io/gorm"
)

// Migrations are the SQL files that [Migrate] applies, for services with a migration
// tool. There is a folder for each engine. The files have the names that
// golang-migrate expects, and use the default table prefix. They can be applied again;
// a comment in a file says where an engine does not allow it.
//
//go:embed migrations
var Migrations embed.FS

// schemaVersion is the number of the newest migration.
const schemaVersion = 5

// Migrate creates the tables or updates them to this version of the package. If
// [Options.Feed] is set, it also installs the trigger for [WithFeed]. It uses
// [Options.TablePrefix] and [Options.Feed]; o may be nil. Call it at each start:
// it is idempotent, and several processes may call it at once.
//
// Migrate reads the version in the table tokenauth_schema. To recreate a table, drop
// tokenauth_schema, too.
//
// Migrate returns an error and changes nothing if
//   - a table to create or change exists and does not belong to this package;
//   - on PostgreSQL, a table to create exists and has an owner that Migrate does not
//     trust. It trusts the present role, roles of which that is a member, the
//     database's owner, superusers, and the owner of tokenauth_schema;
//   - [New] would refuse a setting of the database.
//
// To install or replace the trigger, Migrate locks the table of tokens for a moment.
// It gives up after 30 seconds if other transactions, such as a backup, hold the
// table. Meanwhile requests wait for up to half a second at a time.
func Migrate(ctx context.Context, db *gorm.DB, o *Options) error {
	if o == nil {
		o = new(Options)
	}
	d, err := open(db, o.TablePrefix)
	if err != nil {
		return err
	}
	if err := d.check(ctx); err != nil {
		return err
	}
	if err := d.migrate(ctx); err != nil {
		return fmt.Errorf("gormstore: migrating: %w", explain(err))
	}
	if err := d.checkMemory(ctx); err != nil {
		return err
	}
	if err := d.checkEngine(ctx, d.pool); err != nil {
		return err
	}
	if !o.Feed {
		return nil
	}
	if err := d.canFeed(); err != nil {
		return err
	}
	if err := d.migrateFeed(ctx); err != nil {
		return fmt.Errorf("gormstore: installing the feed: %w", err)
	}
	return nil
}

func (d *database) migrate(ctx context.Context) error {
	version, err := d.checkForeign(ctx, d.pool)
	if err != nil {
		return err
	}
	// MariaDB and MySQL commit at each CREATE TABLE. So a script may have been
	// applied in part, and every script can be applied again.
	return d.applyFrom(ctx, d.pool, d.dialect.folder, version)
}

// migrateFeed installs the trigger unless its newest version exists. Installing locks
// the table, which must not happen at each start of a replica.
//
// While a transaction waits for that lock, all other users of the table wait behind
// it. So each attempt waits for less than the timeout of a request, and pauses before
// the next one.
func (d *database) migrateFeed(ctx context.Context) (err error) {
	const tries, pause = 20, time.Second
	for range tries {
		err = d.tryMigrateFeed(ctx)
		if sqlState(err) != "55P03" { // lock_not_available
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
		}
	}
	return fmt.Errorf("another transaction, such as a backup, holds a lock on table %stokens: call Migrate after that transaction has ended: %w", d.prefix, err)
}

func (d *database) tryMigrateFeed(ctx context.Context) error {
	return d.db.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		pool := tx.Statement.ConnPool
		const anyNumber = 7276453 // the same in all processes
		if _, err := pool.ExecContext(ctx, `SELECT pg_catalog.pg_advisory_xact_lock($1)`, anyNumber); err != nil {
			return err
		}
		installed, err := d.feedInstalled(ctx, pool)
		if err != nil || installed {
			return err
		}
		if err := d.checkOrdinary(ctx, pool); err != nil {
			return err
		}
		if err := d.checkForeignFunction(ctx, pool); err != nil {
			return err
		}
		if _, err := pool.ExecContext(ctx, `SET LOCAL lock_timeout = '500ms'`); err != nil {
			return err
		}
		return d.applyFrom(ctx, pool, "postgres_feed", 0)
	})
}

// A script is a file of [Migrations] with the table prefix in use.
type script struct{ file, text string }

// scripts returns the scripts of a folder that migrate up, in order.
func (d *database) scripts(folder string) (scripts []script, err error) {
	files, err := fs.Glob(Migrations, "migrations/"+folder+"/*.up.sql")
	if err != nil {
		return nil, err
	}
	for _, file := range files {
		text, err := Migrations.ReadFile(file)
		if err != nil {
			return nil, err
		}
		scripts = append(scripts, script{file, strings.ReplaceAll(string(text), defaultPrefix, d.prefix)})
	}
	return scripts, nil
}

// applyFrom applies the scripts of a folder, except the first ones, which were applied
// before.
func (d *database) applyFrom(ctx context.Context, pool gorm.ConnPool, folder string, applied int) error {
	scripts, err := d.scripts(folder)
	if err != nil {
		return err
	}
	for _, script := range scripts[min(applied, len(scripts)):] {
		// An empty line separates the statements of a script.
		for statement := range strings.SplitSeq(script.text, ";\n\n") {
			if err := d.applyOne(ctx, pool, statement); err != nil {
				return fmt.Errorf("%s: %w", script.file, explainRights(err))
			}
		}
	}
	return nil
}

// explainRights adds to err the rights that the database account needs.
func explainRights(err error) error {
	const other = "; or let another account migrate (see Rights in storage/gormstore/README.md)"
	text := err.Error()
	switch {
	case sqlState(err) == "42501" && strings.Contains(text, "must be owner"):
		return fmt.Errorf("%w: only the account that created it, or a member of that role, can change it: connect as that account"+other, err)
	case sqlState(err) == "42501":
		return fmt.Errorf("%w; it needs CREATE on the schema, which since PostgreSQL 15 only the database's owner has: connect as the owner, or GRANT CREATE ON SCHEMA public TO the user"+other, err)
	case strings.HasPrefix(text, "Error 1142 (42000)"), strings.HasPrefix(text, "Error 1044 (42000)"):
		return fmt.Errorf("%w; it needs SELECT, INSERT, CREATE and ALTER on the database: grant them"+other, err)
	}
	return err
}

// applyOne applies a statement, and tries again if another process did so at the same
// time.
func (d *database) applyOne(ctx context.Context, pool gorm.ConnPool, statement string) (err error) {
	for range 5 {
		_, err = pool.ExecContext(ctx, statement)
		if err == nil || hasColumn(err) {
			return nil
		}
		if !collided(err) || ctx.Err() != nil {
			return err
		}
	}
	return err
}

// hasColumn reports whether the column to add exists already. MySQL and SQLite have no
// ADD COLUMN IF NOT EXISTS, and their errors have no code that this package can read.
func hasColumn(err error) bool {
	text := err.Error()
	return strings.HasPrefix(text, "Error 1060 (42S21)") || strings.Contains(text, "duplicate column name: ")
}

// collided reports whether two CREATE TABLE IF NOT EXISTS ran at the same time. In
// PostgreSQL one of them fails then (23505, 42P07, 42710).
func collided(err error) bool {
	state := sqlState(err)
	return state == "23505" || state == "42P07" || state == "42710"
}

// schemaVersion returns the number of the newest migration that was applied, or 0 if
// none was.
func (d *database) schemaVersion(ctx context.Context, pool gorm.ConnPool) (int, error) {
	var tables int
	if err := pool.QueryRowContext(ctx, d.sql(d.dialect.exists), d.prefix+"schema").Scan(&tables); err != nil {
		return 0, err
	}
	if tables == 0 {
		return 0, nil
	}
	var version sql.NullInt64
	err := pool.QueryRowContext(ctx, d.sql(`SELECT max(version) FROM tokenauth_schema WHERE true`+d.dialect.primary)).Scan(&version)
	if err != nil {
		return 0, fmt.Errorf("reading table %sschema: %w", d.prefix, err)
	}
	return int(max(version.Int64, 0)), nil
}

// checkSchema returns [ErrSchemaVersion], wrapped, if the schema is missing or older
// than this package needs.
func (d *database) checkSchema(ctx context.Context) error {
	version, err := d.schemaVersion(ctx, d.pool)
	if err != nil {
		return fmt.Errorf("gormstore: reading the schema's version: %w", err)
	}
	if version == 0 {
		return fmt.Errorf("%w (found no version, need %d, tables %s…; if they exist, this account lacks SELECT on %[3]sschema, or USAGE on its schema)", ErrSchemaVersion, schemaVersion, d.prefix)
	}
	if version < schemaVersion {
		return fmt.Errorf("%w (found version %d, need %d, tables %s…)", ErrSchemaVersion, version, schemaVersion, d.prefix)
	}
	return nil
}
