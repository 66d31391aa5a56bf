package main

import (
	"context"
	"time"
)

// A fault is something that befalls a server, or the way to it.
type fault struct {
	name  string
	lasts time.Duration
	// prepare is called before there is load; nil for nothing to prepare.
	prepare func(context.Context) error
	// strike begins it, and returns what ends it. That returns when the server
	// is well by its own account.
	strike func(ctx context.Context) (heal func() error, err error)
	// overNetworks is the same for what befalls the networks of some replicas.
	overNetworks func(networks []*network) (heal func() error, err error)
	// losing is the same for what may lose changes that are confirmed: the witness
	// is told from when to when.
	losing func(ctx context.Context, w *witness) (heal func() error, err error)
	// tidy is what there is to do behind it, when nothing is asked of the server;
	// nil for nothing.
	tidy func(ctx context.Context) error
}

// fromTo is a fault that one call begins and another ends.
func fromTo(name string, begin, end func(context.Context) error) *fault {
	return &fault{name: name, lasts: whileItLasts, strike: func(ctx context.Context) (func() error, error) {
		return func() error { return end(ctx) }, begin(ctx)
	}}
}

// while is a fault that is there as long as something goes on.
func while(name string, lasts time.Duration, do func(context.Context) error) *fault {
	return &fault{name: name, lasts: lasts, strike: func(ctx context.Context) (func() error, error) {
		return meanwhile(ctx, do), nil
	}}
}

// after is the fault with something that is done when it has begun.
func (f *fault) after(do func(context.Context) error) *fault {
	strike := f.strike
	f.strike = func(ctx context.Context) (func() error, error) {
		heal, err := strike(ctx)
		if err == nil {
			err = do(ctx)
		}
		return heal, err
	}
	return f
}

// once is a fault that is over when it has happened.
func once(name string, do func(context.Context) error) *fault {
	return &fault{name: name, strike: func(ctx context.Context) (func() error, error) {
		return func() error { return nil }, do(ctx)
	}}
}

// wait waits for so long, or until the context ends.
func wait(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// meanwhile does something until it is healed, which is when that has returned.
func meanwhile(ctx context.Context, do func(context.Context) error) (heal func() error) {
	ctx, cancel := context.WithCancel(ctx)
	result := make(chan error, 1)
	go func() { result <- do(ctx) }()
	return func() error {
		cancel()
		return <-result
	}
}

// again does something each time that so long has passed, until the context
// ends.
func again(pause time.Duration, do func(context.Context) error) func(context.Context) error {
	return func(ctx context.Context) error {
		for ctx.Err() == nil {
			if err := do(ctx); err != nil && ctx.Err() == nil {
				return err
			}
			wait(ctx, pause)
		}
		return nil
	}
}
