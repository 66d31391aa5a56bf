package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"testing"
)

// A bench is the testing.TB of a section, so that throwaway servers work here
// as they do in tests, and contestants in both.
type bench struct {
	testing.TB // nil: what is not below is not there
	ctx        context.Context
	cleanups   []func()
	errs       []error
}

type (
	failure string // of Fatal
	skipped string // of Skip
)

func (s skipped) Error() string { return string(s) }

func (b *bench) Helper()                  {}
func (b *bench) Context() context.Context { return b.ctx }
func (b *bench) Cleanup(f func())         { b.cleanups = append(b.cleanups, f) }
func (b *bench) Error(args ...any)        { b.errs = append(b.errs, errors.New(fmt.Sprint(args...))) }
func (b *bench) Fatal(args ...any)        { panic(failure(fmt.Sprint(args...))) }
func (b *bench) Skip(args ...any)         { panic(skipped(fmt.Sprint(args...))) }

func (b *bench) TempDir() string {
	dir, err := os.MkdirTemp("", "peerbench-")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// section runs a part of the program, and cleans up behind it. The error is a
// skipped if a server is missing.
func section(ctx context.Context, run func(testing.TB)) (err error) {
	ctx, cancel := context.WithCancel(ctx)
	b := &bench{ctx: ctx}
	defer func() {
		switch p := recover().(type) {
		case nil:
			err = errors.Join(b.errs...)
		case failure:
			err = errors.Join(append(b.errs, errors.New(string(p)))...)
		case skipped:
			err = p
		default:
			panic(p)
		}
	}()
	defer func() {
		cancel()
		for len(b.cleanups) > 0 {
			last := b.cleanups[len(b.cleanups)-1]
			b.cleanups = b.cleanups[:len(b.cleanups)-1]
			last()
		}
	}()
	run(b)
	return nil
}
