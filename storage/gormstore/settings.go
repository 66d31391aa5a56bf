package gormstore

import (
	"context"
	"fmt"
)

// check returns an error if tokens could be lost because of the server, a pooler
// before the server, or a setting.
func (d *database) check(ctx context.Context) error {
	if err := d.checkPooler(ctx); err != nil {
		return err
	}
	if err := d.findGalera(ctx); err != nil {
		return fmt.Errorf("gormstore: %w", err)
	}
	return d.checkSettings(ctx)
}

// tryDriver records in has whether the driver decodes bytes correctly.
func (d *database) tryDriver(ctx context.Context, has settings) {
	if d.dialect.tryBytes == "" {
		return
	}
	var got []byte
	if err := d.pool.QueryRowContext(ctx, d.dialect.tryBytes).Scan(&got); err == nil && string(got) == "\x00\xff" {
		has[readsBytes] = "true"
	}
}

// checkSettings returns errSetting, wrapped, if a setting of one session of the pool is
// harmful. Other sessions may differ. The condition commits covers the settings that
// do harm without an error.
func (d *database) checkSettings(ctx context.Context) error {
	if d.dialect.settings == "" {
		return nil
	}
	has := make(settings)
	err := queryRows(ctx, d.pool, d.dialect.settings, nil, func(scan func(...any) error) error {
		var name, value string
		if err := scan(&name, &value); err != nil {
			return err
		}
		has[name] = value
		return nil
	})
	if err != nil {
		return fmt.Errorf("gormstore: reading the settings of the database: %w", err)
	}
	d.tryDriver(ctx, has)
	for _, rule := range d.dialect.rules {
		if reason := rule(has); reason != "" {
			return fmt.Errorf("%w: %s", errSetting, reason)
		}
	}
	return nil
}
