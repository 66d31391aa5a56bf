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

// Migrations are the SQL files that Migrate applies, a folder for each engine,
// for hosts with a migration tool of their own. They are named as
// golang-migrate names them and say the default table prefix. What they make
// they leave alone if it is there; where an engine cannot, they say so.
//
//go:embed migrations
var Migrations embed.FS

// schemaVersion is the number of the newest migration.
const schemaVersion = 5

// Migrate creates the tables, or brings them up to date, and the trigger of the
// feed if Options.Feed is set. It is idempotent, and several processes may call it
// at once. It uses TablePrefix and Feed of the options, which may be nil. It
// reads the version in the table tokenauth_schema: to recreate a table, drop
// tokenauth_schema, too. It returns an error, and changes nothing, if a table that
// it would make or change is there and is not of this package; and on PostgreSQL if
// one that it would make belongs to another role. Owners that it trusts are a role
// that this one is a member of, the database's, a superuser, and the owner of
// tokenauth_schema. It refuses the settings that New refuses.
//
// To install or replace the trigger it locks the table of tokens for a moment. It
// gives up after half a minute in which other transactions, such as a backup,
// had that locked. Requests wait for half a second at a time meanwhile.
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
	// MariaDB and MySQL commit with each CREATE TABLE whatever we do, so every
	// script bears being applied again, wherever it was left.
	return d.applyFrom(ctx, d.pool, d.dialect.folder, version)
}

// migrateFeed installs the trigger unless the newest is there: that locks the table,
// and must not be done again whenever a replica starts.
//
// All who want the table wait behind one who waits to lock it. So a try waits for
// less than a call of theirs may take, and leaves them room before the next.
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
	return fmt.Errorf("another transaction, a backup for example, has table %stokens locked: call Migrate when it has ended: %w", d.prefix, err)
}

func (d *database) tryMigrateFeed(ctx context.Context) error {
	return d.db.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		pool := tx.Statement.ConnPool
		const anyNumber = 7276453 // that all who do this agree on
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

// A script is one of Migrations, with the tables' prefix.
type script struct{ file, text string }

// scripts returns those of a folder that migrate up, in order.
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

// applyFrom applies the scripts in a folder of Migrations from that number on.
func (d *database) applyFrom(ctx context.Context, pool gorm.ConnPool, folder string, applied int) error {
	scripts, err := d.scripts(folder)
	if err != nil {
		return err
	}
	for _, script := range scripts[min(applied, len(scripts)):] {
		// A script has no arguments. An empty line stands between statements, and
		// in none.
		for statement := range strings.SplitSeq(script.text, ";\n\n") {
			if err := d.applyOne(ctx, pool, statement); err != nil {
				return fmt.Errorf("%s: %w", script.file, explainRights(err))
			}
		}
	}
	return nil
}

// explainRights adds to an error which right the account lacks, and who has it.
func explainRights(err error) error {
	const other = "; or let another account migrate (see Rights in storage/gormstore/README.md)"
	text := err.Error()
	switch {
	case sqlState(err) == "42501" && strings.Contains(text, "must be owner"):
		return fmt.Errorf("%w: only the account that made it, or a member of that role, can change it: connect as that one"+other, err)
	case sqlState(err) == "42501":
		return fmt.Errorf("%w; it needs CREATE on the schema, which since PostgreSQL 15 only the database's owner has: connect as that one, or GRANT CREATE ON SCHEMA public TO the user"+other, err)
	case strings.HasPrefix(text, "Error 1142 (42000)"), strings.HasPrefix(text, "Error 1044 (42000)"):
		return fmt.Errorf("%w; it needs SELECT, INSERT, CREATE and ALTER on the database: grant them"+other, err)
	}
	return err
}

// applyOne applies a statement, and again if another process was faster.
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

// hasColumn reports whether the column to add is there, which MySQL and SQLite
// have no IF NOT EXISTS for. They tell by the text only.
func hasColumn(err error) bool {
	text := err.Error()
	return strings.HasPrefix(text, "Error 1060 (42S21)") || strings.Contains(text, "duplicate column name: ")
}

// collided reports whether two CREATE TABLE IF NOT EXISTS were under way at
// once, which PostgreSQL does not let both succeed (23505, 42P07, 42710).
func collided(err error) bool {
	state := sqlState(err)
	return state == "23505" || state == "42P07" || state == "42710"
}

// schemaVersion returns the number of the newest migration that was applied; 0
// for none.
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

// checkSchema returns ErrSchemaVersion if the schema is older than this package.
func (d *database) checkSchema(ctx context.Context) error {
	version, err := d.schemaVersion(ctx, d.pool)
	if err != nil {
		return fmt.Errorf("gormstore: reading the schema's version: %w", err)
	}
	if version == 0 {
		return fmt.Errorf("%w (found no version, need %d, tables %s…; if they are there, this account lacks SELECT on %[3]sschema, or USAGE on its schema)", ErrSchemaVersion, schemaVersion, d.prefix)
	}
	if version < schemaVersion {
		return fmt.Errorf("%w (found version %d, need %d, tables %s…)", ErrSchemaVersion, version, schemaVersion, d.prefix)
	}
	return nil
}
