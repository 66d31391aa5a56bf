// Package inject injects real faults into servers, and into the networks before
// them, and ends the faults again.
package inject

import (
	"context"
	"time"

	"github.com/bearerkit/bearerkit/examples/torture/internal/network"
)

// A Fault is one fault of a server or of a network before it. Exactly one of Strike,
// OverNetworks and Losing is set.
type Fault struct {
	Name  string
	Lasts time.Duration // zero for a fault that is over at once
	// Prepare is called before the load begins. Nil does nothing.
	Prepare func(context.Context) error
	// Strike begins the fault, and returns the function that ends it. That function
	// returns when the server says that it works.
	Strike func(ctx context.Context) (heal func() error, err error)
	// OverNetworks is a Strike at the networks of some replicas.
	OverNetworks func(networks []*network.Network) (heal func() error, err error)
	// Losing is a Strike that may lose confirmed changes. It tells the witness when
	// that begins and ends.
	Losing func(ctx context.Context, w Witness) (heal func() error, err error)
	// Tidy is called after the fault, when there is no load. Nil does nothing.
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

// Wait returns after d, or when the context ends.
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

// Again returns a function that calls do and then pauses, until the context ends or
// do fails.
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

// A Witness learns when a server may lose confirmed changes.
type Witness interface {
	MayLose()     // from now on
	LosesNoMore() // what is called from now on is kept
}

// noWitness ignores what it is told.
type noWitness struct{}

func (noWitness) MayLose()     {}
func (noWitness) LosesNoMore() {}
