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

// checkForeign returns the version of the schema, or an error if the prefix falls
// onto a table that this package did not make. CREATE TABLE IF NOT EXISTS would
// pass over it in silence, and ALTER TABLE change it.
//
// It looks at the tables that are still to be made or changed. One is ours if it
// has the columns with which a script makes it, and, where it matters, an owner that
// is trusted. It does not matter how far the script was applied.
func (d *database) checkForeign(ctx context.Context, pool gorm.ConnPool) (version int, err error) {
	if version, err = d.checkForeignSchema(ctx, pool); err != nil {
		return 0, err
	}
	scripts, err := d.scripts(d.dialect.folder)
	if err != nil {
		return 0, err
	}
	made := make(map[string][]string) // the columns by table
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

// checkForeignSchema looks at the table of versions, which another tool may have
// under this name.
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
		err = fmt.Errorf("table %[1]s says version %[2]d, but table %[3]s is missing; nothing was changed. If %[1]s is not of this package, set another Options.TablePrefix than %[4]q; if you dropped %[3]s to have it made again, drop %[1]s, too", schema, version, tokens, d.prefix)
	}
	return version, err
}

// checkForeignFunction looks at the function that the feed would replace.
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
		err = fmt.Errorf("function %[1]stell() exists and is not of this package; nothing was changed. Set another Options.TablePrefix than %[1]q, or rename that function", d.prefix)
	}
	return err
}

func (d *database) foreign(table, because string) error {
	return fmt.Errorf("table %s exists and is not of this package: %s; nothing was changed. Set another Options.TablePrefix than %q, or rename that table", table, because, d.prefix)
}

// columns returns the columns of a table, or none if there is no such table.
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
