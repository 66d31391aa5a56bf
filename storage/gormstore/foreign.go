package gormstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"gorm.io/gorm"
)

var (
	createTable  = regexp.MustCompile(`CREATE TABLE IF NOT EXISTS (\w+) \(\n((?:.+\n)+?)\)`)
	columnOf     = regexp.MustCompile(`(?m)^    ([a-z_]+) `)
	changedTable = regexp.MustCompile(`(?:CREATE TABLE IF NOT EXISTS|ALTER TABLE) (\w+)`)
)

// checkForeign returns the schema version. It returns an error if a script that has yet
// to be applied would create or change a foreign table, that is, an existing table that
// this package did not create. CREATE TABLE IF NOT EXISTS would silently accept a
// foreign table, and ALTER TABLE would change it.
//
// A script may have been applied in part, so an existing table may be this package's
// own. A table counts as this package's own if it has all columns that the CREATE TABLE
// statement in a script lists. On PostgreSQL, a table that a script would create must
// also have an owner that [Migrate] trusts.
func (d *database) checkForeign(ctx context.Context, pool gorm.ConnPool) (version int, err error) {
	if version, err = d.checkForeignSchema(ctx, pool); err != nil {
		return 0, err
	}
	scripts, err := d.scripts(d.dialect.folder)
	if err != nil {
		return 0, err
	}
	made := make(map[string][]string) // the columns of each CREATE TABLE, by table name
	for _, script := range scripts {
		for _, table := range createTable.FindAllStringSubmatch(script.text, -1) {
			for _, column := range columnOf.FindAllStringSubmatch(table[2], -1) {
				made[table[1]] = append(made[table[1]], column[1])
			}
		}
	}
	for _, script := range scripts[min(version, len(scripts)):] {
		for _, table := range createTable.FindAllStringSubmatch(script.text, -1) {
			if err := d.checkOwner(ctx, pool, d.dialect.tableOwner, table[1], version); err != nil {
				return 0, err
			}
		}
		for _, table := range changedTable.FindAllStringSubmatch(script.text, -1) {
			if err := d.checkForeignTable(ctx, pool, table[1], made[table[1]]); err != nil {
				return 0, err
			}
		}
	}
	return version, nil
}

func (d *database) checkForeignTable(ctx context.Context, pool gorm.ConnPool, table string, made []string) error {
	has, err := d.columns(ctx, pool, table)
	if err != nil || len(has) == 0 {
		return err
	}
	for _, column := range made {
		if !slices.Contains(has, column) {
			return d.foreign(table, "it has no column "+column)
		}
	}
	return nil
}

// checkForeignSchema returns the schema version. It returns an error if the
// schema-version table does not belong to this package, because another tool may use
// the same table name.
func (d *database) checkForeignSchema(ctx context.Context, pool gorm.ConnPool) (version int, err error) {
	schema, tokens := d.prefix+"schema", d.prefix+"tokens"
	has, err := d.columns(ctx, pool, schema)
	if err != nil || len(has) == 0 {
		return 0, err
	}
	if !slices.Equal(has, []string{"version"}) {
		return 0, d.foreign(schema, "its columns are "+strings.Join(has, ", "))
	}
	if version, err = d.schemaVersion(ctx, pool); err != nil || version == 0 {
		return version, err
	}
	if has, err = d.columns(ctx, pool, tokens); err == nil && len(has) == 0 {
		err = fmt.Errorf("table %[1]s contains version %[2]d, but table %[3]s is missing; nothing was changed. If %[1]s does not belong to this package, set an Options.TablePrefix other than %[4]q; if you dropped %[3]s to recreate it, drop %[1]s, too", schema, version, tokens, d.prefix)
	}
	return version, err
}

// checkForeignFunction looks for an existing function with the trigger function's
// name. It returns an error if this package did not create that function, or if
// [Migrate] does not trust the function's owner.
func (d *database) checkForeignFunction(ctx context.Context, pool gorm.ConnPool) error {
	var body string
	err := pool.QueryRowContext(ctx, `SELECT prosrc FROM pg_catalog.pg_proc WHERE oid = pg_catalog.to_regprocedure($1)::oid`, d.prefix+"tell()").Scan(&body)
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	if err == nil && strings.Contains(body, "'"+d.prefix+"feed'") {
		return d.checkOwner(ctx, pool, trustedOwnerOfFunction, d.prefix+"tell()", schemaVersion)
	}
	if err == nil {
		err = fmt.Errorf("function %[1]stell() exists and does not belong to this package; nothing was changed. Set an Options.TablePrefix other than %[1]q, or rename that function", d.prefix)
	}
	return err
}

func (d *database) foreign(table, because string) error {
	return fmt.Errorf("table %s exists and does not belong to this package: %s; nothing was changed. Set an Options.TablePrefix other than %q, or rename that table", table, because, d.prefix)
}

// columns returns the names of a table's columns, or none if the table is missing.
func (d *database) columns(ctx context.Context, pool gorm.ConnPool, table string) (columns []string, err error) {
	err = queryRows(ctx, pool, d.sql(d.dialect.columns), []any{table}, func(scan func(...any) error) error {
		var column string
		if err := scan(&column); err != nil {
			return err
		}
		columns = append(columns, strings.ToLower(column))
		return nil
	})
	return columns, err
}
