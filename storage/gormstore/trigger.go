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

func (d *database) feedInstalled(ctx context.Context, pool gorm.ConnPool) (bool, error) {
	var triggers int
	err := pool.QueryRowContext(ctx, d.sql(`SELECT count(*) FROM pg_trigger WHERE tgrelid = to_regclass(?) AND tgenabled <> 'D' AND tgname IN (?, ?)`),
		d.prefix+"tokens", d.prefix+"tell", d.prefix+"tell_all").Scan(&triggers)
	return triggers == 2, err
}
