package inject

import (
	"context"
	"database/sql"
	"fmt"
	"testing"
)

// lowly is the server account of the replicas. It has no more rights than a service
// needs.
const lowly = "torture"

// A sqlServer is an SQL server into which faults are injected, as its operator sees it.
type sqlServer struct {
	admin    *sql.DB
	database string
}

// openAdmin opens the operator's access to a server, before a fault.
func openAdmin(tb testing.TB, driver, dsn string) *sql.DB {
	tb.Helper()
	admin, err := sql.Open(driver, dsn)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { admin.Close() })
	return admin
}

func must(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

// do returns a function that runs the statements.
func (s *sqlServer) do(statements ...string) func(context.Context) error {
	return execute(s.admin, statements...)
}

// execute returns a function that runs the statements. It tries up to three times,
// because a connection of the pool may be from before a restart.
func execute(admin *sql.DB, statements ...string) func(context.Context) error {
	return func(ctx context.Context) error {
		var err error
		for range 3 {
			if err = runOnce(ctx, admin, statements); err == nil {
				return nil
			}
		}
		return err
	}
}

func runOnce(ctx context.Context, admin *sql.DB, statements []string) error {
	for _, statement := range statements {
		if _, err := admin.ExecContext(ctx, statement); err != nil {
			return fmt.Errorf("%s: %w", statement, err)
		}
	}
	return nil
}

// between returns a [Fault] that the statements of begin begin, and those of end end.
func (s *sqlServer) between(name string, begin, end []string) *Fault {
	return fromTo(name, s.do(begin...), s.do(end...))
}

// also returns a [Fault] like between, during which do runs.
func (s *sqlServer) also(name string, do func(context.Context) error, begin, end []string) *Fault {
	return &Fault{Name: name, Lasts: whileItLasts, Strike: func(ctx context.Context) (func() error, error) {
		if err := s.do(begin...)(ctx); err != nil {
			return nil, err
		}
		stop := meanwhile(ctx, do)
		return func() error {
			if err := stop(); err != nil {
				return err
			}
			return s.do(end...)(ctx)
		}, nil
	}}
}

// locked returns a function that holds a lock until the context ends.
func (s *sqlServer) locked(lock string) func(context.Context) error {
	return func(ctx context.Context) error {
		return inTransaction(ctx, s.admin, func(tx *sql.Tx) error {
			if _, err := tx.Exec(lock); err != nil {
				return err
			}
			<-ctx.Done()
			return nil
		})
	}
}

// inTransaction calls do in a transaction, and rolls it back unless do commits it.
func inTransaction(ctx context.Context, db *sql.DB, do func(*sql.Tx) error) error {
	tx, err := db.BeginTx(context.WithoutCancel(ctx), nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	return do(tx)
}
