package soak

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"
)

// recoveryBound is the maximum time from the end of a fault until a replica works,
// apart from [trial.Env.Patience].
const recoveryBound = 2 * time.Second

// A disaster is a kind of fault.
type disaster struct {
	name   string
	server bool // whether it affects all replicas, and may delay their calls
	// strike injects the fault, waits until it is over, and returns the affected
	// replicas.
	strike func(ctx context.Context, tb testing.TB, rng *rand.Rand) []*node
}

// faultFigures counts a kind of fault, and the times to recover from it.
type faultFigures struct {
	name     string
	recovery histogram
}

// disasters returns the kinds of faults that fit the storage.
func (s *runner) disasters() []*disaster {
	list := []*disaster{
		{name: "killed replica", strike: s.restarts(runningNode.kill)},
		{name: "restarted replica", strike: s.restarts(runningNode.stop)},
	}
	if server := s.Backend.Server; server != nil {
		list = append(list,
			&disaster{name: "restarted server", server: true, strike: s.befallsAll(server.Stop, server.Start, 500*time.Millisecond)},
			&disaster{name: "killed server", server: true, strike: s.befallsAll(server.Kill, server.Start, 500*time.Millisecond)},
			&disaster{name: "paused server", server: true, strike: s.befallsAll(server.Pause, server.Resume, 2*time.Second)},
		)
	}
	if cut := cutterOf(s.Backend); cut != nil {
		list = append(list, &disaster{name: "cut of all connections", server: true, strike: s.befallsAll(cut, func(testing.TB) {}, 0)})
	}
	return list
}

// restarts returns a strike that ends a random replica, but never replica 0, and
// starts it again.
func (s *runner) restarts(end func(runningNode) error) func(context.Context, testing.TB, *rand.Rand) []*node {
	return func(ctx context.Context, tb testing.TB, rng *rand.Rand) []*node {
		n := s.nodes[1+rng.IntN(len(s.nodes)-1)]
		if err := n.end(end); err != nil {
			tb.Fatal(err)
		}
		pause(ctx, rand.N(500*time.Millisecond))
		if err := n.start(); err != nil {
			tb.Fatal(err)
		}
		return []*node{n}
	}
}

// befallsAll returns a strike that calls begin and later end. The time in between is
// random, from half of long to long.
func (s *runner) befallsAll(begin, end func(testing.TB), long time.Duration) func(context.Context, testing.TB, *rand.Rand) []*node {
	return func(ctx context.Context, tb testing.TB, rng *rand.Rand) []*node {
		begin(tb)
		pause(ctx, time.Duration(float64(long)*(1+rng.Float64())/2))
		end(tb)
		return s.nodes
	}
}

// faults injects faults at random times until the trial is over. It injects each kind
// once in a random order, then each once more in another order.
func (s *runner) faults(ctx context.Context, tb testing.TB) {
	rng := rand.New(rand.NewPCG(s.Seed, 1<<41))
	list := s.disasters()
	for _, d := range list {
		s.kinds = append(s.kinds, &faultFigures{name: d.name})
	}
	between := min(max(time.Until(s.Until)/60, 300*time.Millisecond), 20*time.Second)
	for {
		for _, i := range rng.Perm(len(list)) {
			pause(ctx, time.Duration((0.5+rng.Float64())*float64(between)))
			pause(ctx, s.left(time.Now()))
			if ctx.Err() != nil || s.Over() || time.Until(s.Until) < 2*recoveryBound {
				return
			}
			d := list[i]
			s.setFault(d.name)
			if d.server {
				s.oracle.faultBegins()
			}
			befallen := d.strike(ctx, tb, rng)
			ended := time.Now()
			if d.server {
				s.oracle.faultEnds()
			}
			s.setFault("")
			s.recover(ctx, s.kinds[i], befallen, ended)
		}
	}
}

// recover waits until users can sign in at the affected replicas and use their tokens,
// and records how long it took.
func (s *runner) recover(ctx context.Context, f *faultFigures, befallen []*node, ended time.Time) {
	bound := recoveryBound + s.Patience
	took := make([]time.Duration, len(befallen))
	var wg sync.WaitGroup
	for i, n := range befallen {
		wg.Go(func() {
			replica, _ := n.where()
			for ctx.Err() == nil && time.Since(ended) < bound+4*recoveryBound && !s.serves(ctx, replica, fmt.Sprint("canary-", n.number)) {
				pause(ctx, 5*time.Millisecond)
			}
			took[i] = time.Since(ended)
		})
	}
	wg.Wait()
	if ctx.Err() != nil {
		return
	}
	var worst time.Duration
	for i, n := range befallen {
		worst = max(worst, took[i])
		if took[i] > bound {
			s.judge(fmt.Sprintf("replica %d took %v to recover from the fault “%s”", n.number, took[i].Round(time.Millisecond), f.name))
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	f.recovery.add(worst)
}

// serves reports whether a user can sign in at the replica and use the token.
func (s *runner) serves(ctx context.Context, replica, user string) bool {
	text := s.signIn(ctx, replica, user, user, 0).accessToken()
	return text != "" && s.me(ctx, replica, text).status == 200
}

// pause waits, or returns early if the context ends.
func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
