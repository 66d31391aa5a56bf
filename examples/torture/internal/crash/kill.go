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

// killService kills the service and starts it again. In each eighth crash it kills
// the service a second time while it starts.
func (c *runner) killService(k *target, stop *atomic.Bool) {
	stop.Store(true)
	c.service.kill()
	if c.n%8 == 0 {
		c.service = spawn(c.tb, childStore(c.Backend), c.Plant)
		time.Sleep(time.Duration(c.rng.Int64N(int64(starting))))
		c.service.kill()
		k.starting++
	}
	if c.Backend.Name != "sqlite" { // on SQLite, withBooks would be the first to open the database
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

// killDatabase kills the database server and starts it again. The users continue
// to send requests.
func (c *runner) killDatabase(k *target, _ *atomic.Bool) {
	c.Backend.Server.Kill(c.tb)
	began := time.Now()
	c.startServer()
	k.restarts.Add(time.Since(began))
	if c.Backend.Name == "redis" {
		c.withBooks(func(ctx context.Context, b *books) error { return b.syncAlways(ctx) })
	}
}

// startServer starts the server, and tries again for a minute. PostgreSQL does
// not start while a process of the killed server still has its shared memory.
func (c *runner) startServer() {
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		err := throwaway.Outside(context.WithoutCancel(c.tb.Context()), func(tb testing.TB) { c.Backend.Server.Start(tb) })
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			c.tb.Fatal(err)
		}
	}
}

// recovered returns when the service answers right again: the keeper's token is
// valid, and a user can sign in.
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
			if time.Since(up) > 15*recovery+c.Patience {
				c.tb.Fatalf("%s: %s is still answered %d after the maximum time", c.where(k), what, status)
			}
			time.Sleep(time.Millisecond)
		}
	}
	until("a valid token", func() int { return c.service.validate(c.keeper.name, text) })
	until("a sign-in", func() int {
		status, _ := c.service.signIn(visitor, host.Client(0), "", "mark")
		return status
	})
	took := time.Since(up)
	k.recover.Add(took)
	if took > recovery+c.Patience {
		c.Violate("%s: the service answered right only after %v", c.where(k), took)
	}
}
