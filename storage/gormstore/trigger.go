package gormstore

import (
	"context"
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

// feedInstalled reports whether the newest triggers are there: those whose
// function has a fixed search path.
//
// Names are qualified and types cast in statements for PostgreSQL where no
// operator or function of exactly these types exists. One that another role made in
// a schema on the search path would be the better match, and be called.
func (d *database) feedInstalled(ctx context.Context, pool gorm.ConnPool) (bool, error) {
	var triggers int
	err := pool.QueryRowContext(ctx, d.sql(`SELECT count(*) FROM pg_catalog.pg_trigger t JOIN pg_catalog.pg_proc p ON p.oid = t.tgfoid
		WHERE t.tgrelid = pg_catalog.to_regclass(?)::oid AND t.tgenabled <> 'D' AND t.tgname IN (?, ?)
		AND 'search_path=pg_catalog, pg_temp' = ANY (p.proconfig)`),
		d.prefix+"tokens", d.prefix+"tell", d.prefix+"tell_all").Scan(&triggers)
	return triggers == 2, err
}
