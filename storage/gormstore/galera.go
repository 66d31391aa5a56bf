package gormstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// galeraKinds are the bits of wsrep_sync_wait that the store needs, one for each kind
// of statement that must wait: 1 for reads, 2 for UPDATE and DELETE, 4 for INSERT.
const galeraKinds = 1 | 2 | 4

// findGalera detects whether the server is a Galera node. For a Galera node, it returns
// an error if statements would not wait for other nodes' commits, or if the node would
// not replicate this service's changes.
func (d *database) findGalera(ctx context.Context) error {
	if d.dialect.folder != "mysql" {
		return nil
	}
	on, err := d.variable(ctx, "GLOBAL", "wsrep_on")
	if err != nil || on != "ON" {
		return err
	}
	if on, err = d.variable(ctx, "SESSION", "wsrep_on"); err != nil {
		return err
	}
	if on != "ON" {
		return errors.New("the server is a Galera node, but wsrep_on is off on this service's connections: other nodes do not receive the service's changes; remove wsrep_on from the service's DSN")
	}
	d.galera = true
	_, err = d.pool.ExecContext(ctx, galeraWaits+`SELECT 1`)
	if err != nil && strings.HasPrefix(err.Error(), "Error 1064 (42000)") {
		return d.checkGaleraSession(ctx)
	}
	d.galeraPrefix = galeraWaits
	return err
}

// checkGaleraSession returns an error unless the session's settings make statements
// wait for other nodes' commits. Only servers other than MariaDB need this check,
// because they lack SET STATEMENT, which galeraWaits uses.
func (d *database) checkGaleraSession(ctx context.Context) error {
	wait, err := d.variable(ctx, "SESSION", "wsrep_sync_wait")
	if err != nil {
		return err
	}
	dirty, err := d.variable(ctx, "SESSION", "wsrep_dirty_reads")
	if err != nil {
		return err
	}
	kinds, err := strconv.Atoi(wait)
	if err != nil || kinds&galeraKinds != galeraKinds || dirty == "ON" {
		return fmt.Errorf("the server is a Galera node, and this service's connections have wsrep_sync_wait = %s and wsrep_dirty_reads = %s: a token that ended at one node would stay valid at others for a while; set wsrep_sync_wait = 7 and wsrep_dirty_reads = OFF on every node, or add wsrep_sync_wait=7&wsrep_dirty_reads=0 to the DSN", wait, dirty)
	}
	return nil
}

// variable returns the value of a server variable, or "" if the server has no variable
// with that name.
func (d *database) variable(ctx context.Context, scope, name string) (value string, err error) {
	err = d.pool.QueryRowContext(ctx, `SHOW `+scope+` VARIABLES LIKE '`+name+`'`).Scan(&name, &value)
	if errors.Is(err, sql.ErrNoRows) {
		return "", nil
	}
	return value, err
}
