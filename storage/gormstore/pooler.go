package gormstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"gorm.io/gorm"
)

// checkPooler returns errPooler, wrapped, if the pool leads through a pooler that
// changes the server's connection where the driver relies on it. A prepared
// statement of that name then is missing, or of another client. If the driver
// uses the one without a name, the statement of another client runs with the
// arguments of ours, and no error need tell.
//
// It looks at the effect, as drivers and poolers have many names for their
// settings. A busy pooler may hide it: then the first collision is an error of
// its own, which explaining explains. Where it cannot look it returns nil.
func (d *database) checkPooler(ctx context.Context) error {
	if d.db.Name() != "postgres" {
		return nil
	}
	pool, err := d.db.DB()
	if err != nil {
		return nil // a pool of the host's own kind
	}
	first, err := pool.Conn(ctx)
	if err != nil {
		return err
	}
	defer first.Close()
	if err := d.probePooler(ctx, pool, first); errors.Is(err, errPooler) {
		return err
	}
	return ctx.Err()
}

func (d *database) probePooler(ctx context.Context, pool *sql.DB, first *sql.Conn) error {
	tx, err := first.BeginTx(ctx, nil)
	if err != nil {
		return explain(err)
	}
	if err := tx.Rollback(); err != nil {
		return explain(err)
	}
	one, err := d.prober(ctx, first)
	if err != nil {
		return err
	}
	defer one.close()
	before, err := one.run(ctx)
	if err != nil || !before.relies {
		return err
	}
	// A pool, or a pooler, that has no connection to spare costs a start no more
	// than a moment. PgBouncer lets a client in, and has its statements wait.
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	second := first
	if pool.Stats().MaxOpenConnections != 1 {
		if second, err = pool.Conn(ctx); err != nil {
			return err
		}
		defer second.Close()
	}
	other, err := d.prober(ctx, second)
	if err != nil {
		return err
	}
	defer other.close()
	for _, p := range []prober{other, one, other} {
		now, err := p.run(ctx)
		if err != nil {
			return err
		}
		// A pooler has one connection for two of ours, or two for one of ours.
		shared := (now.backend == before.backend) != (p.conn == first)
		if shared && !now.named {
			return fmt.Errorf("%w: the driver prepares a statement and then runs it, and between the two the pooler may change the connection, so that the statement of another client runs: %s", errPooler, useExec)
		}
	}
	return nil
}

// A probe tells how a statement with an argument was run.
type probe struct {
	relies  bool // it was prepared in another transaction than it ran in
	named   bool // it was prepared under a name
	backend int  // the process of the server that ran it
}

// probeText is a statement that tells how it was run. PostgreSQL turns 'now' into
// a time when it parses the statement, and the view of prepared statements has
// that time, too.
const probeText = `SELECT 'now'::pg_catalog.timestamptz OPERATOR(pg_catalog.<>) pg_catalog.now(),
	EXISTS (SELECT FROM pg_catalog.pg_prepared_statements WHERE prepare_time OPERATOR(pg_catalog.=) 'now'::pg_catalog.timestamptz),
	pg_catalog.pg_backend_pid() OPERATOR(pg_catalog.+) $1::integer`

// A prober runs statements on a connection as those of the store are run.
type prober struct {
	conn *sql.Conn
	stmt *sql.Stmt // nil unless GORM prepares what it runs
}

func (d *database) prober(ctx context.Context, conn *sql.Conn) (p prober, err error) {
	p.conn = conn
	if _, prepares := d.db.Statement.ConnPool.(*gorm.PreparedStmtDB); prepares {
		p.stmt, err = conn.PrepareContext(ctx, probeText)
	}
	return p, explain(err)
}

func (p prober) close() {
	if p.stmt != nil {
		p.stmt.Close()
	}
}

func (p prober) run(ctx context.Context) (result probe, err error) {
	var rows *sql.Rows
	if p.stmt != nil {
		rows, err = p.stmt.QueryContext(ctx, 0)
	} else {
		rows, err = p.conn.QueryContext(ctx, probeText, 0)
	}
	if err != nil {
		return result, explain(err)
	}
	return result, readRow(rows, func(scan func(...any) error) error {
		return scan(&result.relies, &result.named, &result.backend)
	})
}
