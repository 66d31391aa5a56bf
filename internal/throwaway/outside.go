package throwaway

import (
	"context"
	"errors"
	"fmt"
	"os"
	"testing"
)

// ErrMissing is what Outside returns, wrapped, if a server is not installed.
var ErrMissing = errors.New("throwaway: not installed")

// Outside runs a part of a program that is no test, with a testing.TB for the
// servers that it starts, and cleans up behind it. Of a testing.TB there are
// Helper, Context, Cleanup, TempDir, Log, Logf, Error, Errorf, Fatal, Fatalf,
// Skip and Skipf. It returns what Error and Fatal were called with, or
// ErrMissing, wrapped, with what Skip was.
//
// Shared servers (Postgres, MariaDB, Redis) live until CloseShared, or for a
// moment longer than the program.
func Outside(ctx context.Context, run func(tb testing.TB)) (err error) {
	ctx, cancel := context.WithCancel(ctx)
	o := &outside{ctx: ctx}
	defer func() {
		switch p := recover().(type) {
		case nil:
			err = errors.Join(o.errs...)
		case failed:
			err = errors.Join(append(o.errs, errors.New(string(p)))...)
		case skipped:
			err = fmt.Errorf("%w: %s", ErrMissing, string(p))
		default:
			panic(p)
		}
	}()
	defer func() {
		cancel()
		for len(o.cleanups) > 0 {
			last := o.cleanups[len(o.cleanups)-1]
			o.cleanups = o.cleanups[:len(o.cleanups)-1]
			last()
		}
	}()
	run(o)
	return nil
}

// CloseShared stops the servers that Postgres, MariaDB and Redis share, as Main
// does for tests. They cannot be started again.
func CloseShared() {
	sharedPostgres.close()
	sharedMariaDB.close()
}

type outside struct {
	testing.TB // nil: what is not below is not there
	ctx        context.Context
	cleanups   []func()
	errs       []error
}

type (
	failed  string // of Fatal
	skipped string // of Skip
)

func (o *outside) Helper()                        {}
func (o *outside) Context() context.Context       { return o.ctx }
func (o *outside) Cleanup(f func())               { o.cleanups = append(o.cleanups, f) }
func (o *outside) Log(args ...any)                { fmt.Fprintln(os.Stderr, args...) }
func (o *outside) Logf(format string, a ...any)   { o.Log(fmt.Sprintf(format, a...)) }
func (o *outside) Error(args ...any)              { o.errs = append(o.errs, errors.New(fmt.Sprint(args...))) }
func (o *outside) Errorf(format string, a ...any) { o.Error(fmt.Sprintf(format, a...)) }
func (o *outside) Fatal(args ...any)              { panic(failed(fmt.Sprint(args...))) }
func (o *outside) Fatalf(format string, a ...any) { o.Fatal(fmt.Sprintf(format, a...)) }
func (o *outside) Skip(args ...any)               { panic(skipped(fmt.Sprint(args...))) }
func (o *outside) Skipf(format string, a ...any)  { o.Skip(fmt.Sprintf(format, a...)) }

func (o *outside) TempDir() string {
	dir, err := os.MkdirTemp("", "throwaway-")
	if err != nil {
		o.Fatal(err)
	}
	o.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}
