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

// lease is the lease of the caches. It is long enough for caches to serve on a busy
// machine, and shorter than most faults.
const lease = 500 * time.Millisecond

// grace is [tokenauth.RefreshOptions.Grace].
const grace = time.Minute

// slowest is the maximum time of a validation: the default of
// [tokenauth.Options.Timeout], and a second more on a busy machine, apart from
// [trial.Env.Patience].
const slowest = 2*time.Second + time.Second

// A fleet is a group of [tokenauth.Service] replicas, each with its own handle of the
// storage. It is never restarted, whatever the faults.
type fleet struct {
	name     string
	cached   bool
	replicas []*tokenauth.Service
	networks [][]*network.Network // of each replica, if it connects through networks
	witness  *witness
	timeline *timeline
	heard    int // how many times hear was called
}

// open creates the replicas. Those with a cache run until the context ends. With far
// they connect through networks.
func (f *fleet) open(ctx context.Context, tb testing.TB, e *trial.Env, p *inject.Target, far bool) {
	tb.Helper()
	options := &tokenauth.Options{
		Logger: slog.New(slog.DiscardHandler), Throttle: tokenauth.ThrottleOptions{InsecureOff: true},
		Refresh: &tokenauth.RefreshOptions{Grace: grace, Key: tokenauth.NewSecret("32 bytes that the replicas share")},
	}
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

// load calls the replicas at a steady rate until the context ends. It does not wait
// for earlier answers. It returns when all calls have returned.
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

// The calls have no deadline of their own: the [tokenauth.Service] must end them.

func (f *fleet) validate(r *round, replica int, t *heldToken) {
	called := time.Now()
	_, err := f.replicas[replica].Validate(context.Background(), t.text)
	answered := time.Now()
	wrong := f.witness.judge(t, called, answered, err)
	if took := answered.Sub(called); wrong == "" && took > slowest+r.patience {
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
	case n < 80 && p.held[c] != nil && p.held[c].refresh != "":
		f.refresh(r, replica, p, c)
		return
	case n < 90:
		what = op.SignIn
		f.witness.beginEnd(p, c)
		var g tokenauth.IssuedToken
		g, err = auth.SignIn(context.Background(), tokenauth.Credentials{UserName: p.name, Password: tokenauth.NewSecret(p.name), ClientID: host.Client(c)})
		if err == nil {
			next = &heldToken{text: g.AccessToken.Reveal(), refresh: g.RefreshToken.Reveal()}
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
		wrong = fmt.Sprintf("%v returned an error that is not ErrUnavailable: %v", what, err)
	}
	r.record(call{replica, what, called, answered, err, wrong})
}

// refresh refreshes the person's pair at a client. After an error it tries again, at any
// replica, as often as a refresh can be repeated. The refresh token is never refused,
// because the person makes no other change meanwhile.
func (f *fleet) refresh(r *round, replica int, p *person, c int) {
	const maxRepeats = 3
	held := p.held[c]
	f.witness.beginEnd(p, c)
	var next *heldToken
	began := time.Now()
	for try := 0; ; try++ {
		called := time.Now()
		g, err := f.replicas[replica].Refresh(context.Background(), tokenauth.Credentials{RefreshToken: tokenauth.NewSecret(held.refresh), ClientID: host.Client(c)})
		answered := time.Now()
		wrong := ""
		switch {
		case err == nil:
			next = &heldToken{text: g.AccessToken.Reveal(), refresh: g.RefreshToken.Reveal()}
		case errors.Is(err, tokenauth.ErrUnavailable):
		case answered.Sub(began) < grace:
			wrong = fmt.Sprintf("a refresh was refused, and so its user signed out, after %d tries that failed in %v: %v", try, called.Sub(began), err)
		}
		r.record(call{replica, op.Refresh, called, answered, err, wrong})
		if !errors.Is(err, tokenauth.ErrUnavailable) || try == maxRepeats {
			break
		}
		time.Sleep(100 * time.Millisecond)
		replica = (replica + 1) % len(f.replicas)
	}
	f.witness.end(p, next != nil, next, c)
}

// feedPatience is the maximum time until a feed is back, apart from
// [trial.Env.Patience]. A feed may have to wait for a connection, and it pauses between
// its tries.
const feedPatience = 10 * time.Second

// serve reports whether all replicas serve from their caches.
func (f *fleet) serve() bool {
	return !slices.ContainsFunc(f.replicas, func(auth *tokenauth.Service) bool { return !auth.CacheStats().FeedAlive })
}

// hear measures the time from a revocation at one replica until all replicas refuse
// the token. All have it in their caches before.
func (f *fleet) hear(ctx context.Context) (time.Duration, error) {
	f.heard++
	user := fmt.Sprintf("%s heard %d", f.witness.name, f.heard)
	by := f.replicas[f.heard%len(f.replicas)]
	g, err := by.Issue(ctx, tokenauth.Principal{UserID: user}, nil)
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

// awaitFeeds waits until all caches serve again, and records how long it took.
func (f *fleet) awaitFeeds(ctx context.Context, r *round) {
	for f.cached && !f.serve() && time.Since(r.ended) < feedPatience+r.patience && ctx.Err() == nil {
		inject.Wait(ctx, 10*time.Millisecond)
	}
	r.feeds = time.Since(r.ended)
}
