// Package soak is the trial "soak". It loads three replicas over HTTP, kills them and
// their server, and checks the answers and what the processes hold.
package soak

import (
	"context"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/bearerkit/bearerkit/examples/torture/internal/trial"
	"github.com/bearerkit/bearerkit/tokenauth"
)

const (
	userCount   = 300
	maxInFlight = 512
	idleTimeout = 5 * time.Second // of the clients' connections
	// longSoak is how long a soak has to be for what its processes hold to be
	// judged: half an hour, less what it takes to start. Growth is how many
	// percent more an hour may be.
	longSoak = 29 * time.Minute
	growth   = 1
)

// A runner is a load on three replicas, whatever befalls them.
type runner struct {
	*trial.Env
	oracle   *oracle
	nodes    []*node // the first is never restarted
	client   *http.Client
	operator string // an access token
	began    time.Time
	own      *samples // of this process

	*figures
}

// Run runs replicas under load. Requests come as they would from many clients
// that know nothing of each other: at random times, and whether or not those
// before were answered. Some who changed something look at once what came of
// it, beside those.
func Run(tb testing.TB, e *trial.Env) {
	s := newRunner(tb, e)
	for _, n := range s.nodes {
		if err := n.start(); err != nil {
			tb.Fatal(err)
		}
	}
	defer func() {
		for _, n := range s.nodes {
			if err := n.end(runningNode.stop); err != nil {
				tb.Error(err)
			}
		}
	}()
	s.signInOperator(tb)
	s.began = time.Now()
	ctx, cancel := context.WithCancel(tb.Context())
	var background sync.WaitGroup
	defer background.Wait()
	defer cancel()
	background.Go(func() { s.watch(ctx) })
	background.Go(func() { s.load(ctx) })
	s.faults(ctx, tb)
	for !e.Over() && ctx.Err() == nil {
		time.Sleep(10 * time.Millisecond)
	}
	cancel()
	background.Wait()
	s.judgeGrowth()
	s.addSections(tb)
}

func newRunner(tb testing.TB, e *trial.Env) *runner {
	if e.Plant != nil && !e.Backend.Watched && !slices.Contains(e.Plant.Trials, "strict") {
		tb.Fatalf("the plant %s needs a cache", e.Plant.Name)
	}
	grace := time.Duration(0)
	if e.Backend.Watched {
		grace = lease + trial.Allowance
	}
	figures := newFigures(time.Until(e.Until))
	s := &runner{
		Env: e, oracle: newOracle(userCount, clientCount, grace), own: newSamples(figures.settled), figures: figures,
		client: &http.Client{
			Timeout: 5 * time.Second,
			// Connections that trouble has made many end soon.
			Transport: &http.Transport{MaxIdleConnsPerHost: maxInFlight, IdleConnTimeout: idleTimeout},
		},
	}
	tb.Cleanup(s.client.CloseIdleConnections)
	for i := range trial.Replicas {
		n := &node{number: i, seen: newSamples(figures.settled)}
		if e.Backend.DSN == "" {
			n.launch = inProcess(func() tokenauth.Storage { return e.Planted(e.Backend.Connect(tb), e.Seed+uint64(i)) }, e.Backend.Watched)
		} else {
			c := config{Backend: e.Backend.Name, DSN: e.Backend.DSN, Cached: e.Backend.Watched, Seed: e.Seed + uint64(i)}
			if e.Plant != nil {
				c.Plant = e.Plant.Name
			}
			n.launch = asProcess(c)
		}
		s.nodes = append(s.nodes, n)
	}
	return s
}

func (s *runner) signInOperator(tb testing.TB) {
	url, _ := s.nodes[0].where()
	a := s.signIn(tb.Context(), url, operatorName, operatorName, 0)
	if s.operator = a.accessToken(); s.operator == "" {
		tb.Fatalf("the operator cannot sign in: %v", a)
	}
}

// watch takes a sample of this process each second.
func (s *runner) watch(ctx context.Context) {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			s.own.add(takeSample())
		}
	}
}

// load makes requests until the trial is over, and waits for those under way.
func (s *runner) load(ctx context.Context) {
	rng := rand.New(rand.NewPCG(s.Seed, 1<<40))
	var inFlight sync.WaitGroup
	defer inFlight.Wait()
	room := make(chan struct{}, maxInFlight)
	for due := time.Now(); !s.Over(); {
		due = due.Add(time.Duration(rng.ExpFloat64() / s.Rate * float64(time.Second)))
		due = due.Add(s.left(due))
		select {
		case <-ctx.Done():
			return
		case <-time.After(time.Until(due)):
		}
		request := s.draw(rng)
		select {
		case room <- struct{}{}:
		default:
			s.shed.Add(1)
			continue
		}
		inFlight.Go(func() {
			defer func() { <-room }()
			request(context.WithoutCancel(ctx), due)
		})
	}
}
