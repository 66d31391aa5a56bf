package fault

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/bearerkit/bearerkit/examples/torture/internal/host"
	"github.com/bearerkit/bearerkit/examples/torture/internal/inject"
	"github.com/bearerkit/bearerkit/examples/torture/internal/network"
	"github.com/bearerkit/bearerkit/examples/torture/internal/op"
	"github.com/bearerkit/bearerkit/examples/torture/internal/trial"
	"github.com/bearerkit/bearerkit/tokenauth"
)

// lease is the lease of the caches: long enough that they serve on a busy
// machine, and shorter than a fault.
const lease = 500 * time.Millisecond

// slowest is how long a validation may take: as long as Options.Timeout, and
// what a busy machine adds.
const slowest = 2*time.Second + time.Second

// A fleet is some replicas, with handles of their own, through all faults. It
// is never restarted.
type fleet struct {
	name     string
	cached   bool
	replicas []*tokenauth.Service
	networks [][]*network.Network // of each replica, if they are behind some
	witness  *witness
	timeline *timeline
	heard    int // how often it was measured
}

// open makes the replicas; with a cache they listen until the context ends.
func (f *fleet) open(ctx context.Context, tb testing.TB, e *trial.Env, p *inject.Target, far bool) {
	tb.Helper()
	options := &tokenauth.Options{Logger: slog.New(slog.DiscardHandler), Throttle: tokenauth.ThrottleOptions{InsecureOff: true}}
	var leeway time.Duration
	if f.cached {
		options.Cache = &tokenauth.CacheOptions{Lease: lease}
		leeway = lease + trial.Allowance
	}
	f.witness = newWitness(fmt.Sprintf("%s %d", f.name, e.Seed), leeway, e.Seed)
	directory := new(host.Directory)
	var running sync.WaitGroup
	tb.Cleanup(running.Wait)
	for i := range trial.Replicas {
		var networks []*network.Network
		if far {
			for _, address := range p.Addresses {
				networks = append(networks, network.New(tb, p.Network, address))
			}
		}
		f.networks = append(f.networks, networks)
		storage := e.Planted(p.Connect(tb, networks), e.Seed+uint64(i))
		auth, err := tokenauth.New(storage, e.PlantedUsers(directory), options)
		if err != nil {
			tb.Fatal(err)
		}
		f.replicas = append(f.replicas, auth)
		if f.cached {
			running.Go(func() { auth.Run(ctx) })
		}
	}
}

// load calls the replicas at a steady rate, whatever they answer and however
// long that takes, until the context ends. It returns when all calls have.
func (f *fleet) load(ctx context.Context, r *round) {
	const rate = 200 // per second
	var calls sync.WaitGroup
	defer calls.Wait()
	ticker := time.NewTicker(time.Second / rate)
	defer ticker.Stop()
	rng := rand.New(rand.NewPCG(f.witness.rng.Uint64(), 4))
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		replica, n := rng.IntN(len(f.replicas)), rng.IntN(100)
		if n < 70 {
			if t := f.witness.drawToken(); t != nil {
				calls.Go(func() { f.validate(r, replica, t) })
			}
		} else if p := f.witness.draw(); p != nil {
			client := rng.IntN(2)
			if p.held[0] == nil {
				n, client = 70, 0
			}
			calls.Go(func() { f.change(r, replica, p, client, n) })
		}
	}
}

// Calls are not ended by a context: each has to come to an end by itself.

func (f *fleet) validate(r *round, replica int, t *heldToken) {
	called := time.Now()
	_, err := f.replicas[replica].Validate(context.Background(), t.text)
	answered := time.Now()
	wrong := f.witness.judge(t, called, answered, err)
	if took := answered.Sub(called); wrong == "" && took > slowest {
		wrong = fmt.Sprintf("a validation took %v", took)
	}
	r.record(call{replica, op.Validate, called, answered, err, wrong})
}

func (f *fleet) change(r *round, replica int, p *person, c, n int) {
	auth := f.replicas[replica]
	clients, next := []int{c}, (*heldToken)(nil)
	what, called := op.Revoke, time.Now()
	var err error
	switch {
	case n < 90:
		what = op.SignIn
		f.witness.beginEnd(p, c)
		var g tokenauth.IssuedToken
		g, err = auth.SignIn(context.Background(), tokenauth.Credentials{UserName: p.name, Password: tokenauth.NewSecret(p.name), ClientID: host.Client(c)})
		if err == nil {
			next = &heldToken{text: g.AccessToken.Reveal()}
		}
	case n < 96 && p.held[c] != nil:
		f.witness.beginEnd(p, c)
		err = auth.Revoke(context.Background(), p.held[c].text)
	default:
		what, clients = op.RevokeUser, []int{0, 1}
		f.witness.beginEnd(p, clients...)
		err = auth.RevokeUser(context.Background(), p.name)
	}
	answered := time.Now()
	f.witness.end(p, err == nil, next, clients...)
	wrong := ""
	if err != nil && !errors.Is(err, tokenauth.ErrUnavailable) {
		wrong = fmt.Sprintf("%v returned not ErrUnavailable but: %v", what, err)
	}
	r.record(call{replica, what, called, answered, err, wrong})
}

// feedPatience is how long a feed may take to come back: it may have to wait
// for a connection first, and between its tries.
const feedPatience = 10 * time.Second

// serve reports whether the caches of all replicas serve.
func (f *fleet) serve() bool {
	return !slices.ContainsFunc(f.replicas, func(auth *tokenauth.Service) bool { return !auth.CacheStats().FeedAlive })
}

// hear measures how long it takes until all replicas refuse a token that one of
// them has revoked, when all have it in their caches.
func (f *fleet) hear(ctx context.Context) (time.Duration, error) {
	f.heard++
	user := fmt.Sprintf("%s heard %d", f.witness.name, f.heard)
	by := f.replicas[f.heard%len(f.replicas)]
	g, err := by.Issue(ctx, tokenauth.Principal{UserID: user}, "")
	if err != nil {
		return 0, err
	}
	text := g.AccessToken.Reveal()
	for _, auth := range f.replicas {
		for range 2 {
			if _, err := auth.Validate(ctx, text); err != nil {
				return 0, err
			}
		}
	}
	if err := by.Revoke(ctx, text); err != nil {
		return 0, err
	}
	revoked := time.Now()
	for _, auth := range f.replicas {
		for err := error(nil); !errors.Is(err, tokenauth.ErrInvalidToken); {
			if _, err = auth.Validate(ctx, text); time.Since(revoked) > slowest {
				return time.Since(revoked), err
			}
		}
	}
	return time.Since(revoked), nil
}

// AwaitFeeds notes when the caches serve again, or that it took too long.
func (f *fleet) awaitFeeds(ctx context.Context, r *round) {
	for f.cached && !f.serve() && time.Since(r.ended) < feedPatience && ctx.Err() == nil {
		inject.Wait(ctx, 10*time.Millisecond)
	}
	r.feeds = time.Since(r.ended)
}
