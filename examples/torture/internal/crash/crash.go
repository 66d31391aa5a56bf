// Package crash is the trial "crashes". It kills the service and the database under
// load, and checks what the storage holds afterwards.
package crash

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bearerkit/bearerkit/examples/torture/internal/report"
	"github.com/bearerkit/bearerkit/examples/torture/internal/trial"
	"github.com/bearerkit/bearerkit/tokenauth"
)

const (
	userCount     = 16
	perGeneration = 10                    // crashes, after which others take the users' place
	activity      = 40 * time.Millisecond // at most, before a crash
	starting      = 60 * time.Millisecond // at most, before a crash while it starts
	recovery      = 2 * time.Second       // at most
)

// Run kills the service, and then the server of the database, again and
// again, each at an instant at random while users sign in and revoke.
func Run(tb testing.TB, e *trial.Env) {
	c := &runner{Env: e, tb: tb, rng: rand.New(rand.NewPCG(e.Seed, 4)), prefix: fmt.Sprintf("crash %d ", e.Seed), earlier: make(digests)}
	scoped(tb, func(tb testing.TB) { e.Backend.Connect(tb) }) // it makes the tables
	c.withBooks(func(ctx context.Context, b *books) (err error) {
		if err = b.syncAlways(ctx); err == nil {
			c.before, err = b.connections(ctx)
		}
		return err
	})
	defer func() {
		if c.service != nil {
			c.service.kill()
		}
	}()
	c.start()
	kinds := []*target{{name: "service", do: c.killService}}
	end := e.Until
	if e.Backend.Server != nil {
		kinds = append(kinds, &target{name: "database", do: c.killDatabase})
		end = time.Now().Add(time.Until(e.Until) / 4) // the service is the faster one
	}
	for _, k := range kinds {
		for k.crashes == 0 || !e.Over() && time.Now().Before(end) { // one at least
			if tb.Context().Err() != nil {
				break
			}
			c.crash(k)
		}
		end = e.Until
	}
	e.Report.Add(c.section(kinds))
}

// A runner is what all crashes have in common.
type runner struct {
	*trial.Env
	tb      testing.TB
	rng     *rand.Rand
	service *service
	before  map[int64]bool // connections that are not the service's

	n          int
	prefix     string  // of the names of the users
	users      []*user // the last is the keeper
	keeper     *user   // does nothing, so that its token is always good
	earlier    digests // of the users before them
	durability string
}

// A target is what is killed, and what came of it.
type target struct {
	name              string
	do                func(k *target, stop *atomic.Bool)
	crashes, starting int
	counts            counts
	counted           int64 // of its requests, as operations
	restarts, recover report.Spread
}

// crash kills once, and judges.
func (c *runner) crash(k *target) {
	if c.n%perGeneration == 0 || c.users[0].counts != &k.counts {
		c.generation(&k.counts)
	}
	c.n++
	var stop atomic.Bool
	var wg sync.WaitGroup
	defer func() {
		stop.Store(true)
		wg.Wait()
	}()
	s := c.service // which another takes the place of
	for _, u := range c.users[:userCount] {
		wg.Go(func() { u.use(s, &stop) })
	}
	if c.n%4 != 0 { // else it is killed while its first requests come
		c.warm(k, 2*userCount)
	}
	time.Sleep(time.Duration(c.rng.Int64N(int64(activity))))
	k.do(k, &stop)
	c.recovered(k)
	stop.Store(true)
	wg.Wait()
	k.crashes++
	c.judge(k)
}

// warm returns after so many requests, when connections are there.
func (c *runner) warm(k *target, requests int64) {
	requests += k.counts.requests.Load()
	for deadline := time.Now().Add(time.Second); k.counts.requests.Load() < requests && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
}

// generation has other users take the place of those there are.
func (c *runner) generation(counts *counts) {
	for _, u := range c.users {
		for _, p := range u.places {
			if p.held != nil {
				c.earlier[p.slot] = []tokenauth.Digest{p.held.digest}
			}
		}
	}
	c.users = nil
	for i := range userCount {
		c.users = append(c.users, newUser(fmt.Sprintf("%s%d user %d", c.prefix, c.n, i), c.rng.Uint64(), counts))
	}
	c.keeper = newUser(fmt.Sprintf("%s%d keeper", c.prefix, c.n), 0, counts)
	if c.keeper.signIn(c.service, c.keeper.places[0]); c.keeper.places[0].held == nil {
		c.tb.Fatal("a user cannot sign in, and nothing was killed")
	}
	c.users = append(c.users, c.keeper)
}

func (c *runner) where(k *target) string {
	return fmt.Sprintf("crash %d of seed %d, %s killed on %s", c.n, c.Seed, k.name, c.Backend.Name)
}

func (c *runner) judge(k *target) {
	var slots []tokenauth.Slot
	for _, u := range c.users {
		for _, p := range u.places {
			slots = append(slots, p.slot)
		}
	}
	var r reading
	c.withBooks(func(ctx context.Context, b *books) (err error) {
		if r, err = b.read(ctx, c.prefix, slots, c.earlier); err == nil && c.durability == "" {
			c.durability, err = b.durability(ctx)
		}
		return err
	})
	k.counts.rows.Add(int64(r.rows))
	broken := r.broken
	for _, u := range c.users {
		u.judge(r.held, func(text string) (status int) {
			for deadline := time.Now().Add(recovery); ; time.Sleep(time.Millisecond) {
				if status = c.service.validate(u.name, text); !doubtful(status) || time.Now().After(deadline) {
					return status
				}
			}
		})
		broken = append(broken, u.broken...)
		u.broken = nil
	}
	for _, text := range broken {
		c.Violate("%s: %s", c.where(k), text)
	}
	requests := k.counts.requests.Load() + k.counts.tried.Load()
	c.Operations.Add(requests - k.counted)
	k.counted = requests
}

// withBooks opens books for a moment. A crash is judged to its end, even when
// there shall be no other.
func (c *runner) withBooks(use func(ctx context.Context, b *books) error) {
	ctx := context.WithoutCancel(c.tb.Context())
	b, err := openBooks(ctx, c.Backend)
	if b != nil {
		defer b.close()
	}
	if err == nil {
		err = use(ctx, b)
	}
	if err != nil {
		c.tb.Fatal(err)
	}
}

// scoped runs f with a testing.TB whose cleanup comes at its end.
func scoped(tb testing.TB, f func(tb testing.TB)) {
	s := &scope{TB: tb}
	defer func() {
		for i := len(s.cleanups) - 1; i >= 0; i-- {
			s.cleanups[i]()
		}
	}()
	f(s)
}

type scope struct {
	testing.TB
	cleanups []func()
}

func (s *scope) Cleanup(f func()) { s.cleanups = append(s.cleanups, f) }
