// Package inject injects real faults into servers and into the networks before them.
// [Open] returns the faults of a storage.
package inject

import (
	"context"
	"time"

	"github.com/bearerkit/bearerkit/examples/torture/internal/network"
)

// A Fault is a fault of a server or of a network before it. Exactly one of
// [Fault.Strike], [Fault.OverNetworks] and [Fault.Losing] is set.
type Fault struct {
	Name  string
	Lasts time.Duration // zero for a fault that ends by itself at once
	// Prepare is called before the load begins. Nil means that there is nothing to
	// prepare.
	Prepare func(context.Context) error
	// Strike begins the fault and returns the function that ends it. That function
	// returns when the server reports that it works.
	Strike func(ctx context.Context) (heal func() error, err error)
	// OverNetworks is like [Fault.Strike]. The fault affects the networks.
	OverNetworks func(networks []*network.Network) (heal func() error, err error)
	// Losing is like [Fault.Strike]. The fault may lose confirmed changes, and the
	// witness learns when that begins and ends.
	Losing func(ctx context.Context, w Witness) (heal func() error, err error)
	// Tidy is called after the fault, when there is no load. Nil means that there is
	// nothing to tidy up.
	Tidy func(ctx context.Context) error
}

// fromTo returns a [Fault] that begin begins and end ends.
func fromTo(name string, begin, end func(context.Context) error) *Fault {
	return &Fault{Name: name, Lasts: whileItLasts, Strike: func(ctx context.Context) (func() error, error) {
		return func() error { return end(ctx) }, begin(ctx)
	}}
}

// while returns a [Fault] that lasts while do runs.
func while(name string, lasts time.Duration, do func(context.Context) error) *Fault {
	return &Fault{Name: name, Lasts: lasts, Strike: func(ctx context.Context) (func() error, error) {
		return meanwhile(ctx, do), nil
	}}
}

// after changes [Fault.Strike] to call do when the fault has begun.
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

// once returns a [Fault] that is over when do returns.
func once(name string, do func(context.Context) error) *Fault {
	return &Fault{Name: name, Strike: func(ctx context.Context) (func() error, error) {
		return func() error { return nil }, do(ctx)
	}}
}

// Wait returns after d or when the context ends, whichever is first.
func Wait(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// meanwhile starts do. Heal ends the context of do, waits for do and returns its
// error.
func meanwhile(ctx context.Context, do func(context.Context) error) (heal func() error) {
	ctx, cancel := context.WithCancel(ctx)
	result := make(chan error, 1)
	go func() { result <- do(ctx) }()
	return func() error {
		cancel()
		return <-result
	}
}

// Again returns a function that repeatedly calls do and then pauses. The function
// returns nil when the context ends, and the error of do if do fails before.
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

// A Witness learns when a server may lose confirmed changes. See [Fault.Losing].
type Witness interface {
	MayLose()     // changes confirmed from now on may be lost
	LosesNoMore() // changes whose call begins from now on are not lost
}

// A noWitness is a [Witness] that does nothing.
type noWitness struct{}

func (noWitness) MayLose()     {}
func (noWitness) LosesNoMore() {}
