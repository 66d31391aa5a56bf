package throwaway

import (
	"context"
	"errors"
	"fmt"
	"os"
	"testing"
)

// ErrMissing is the error that [Outside] wraps if a server is not installed.
var ErrMissing = errors.New("throwaway: not installed")

// Outside calls run with a [testing.TB], so that a program that is not a test
// can start servers. After run has returned, Outside runs the clean-ups. The TB
// has only the methods Helper, Context, Cleanup, TempDir, Log, Logf, Error,
// Errorf, Fatal, Fatalf, Skip and Skipf.
//
// Outside returns the texts that run passed to Error and Fatal, as an error. If
// run called Skip, the error wraps [ErrMissing] and contains the text that run
// passed to Skip.
//
// The shared servers of [Postgres] and [MariaDB] run until [CloseShared] is
// called, or until shortly after the program ends.
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

// CloseShared stops the shared servers of [Postgres] and [MariaDB], as [Main]
// does for tests. They cannot be started again.
func CloseShared() {
	sharedPostgres.close()
	sharedMariaDB.close()
}

type outside struct {
	testing.TB // nil: the methods that are not defined below panic
	ctx        context.Context
	cleanups   []func()
	errs       []error
}

type (
	failed  string // the text of Fatal
	skipped string // the text of Skip
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
