package inject

import (
	"context"
	"database/sql"
	"fmt"
	"testing"
)

// lowly is the account that replicas have on an SQL server: one that may do no
// more than theirs should.
const lowly = "torture"

// A sqlServer is a server that has faults, as its operator sees it.
type sqlServer struct {
	admin    *sql.DB
	database string
}

// openAdmin opens the operator's access to a server, which is there before a
// fault.
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

// do returns what runs the statements.
func (s *sqlServer) do(statements ...string) func(context.Context) error {
	return execute(s.admin, statements...)
}

// execute returns what runs the statements, on another connection if one was
// there before a restart.
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

// between is a fault that statements begin and others end.
func (s *sqlServer) between(name string, begin, end []string) *Fault {
	return fromTo(name, s.do(begin...), s.do(end...))
}

// also is a fault that is there as long as something goes on, between
// statements.
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

// locked holds a lock until the context ends.
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

// inTransaction does something that is rolled back.
func inTransaction(ctx context.Context, db *sql.DB, do func(*sql.Tx) error) error {
	tx, err := db.BeginTx(context.WithoutCancel(ctx), nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	return do(tx)
}
