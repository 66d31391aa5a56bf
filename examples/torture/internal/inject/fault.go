// Package inject strikes servers, and the networks to them, with real faults, and
// ends those again.
package inject

import (
	"context"
	"time"

	"github.com/bearerkit/bearerkit/examples/torture/internal/network"
)

// A Fault is something that befalls a server, or the way to it.
type Fault struct {
	Name  string
	Lasts time.Duration
	// Prepare is called before there is load; nil for nothing to prepare.
	Prepare func(context.Context) error
	// Strike begins it, and returns what ends it. That returns when the server
	// is well by its own account.
	Strike func(ctx context.Context) (heal func() error, err error)
	// OverNetworks is the same for what befalls the networks of some replicas.
	OverNetworks func(networks []*network.Network) (heal func() error, err error)
	// Losing is the same for what may lose changes that are confirmed: the witness
	// is told from when to when.
	Losing func(ctx context.Context, w Witness) (heal func() error, err error)
	// Tidy is what there is to do behind it, when nothing is asked of the server;
	// nil for nothing.
	Tidy func(ctx context.Context) error
}

// fromTo is a fault that one call begins and another ends.
func fromTo(name string, begin, end func(context.Context) error) *Fault {
	return &Fault{Name: name, Lasts: whileItLasts, Strike: func(ctx context.Context) (func() error, error) {
		return func() error { return end(ctx) }, begin(ctx)
	}}
}

// while is a fault that is there as long as something goes on.
func while(name string, lasts time.Duration, do func(context.Context) error) *Fault {
	return &Fault{Name: name, Lasts: lasts, Strike: func(ctx context.Context) (func() error, error) {
		return meanwhile(ctx, do), nil
	}}
}

// after is the fault with something that is done when it has begun.
func (f *Fault) after(do func(context.Context) error) *Fault {
	strike := f.Strike
	f.Strike = func(ctx context.Context) (func() error, error) {
		heal, err := strike(ctx)
		if err == nil {
			err = do(ctx)
		}
		return heal, err
	}
	return f
}

// once is a fault that is over when it has happened.
func once(name string, do func(context.Context) error) *Fault {
	return &Fault{Name: name, Strike: func(ctx context.Context) (func() error, error) {
		return func() error { return nil }, do(ctx)
	}}
}

// Wait waits for so long, or until the context ends.
func Wait(ctx context.Context, d time.Duration) {
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

// Again does something each time that so long has passed, until the context
// ends.
func Again(pause time.Duration, do func(context.Context) error) func(context.Context) error {
	return func(ctx context.Context) error {
		for ctx.Err() == nil {
			if err := do(ctx); err != nil && ctx.Err() == nil {
				return err
			}
			Wait(ctx, pause)
		}
		return nil
	}
}

// A Witness is told from when to when changes that are confirmed may be
// lost.
type Witness interface {
	MayLose()
	LosesNoMore()
}

// noWitness is one whom nobody asks.
type noWitness struct{}

func (noWitness) MayLose()     {}
func (noWitness) LosesNoMore() {}
