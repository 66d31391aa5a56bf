package gormstore

import (
	"context"
	"fmt"
)

// check returns an error if a setting of the session, a pooler in front of the server,
// or the configuration of a Galera node could make the store lose tokens.
func (d *database) check(ctx context.Context) error {
	if err := d.checkPooler(ctx); err != nil {
		return err
	}
	if err := d.findGalera(ctx); err != nil {
		return fmt.Errorf("gormstore: checking for Galera: %w", err)
	}
	return d.checkSettings(ctx)
}

// tryDriver sets has[readsBytes] to "true" if the driver decodes bytes correctly.
func (d *database) tryDriver(ctx context.Context, has settings) {
	if d.dialect.tryBytes == "" {
		return
	}
	var got []byte
	if err := d.pool.QueryRowContext(ctx, d.dialect.tryBytes).Scan(&got); err == nil && string(got) == "\x00\xff" {
		has[readsBytes] = "true"
	}
}

// checkSettings returns errSetting, wrapped, if a setting is harmful. It checks the
// session of one pool connection; other sessions may have other settings. So the
// statements themselves also check the settings that would do harm without an error
// (see commits).
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
