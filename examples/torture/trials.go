package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/bearerkit/bearerkit/examples/torture/internal/change"
	"github.com/bearerkit/bearerkit/examples/torture/internal/crash"
	"github.com/bearerkit/bearerkit/examples/torture/internal/fault"
	"github.com/bearerkit/bearerkit/examples/torture/internal/forgery"
	"github.com/bearerkit/bearerkit/examples/torture/internal/hangup"
	"github.com/bearerkit/bearerkit/examples/torture/internal/history"
	"github.com/bearerkit/bearerkit/examples/torture/internal/matrix"
	"github.com/bearerkit/bearerkit/examples/torture/internal/plant"
	"github.com/bearerkit/bearerkit/examples/torture/internal/soak"
	"github.com/bearerkit/bearerkit/examples/torture/internal/store"
	"github.com/bearerkit/bearerkit/examples/torture/internal/trial"
)

// trials are all that there are, in the order in which they are run.
var trials = []*trial.Trial{
	{
		Name: "strict", Run: history.Strict,
		About: "linearizability of histories, without a cache; every other one with faults",
	},
	{
		Name: "batches", Run: history.Batches,
		About: "linearizability of histories whose look-ups share statements, without a cache; every other generation with faults",
	},
	{
		Name: "bounded", Run: history.Bounded, Fits: func(b *store.Backend) bool { return b.Watched },
		About: "histories with a cache: a token that ended passes for the lease at most; every other generation with faults",
	},
	{
		Name: "feeds", Run: history.Feeds, Fits: history.FeedsFits,
		About: "histories with a cache, while somebody breaks the way of changes to it and mends it again",
	},
	{
		Name: "changes", Run: change.Run,
		About: "an operator changes users and clients while they sign in, with the tokens in another storage or the same",
	},
	{
		Name: "hangups", Run: hangup.Run, Fits: hangup.Fits,
		About: "clients that close their connections at once: others notice nothing, and the server sees no new connections",
	},
	{
		Name: "crashes", Run: crash.Run, Fits: func(b *store.Backend) bool {
			return b.Name != "memory" && b.Name != "redis-cluster" && b.Name != "redis-sentinel" && b.Name != "mariadb-galera" && b.Name != "postgres-pgbouncer" && b.Standby == nil
		},
		About: "SIGKILL of the service, and of the database, at any instant: nothing confirmed is lost, nothing is half done",
	},
	{
		Name: "matrix", Run: matrix.Run, Fits: func(b *store.Backend) bool { return b.Name == "memory" },
		About: "each fault at each call of each operation, in each variant of Service, and each two",
	},
	{
		Name: "forgery", Run: forgery.Run, Fits: func(b *store.Backend) bool { return b.Name == "memory" },
		About: "what is no good token, in great numbers, without and with a cache",
	},
	{
		Name: "soak", Run: soak.Run, Fits: func(b *store.Backend) bool {
			return b.Standby == nil && b.Name != "mariadb-galera" && b.Name != "postgres-pgbouncer"
		},
		About: "load on three replicas over HTTP, with faults; what they hold over time",
	},
	{
		Name: "faults", Run: fault.Run, Fits: fault.Fits,
		About: "real faults of the server, and of the network to it, under load: right answers or 503, and recovery within 2 s",
	},
}

// plants are all that there are.
var plants = slices.Concat(plant.Shared, history.Plants, history.BatchPlants, change.Plants, hangup.Plants, crash.Plants, matrix.Plants, forgery.Plants, fault.Plants)

// choose returns the trials that are asked for, or all that fit.
func choose(names string, b *store.Backend, p *plant.Plant) ([]*trial.Trial, error) {
	var chosen []*trial.Trial
	for _, t := range trials {
		asked := names == "" || slices.Contains(strings.Split(names, ","), t.Name)
		fits := t.Fits == nil || t.Fits(b)
		if asked && !fits && names != "" {
			return nil, fmt.Errorf("the trial %s cannot be done on %s", t.Name, b.Name)
		}
		if asked && fits && (p == nil || slices.Contains(p.Trials, t.Name)) {
			chosen = append(chosen, t)
		}
	}
	for name := range strings.SplitSeq(names, ",") {
		if name != "" && !slices.ContainsFunc(trials, func(t *trial.Trial) bool { return t.Name == name }) {
			return nil, fmt.Errorf("there is no trial %q", name)
		}
	}
	if len(chosen) == 0 {
		return nil, fmt.Errorf("there is no trial to run")
	}
	return chosen, nil
}
