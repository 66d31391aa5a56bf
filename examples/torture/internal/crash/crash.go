// Package crash has the trial "crashes". It kills the service and the database under
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
	perGeneration = 10                    // crashes, after which new users replace the users
	activity      = 40 * time.Millisecond // maximum time of load before a crash
	starting      = 60 * time.Millisecond // maximum time from the start to a second kill
	recovery      = 2 * time.Second       // maximum time until the service answers right
	grace         = time.Minute           // [tokenauth.RefreshOptions.Grace]
)

// Run repeatedly kills the service, and then the database server, at random instants
// while users sign in and revoke. It ends with [trial.Env.Over].
func Run(tb testing.TB, e *trial.Env) {
	c := &runner{Env: e, tb: tb, rng: rand.New(rand.NewPCG(e.Seed, 4)), prefix: fmt.Sprintf("crash %d ", e.Seed), earlier: make(digests)}
	scoped(tb, func(tb testing.TB) { e.Backend.Connect(tb) }) // creates the tables
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
		end = time.Now().Add(time.Until(e.Until) / 4) // crashes of the service are faster
	}
	for _, k := range kinds {
		for k.crashes == 0 || !e.Over() && time.Now().Before(end) { // at least one crash
			if tb.Context().Err() != nil {
				break
			}
			c.crash(k)
		}
		end = e.Until
	}
	e.Report.Add(c.section(kinds))
}

// A runner is the state that all crashes of a run share.
type runner struct {
	*trial.Env
	tb      testing.TB
	rng     *rand.Rand
	service *service
	before  map[int64]bool // database connections that are not the service's

	n          int     // number of crashes
	prefix     string  // of the users' names
	users      []*user // the last one is the keeper
	roamers    []*roamer
	keeper     *user   // changes nothing, so that its token stays valid
	earlier    digests // the tokens of earlier generations of users
	durability string  // the server's settings, for the report
}

// A target is a process to kill, and the results of its crashes.
type target struct {
	name              string
	do                func(k *target, stop *atomic.Bool)
	crashes, starting int
	exceeded          int // how often a roamer had too many tokens after a crash
	counts            counts
	counted           int64 // requests that are in the Tally already
	restarts, recover report.Spread
}

// crash kills the target once, and checks the result.
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
	s := c.service // killService replaces c.service
	for _, u := range c.users[:userCount] {
		wg.Go(func() { u.use(s, &stop) })
	}
	for _, r := range c.roamers {
		wg.Go(func() { r.use(s, &stop) })
	}
	if c.n%4 != 0 { // else it is killed during its first requests
		c.warm(k, 2*userCount)
	}
	time.Sleep(time.Duration(c.rng.Int64N(int64(activity))))
	k.do(k, &stop)
	c.recovered(k)
	stop.Store(true)
	wg.Wait()
	k.crashes++
	c.judge(k)
	c.judgeRoamers(k)
}

// warm returns after that many requests, when the connections are open, or after a
// second.
func (c *runner) warm(k *target, requests int64) {
	requests += k.counts.requests.Load()
	for deadline := time.Now().Add(time.Second); k.counts.requests.Load() < requests && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
}

// generation replaces the users by new ones, and remembers the tokens of the old.
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
		u := newUser(fmt.Sprintf("%s%d user %d", c.prefix, c.n, i), c.rng.Uint64(), counts)
		u.refreshes = i%2 == 0
		c.users = append(c.users, u)
	}
	c.keeper = newUser(fmt.Sprintf("%s%d keeper", c.prefix, c.n), 0, counts)
	if c.keeper.signIn(c.service, c.keeper.places[0]); c.keeper.places[0].held == nil {
		c.tb.Fatal("crash: a user cannot sign in although nothing was killed")
	}
	c.users = append(c.users, c.keeper)
	c.roamers = c.newRoamers(counts)
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
	until := func(ask func() (status int)) (status int) {
		for deadline := time.Now().Add(recovery + c.Patience); ; time.Sleep(time.Millisecond) {
			if status = ask(); !doubtful(status) || time.Now().After(deadline) {
				return status
			}
		}
	}
	for _, u := range c.users {
		u.judge(r.held, func(client, refreshToken string) (status int, pair pair) {
			status = until(func() (status int) {
				status, pair = c.service.refresh(client, refreshToken, false)
				return status
			})
			return status, pair
		}, func(text string) (status int) {
			return until(func() int { return c.service.validate(u.name, text) })
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

// withBooks opens books, calls use and closes them. It ignores the end of the test's
// context, so that the last crash is checked, too.
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

// scoped runs f with a [testing.TB] whose cleanups run when f returns.
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
