// Package change has the trial "changes". Users sign in while an operator changes,
// disables and deletes users and clients. The users and clients are in another
// storage than the tokens, or in the same.
package change

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/bearerkit/bearerkit/examples/torture/internal/plant"
	"github.com/bearerkit/bearerkit/examples/torture/internal/report"
	"github.com/bearerkit/bearerkit/examples/torture/internal/store"
	"github.com/bearerkit/bearerkit/examples/torture/internal/trial"
	"github.com/bearerkit/bearerkit/tokenauth"
)

const (
	// within is how long a token may outlive the commit of a change.
	within = 3 * time.Second
	// slack is added to within, because the histories keep the machine busy. The
	// report has the time that it really took.
	slack = 12 * time.Second
	// atOnce is the number of concurrent histories.
	atOnce = 8
)

// Run makes histories until [trial.Env.Over].
func Run(tb testing.TB, e *trial.Env) {
	var c counts
	before := e.Histories.Load()
	fleets := []*fleet{newFleet(tb, e, false)}
	if e.Backend.SQL() {
		fleets = append(fleets, newFleet(tb, e, true))
	}
	ctx, cancel := context.WithCancel(tb.Context())
	var running, working sync.WaitGroup
	for _, f := range fleets {
		for _, auth := range f.replicas {
			running.Go(func() { auth.Run(ctx) })
		}
	}
	for worker := range uint64(atOnce) {
		working.Go(func() {
			for n := worker; !e.Over() && ctx.Err() == nil; n += atOnce {
				h := newHistory(e, fleets[n%uint64(len(fleets))], n)
				if err := h.run(ctx); err != nil {
					if ctx.Err() == nil {
						tb.Error(err)
					}
					return
				}
				c.add(h)
			}
		})
	}
	working.Wait()
	cancel()
	running.Wait()
	e.Report.Add(c.section(e, before))
}

// A fleet is the replicas that share one directory of users and clients.
type fleet struct {
	name             string
	directory, other *store.Directory // other stands for a process that is not a replica
	replicas         []*tokenauth.Service
}

func newFleet(tb testing.TB, e *trial.Env, besideTokens bool) *fleet {
	tb.Helper()
	f := &fleet{name: "a directory of its own", directory: e.Backend.Directory(tb, besideTokens)}
	if besideTokens {
		f.name = "the directory beside the tokens"
	}
	f.other = f.directory.Again(tb)
	p := e.Plant
	if p == nil {
		p = new(plant.Plant)
	}
	for range trial.Replicas {
		d := f.directory.Again(tb)
		var users tokenauth.Authenticator = d.Users()
		var clients tokenauth.ClientRegistry = d.Clients()
		if p.Users != nil {
			users = p.Users(users)
		}
		if p.Clients != nil {
			clients = p.Clients(clients)
		}
		auth, err := tokenauth.New(e.Planted(e.Backend.Connect(tb), e.Seed), users, &tokenauth.Options{
			Clients: clients, Logger: slog.New(slog.DiscardHandler), Throttle: tokenauth.ThrottleOptions{InsecureOff: true},
			Timeout: 10 * time.Second,
		})
		if err != nil {
			tb.Fatal(err)
		}
		f.replicas = append(f.replicas, auth)
	}
	return f
}

// counts sums up all histories of a run.
type counts struct {
	mu      sync.Mutex
	changes [len(kinds)]int64
	signIns int64
	took    report.Spread // for each history, from the last change to the end of the last token
}

func (c *counts) add(h *history) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, change := range h.changes {
		c.changes[change.kind]++
	}
	c.signIns += int64(len(h.tokens))
	c.took.Add(h.took)
}

func (c *counts) section(e *trial.Env, before int64) *report.Section {
	s := &report.Section{
		Title: "Changes of users and clients",
		About: fmt.Sprintf("Users sign in at %d replicas while an operator changes users and clients: in a replica's process, in another process, or in a transaction that stays open for a moment. No replica accepts a token for more than %v after the commit of a change that ends it. A token issued after the change stays valid.", trial.Replicas, within),
		Head:  []string{"change", "times"},
	}
	for i, kind := range kinds {
		s.Row(kind.name, c.changes[i])
	}
	s.Note("%d histories with tokens on %s, %d sign-ins. The last token of a history ended within %s ms of the last change in half of the histories, and within %s ms in all.",
		e.Histories.Load()-before, e.Backend.Name, c.signIns, report.Milliseconds(c.took.Quantile(0.5)), report.Milliseconds(c.took.Quantile(1)))
	return s
}

// random returns the random numbers of history n, which depend only on the seed.
func random(e *trial.Env, n uint64) *rand.Rand { return rand.New(rand.NewPCG(e.Seed, 3<<32+n)) }
