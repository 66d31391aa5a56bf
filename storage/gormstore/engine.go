package gormstore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"gorm.io/gorm"
)

// checkEngine returns errSetting, wrapped, if one of this package's tables uses a
// storage engine other than InnoDB, because other engines may lack transactions. The
// setting enforce_storage_engine or an ALTER TABLE can select another engine.
func (d *database) checkEngine(ctx context.Context, pool gorm.ConnPool) error {
	if d.dialect.engines == "" {
		return nil
	}
	names := strings.ReplaceAll(d.prefix, "_", `|_`) + "%"
	err := queryRows(ctx, pool, d.dialect.engines, []any{names}, func(scan func(...any) error) error {
		var table, engine string
		if err := scan(&table, &engine); err != nil {
			return err
		}
		if engine != "InnoDB" && d.owns(table) {
			return fmt.Errorf("%w: table %[2]s uses the storage engine %[3]s, must use InnoDB, which has transactions. Set enforce_storage_engine and default_storage_engine to InnoDB, and run ALTER TABLE %[2]s ENGINE = InnoDB", errSetting, table, engine)
		}
		return nil
	})
	if err != nil && !errors.Is(err, errSetting) {
		err = fmt.Errorf("gormstore: reading the storage engines of the tables: %w", err)
	}
	return err
}

// tables are the names of this package's tables, without the prefix.
var tables = []string{"tokens", "users", "clients", "counters", "revocations", "uses", "schema"}

// owns reports whether the table belongs to this package. The names of the service's
// other tables may begin with the same prefix.
func (d *database) owns(table string) bool {
	name, ok := strings.CutPrefix(strings.ToLower(table), d.prefix)
	return ok && slices.Contains(tables, name)
}
