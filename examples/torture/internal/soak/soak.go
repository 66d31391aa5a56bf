// Package soak has the trial "soak". It loads three replicas over HTTP, kills them and
// their server, and checks the answers and the resources of the processes.
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
	// longSoak is the minimum time of a soak whose resources are judged: half an hour,
	// less the time to start. Growth is the maximum growth of a resource, in percent
	// an hour.
	longSoak = 29 * time.Minute
	growth   = 1
)

// A runner holds the state of a run: the load, the replicas and the oracle.
type runner struct {
	*trial.Env
	oracle   *oracle
	nodes    []*node // the first is never restarted
	client   *http.Client
	operator string // access token of the operator
	began    time.Time
	own      *samples // of this process

	*figures
}

// Run runs replicas under load until [trial.Env.Over]. Requests come as from many
// independent clients: at random times, and whether or not earlier requests were
// answered. Some changes are followed by a further request that checks the result.
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
		tb.Fatalf("soak: the plant %s needs a storage with a feed, for a cache", e.Plant.Name)
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
			// A fault can make many connections. They must close soon after it.
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
		tb.Fatalf("soak: the operator cannot sign in: %v", a)
	}
}

// watch takes a sample of this process every second.
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

// load sends requests until the trial is over, and waits for those in progress.
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
