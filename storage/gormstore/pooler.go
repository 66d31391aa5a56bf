package gormstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"gorm.io/gorm"
)

// checkPooler returns errPooler, wrapped, if a pooler refuses transactions. It also
// returns errPooler if the driver relies on prepared statements although the pooler
// may use a different server connection for each transaction.
//
// Suppose that the driver prepares a statement on one server connection and runs it
// on another. Then the statement is missing there, or another client's statement has
// the same name. If the driver prepares statements without a name, another client's
// statement may run with this client's arguments, perhaps without an error.
//
// Drivers and poolers have too many settings to check each one, so checkPooler runs
// test statements and looks at their effect. A busy pooler may hide the effect. In
// that case, explain adds its advice to the error of the first statement that fails
// later.
//
// checkPooler also returns an error if it cannot connect, or if ctx ends. If a test
// statement fails for any other reason, checkPooler returns nil.
func (d *database) checkPooler(ctx context.Context) error {
	if d.db.Name() != "postgres" {
		return nil
	}
	pool, err := d.db.DB()
	if err != nil {
		return nil // a pool that is not a *sql.DB cannot be checked
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
	// If the pool or the pooler has no free connection, give up after 2 seconds.
	// PgBouncer accepts a client even then, and lets its statements wait.
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
		// There is a pooler if two connections reach the same server process,
		// or if one connection reaches two server processes.
		shared := (now.backend == before.backend) != (p.conn == first)
		if shared && !now.named {
			return fmt.Errorf("%w: the driver prepares a statement and runs it in two separate steps, and the pooler may switch server connections in between, so that another client's statement runs instead: %s", errPooler, useExec)
		}
	}
	return nil
}

// A probe is the result of the test statement probeText, which shows how the driver
// ran that statement.
type probe struct {
	relies  bool // whether the statement was prepared in one transaction and run in another
	named   bool // whether the statement was prepared under a name
	backend int  // the ID of the server process that ran the statement
}

// probeText is a statement that returns a [probe]. PostgreSQL evaluates the constant
// 'now' when it parses the statement, and now() when it runs the statement. So the
// two times differ if the statement was prepared in an earlier transaction. If the
// statement has a name, the view pg_prepared_statements lists it, with a prepare_time
// that equals 'now'.
const probeText = `SELECT 'now'::pg_catalog.timestamptz OPERATOR(pg_catalog.<>) pg_catalog.now(),
	EXISTS (SELECT FROM pg_catalog.pg_prepared_statements WHERE prepare_time OPERATOR(pg_catalog.=) 'now'::pg_catalog.timestamptz),
	pg_catalog.pg_backend_pid() OPERATOR(pg_catalog.+) $1::integer`

// A prober runs probeText on a connection, the same way the store runs its own
// statements.
type prober struct {
	conn *sql.Conn
	stmt *sql.Stmt // nil unless gorm.Config.PrepareStmt is set
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
