package gormstore

import (
	"context"
	"database/sql"
	"embed"
	"fmt"
	"io/fs"
	"strings"

	"gorm.io/gorm"
)

// Migrations are the SQL files that Migrate applies, a folder for each engine,
// for hosts with a migration tool of their own. They are named as
// golang-migrate names them, say the default table prefix, and may be applied
// twice.
//
//go:embed migrations
var Migrations embed.FS

// schemaVersion is the number of the newest migration.
const schemaVersion = 1

// Migrate makes the tables, or brings them up to date. It is idempotent, and
// several processes may call it at once. Only TablePrefix of the options
// counts; they may be nil.
func Migrate(ctx context.Context, db *gorm.DB, o *Options) error {
	s, err := open(db, o)
	if err != nil {
		return err
	}
	if err := s.migrate(ctx); err != nil {
		return fmt.Errorf("gormstore: migrating: %w", err)
	}
	return nil
}

func (s *Store) migrate(ctx context.Context) error {
	if s.dialect.folder != "postgres" {
		// MariaDB and MySQL commit with each CREATE TABLE whatever we do, and
		// there, as in SQLite, IF NOT EXISTS bears being raced.
		return s.apply(ctx, s.pool)
	}
	return s.db.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		pool := tx.Statement.ConnPool
		// Two CREATE TABLE IF NOT EXISTS at once can collide in the catalogue.
		if _, err := pool.ExecContext(ctx, `SELECT pg_advisory_xact_lock(7276453, hashtext($1))`, s.prefix); err != nil {
			return err
		}
		return s.apply(ctx, pool)
	})
}

func (s *Store) apply(ctx context.Context, pool gorm.ConnPool) error {
	version, err := s.schemaVersion(ctx, pool)
	if err != nil {
		return err
	}
	files, err := fs.Glob(Migrations, "migrations/"+s.dialect.folder+"/*.up.sql")
	if err != nil {
		return err
	}
	for _, file := range files[min(version, len(files)):] {
		script, err := Migrations.ReadFile(file)
		if err != nil {
			return err
		}
		// Only the prefix is rewritten: a script has no arguments.
		text := strings.ReplaceAll(string(script), defaultPrefix, s.prefix)
		for statement := range strings.SplitSeq(text, ";\n") {
			if strings.TrimSpace(statement) == "" {
				continue
			}
			if _, err := pool.ExecContext(ctx, statement); err != nil {
				return fmt.Errorf("%s: %w", file, err)
			}
		}
	}
	return nil
}

// schemaVersion returns the number of the newest migration that was applied; 0
// for none.
func (s *Store) schemaVersion(ctx context.Context, pool gorm.ConnPool) (int, error) {
	var tables int
	if err := pool.QueryRowContext(ctx, s.sql(s.dialect.exists), s.prefix+"schema").Scan(&tables); err != nil {
		return 0, err
	}
	if tables == 0 {
		return 0, nil
	}
	var version sql.NullInt64
	err := pool.QueryRowContext(ctx, s.sql(`SELECT max(version) FROM tokenauth_schema`)).Scan(&version)
	return int(version.Int64), err
}
