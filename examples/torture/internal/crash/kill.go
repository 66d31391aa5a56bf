package crash

import (
	"context"
	"fmt"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bearerkit/bearerkit/examples/torture/internal/host"
	"github.com/bearerkit/bearerkit/internal/throwaway"
)

// killService kills the service at once, and starts it again. Now and then it
// is killed once more while it starts.
func (c *runner) killService(k *target, stop *atomic.Bool) {
	stop.Store(true)
	c.service.kill()
	if c.n%8 == 0 {
		c.service = spawn(c.tb, childStore(c.Backend), c.Plant)
		time.Sleep(time.Duration(c.rng.Int64N(int64(starting))))
		c.service.kill()
		k.starting++
	}
	if c.Backend.Name != "sqlite" { // or this would be the first to open it
		c.withBooks(func(ctx context.Context, b *books) error { return b.awaitSilence(ctx, c.before) })
	}
	began := time.Now()
	c.start()
	k.restarts.Add(time.Since(began))
}

func (c *runner) start() {
	c.service = spawn(c.tb, childStore(c.Backend), c.Plant)
	c.service.await(c.tb)
}

// killDatabase kills the server, and starts it again, while the users go on.
func (c *runner) killDatabase(k *target, _ *atomic.Bool) {
	c.Backend.Server.Kill(c.tb)
	began := time.Now()
	c.startServer()
	k.restarts.Add(time.Since(began))
	if c.Backend.Name == "redis" {
		c.withBooks(func(ctx context.Context, b *books) error { return b.syncAlways(ctx) })
	}
}

// startServer tries again when a process of the server that was killed is still
// on its way out: PostgreSQL does not start while one has its shared memory.
func (c *runner) startServer() {
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		err := throwaway.Outside(context.WithoutCancel(c.tb.Context()), func(tb testing.TB) { c.Backend.Server.Start(tb) })
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			c.tb.Fatal(err)
		}
	}
}

// recovered returns when the service answers right again: a token from before
// is good, and a user can sign in.
func (c *runner) recovered(k *target) {
	up := time.Now()
	text := c.keeper.places[0].held.text
	visitor := fmt.Sprintf("visitor %d", c.Seed)
	until := func(what string, ask func() (status int)) {
		for status := ask(); status != http.StatusOK; status = ask() {
			if !doubtful(status) {
				c.Violate("%s: %s is answered %d", c.where(k), what, status)
				return
			}
			if time.Since(up) > 15*recovery {
				c.tb.Fatalf("%s: %s is still answered %d", c.where(k), what, status)
			}
			time.Sleep(time.Millisecond)
		}
	}
	until("a good token", func() int { return c.service.validate(c.keeper.name, text) })
	until("a sign-in", func() int {
		status, _ := c.service.signIn(visitor, host.Client(0), "mark")
		return status
	})
	took := time.Since(up)
	k.recover.Add(took)
	if took > recovery {
		c.Violate("%s: it took %v until the service answered right", c.where(k), took)
	}
}
