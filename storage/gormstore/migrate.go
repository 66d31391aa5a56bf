package gormstore

import (
	"context"
	"database/sql"
	"embed"
	"fmt"
	"io/fs"
	"regexp"
	"strings"
	"time"

	"gorm.io/gorm"
)

// Migrations contains the SQL files that [Migrate] applies, for services that have a
// migration tool of their own. There is one folder for each database engine. The
// files have the names that golang-migrate expects, and use the default table prefix.
// An "up" file can be applied more than once, unless a comment in the file says that
// the engine does not allow it.
//
//go:embed migrations
var Migrations embed.FS

// schemaVersion is the number of the newest migration.
const schemaVersion = 7

// Migrate creates the tables, or updates them to the schema that this version of the
// package needs. If [Options.Feed] is set, it also installs the trigger for
// [WithFeed]. It uses only the options [Options.TablePrefix] and [Options.Feed]; o
// may be nil. Call Migrate at each start: it is idempotent, and several processes may
// call it at the same time.
//
// Migrate records the schema version in the table tokenauth_schema. If you drop a
// table to recreate it, drop tokenauth_schema, too. Otherwise Migrate skips the
// migration that creates the table.
//
// Migrate returns an error and changes nothing if
//   - a table that it would create or change exists already and does not belong to
//     this package;
//   - on PostgreSQL, a table that it would create exists already and has an owner
//     that Migrate does not trust. It trusts the current role, every role that the
//     current role is a member of, the database's owner, superusers, and the owner of
//     tokenauth_schema;
//   - [New] would refuse a database setting.
//
// To change a table, or to install or replace the trigger, Migrate briefly locks the
// table. If another transaction, such as a backup, holds a lock on the table, Migrate on
// PostgreSQL retries for 30 seconds and then returns an error. During each attempt,
// requests wait for up to half a second. On MariaDB and MySQL, requests wait until that
// transaction ends, so do not upgrade during a backup.
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
	// MariaDB and MySQL commit at each CREATE TABLE, so a script cannot be applied in
	// one transaction. Instead, every script can be applied again after a failure.
	return d.applyFrom(ctx, d.pool, d.dialect.folder, version)
}

// migrateFeed installs the trigger unless the database already has its newest
// version. Installing the trigger locks the token table, which must not happen at
// every start of the service.
func (d *database) migrateFeed(ctx context.Context) error {
	return d.untilUnlocked(ctx, d.prefix+"tokens", func() error { return d.tryMigrateFeed(ctx) })
}

// lockTimeout limits how long a transaction in PostgreSQL waits for a lock on a table.
// While it waits, every other transaction that uses the table waits behind it. So the
// limit is less than a request's timeout.
const lockTimeout = `SET LOCAL lock_timeout = '500ms'`

// untilUnlocked calls try, a transaction with lockTimeout, until it gets the lock on the
// table. Between attempts it pauses.
func (d *database) untilUnlocked(ctx context.Context, table string, try func() error) (err error) {
	const tries, pause = 20, time.Second
	for range tries {
		err = try()
		if sqlState(err) != "55P03" { // lock_not_available
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
		}
	}
	return fmt.Errorf("another transaction, such as a backup, holds a lock on table %s: call Migrate after that transaction has ended: %w", table, err)
}

func (d *database) tryMigrateFeed(ctx context.Context) error {
	return d.db.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		pool := tx.Statement.ConnPool
		const anyNumber = 7276453 // identifies the lock; all processes use the same number
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
		if _, err := pool.ExecContext(ctx, lockTimeout); err != nil {
			return err
		}
		return d.applyFrom(ctx, pool, "postgres_feed", 0)
	})
}

// A script is a file from [Migrations] in which [Options.TablePrefix] has replaced
// the default prefix.
type script struct{ file, text string }

// scripts returns the "up" scripts in a folder, in numerical order.
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

// applyFrom applies the scripts in a folder in order. The argument applied is the
// number of scripts that were applied before; applyFrom skips those.
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

// explainRights returns err unchanged unless it is about missing rights. In that case,
// explainRights adds which rights the database account needs.
func explainRights(err error) error {
	const other = "; or let another account migrate (see Rights in storage/gormstore/README.md)"
	text := err.Error()
	switch {
	case sqlState(err) == "42501" && strings.Contains(text, "must be owner"):
		return fmt.Errorf("%w: only the owner of the table, or a member of the owner's role, can change it: connect as the owner"+other, err)
	case sqlState(err) == "42501":
		return fmt.Errorf("%w; the database account needs CREATE on the schema, which since PostgreSQL 15 only the database's owner has by default: connect as the owner, or GRANT CREATE ON SCHEMA public TO the account"+other, err)
	case strings.HasPrefix(text, "Error 1142 (42000)"), strings.HasPrefix(text, "Error 1044 (42000)"):
		return fmt.Errorf("%w; the database account needs SELECT, INSERT, CREATE and ALTER on the database: grant them"+other, err)
	}
	return err
}

// alterTable finds the table that a statement of a script changes.
var alterTable = regexp.MustCompile(`(?m)^ALTER TABLE (\w+)`)

// applyOne runs one statement of a script. If the statement fails only because
// another process ran it at the same time, applyOne runs it again.
//
// In PostgreSQL an ALTER TABLE runs in a transaction of its own with lockTimeout, unless
// the whole script runs in a transaction.
func (d *database) applyOne(ctx context.Context, pool gorm.ConnPool, statement string) (err error) {
	table := alterTable.FindStringSubmatch(statement)
	if _, within := pool.(gorm.TxCommitter); table != nil && !within && d.db.Name() == "postgres" {
		return d.untilUnlocked(ctx, table[1], func() error {
			return d.db.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
				if _, err := tx.Statement.ConnPool.ExecContext(ctx, lockTimeout); err != nil {
					return err
				}
				_, err := tx.Statement.ConnPool.ExecContext(ctx, statement)
				return err
			})
		})
	}
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

// hasColumn reports whether err means that the column to add exists already. A script
// that is applied again gets this error on MySQL and SQLite, which have no ADD COLUMN
// IF NOT EXISTS. hasColumn recognizes the error by its text, because this package
// does not import the drivers.
func hasColumn(err error) bool {
	text := err.Error()
	return strings.HasPrefix(text, "Error 1060 (42S21)") || strings.Contains(text, "duplicate column name: ")
}

// collided reports whether err means that two processes ran the same CREATE TABLE IF
// NOT EXISTS at the same time. In PostgreSQL one of the two processes then gets an
// error (23505, 42P07 or 42710).
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

// checkSchema returns [ErrSchemaVersion], wrapped, if the schema is missing, or is
// older than the version that this package needs.
func (d *database) checkSchema(ctx context.Context) error {
	version, err := d.schemaVersion(ctx, d.pool)
	if err != nil {
		return fmt.Errorf("gormstore: reading the schema version: %w", err)
	}
	if version == 0 {
		return fmt.Errorf("%w (no version found, need %d; table prefix %q. If the tables exist, the database account lacks SELECT on %[3]sschema, or USAGE on the PostgreSQL schema that contains it)", ErrSchemaVersion, schemaVersion, d.prefix)
	}
	if version < schemaVersion {
		return fmt.Errorf("%w (found version %d, need %d; table prefix %q)", ErrSchemaVersion, version, schemaVersion, d.prefix)
	}
	return nil
}
