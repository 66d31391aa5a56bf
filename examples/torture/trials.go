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
	"github.com/bearerkit/bearerkit/examples/torture/internal/stream"
	"github.com/bearerkit/bearerkit/examples/torture/internal/trial"
)

// trials lists all trials, in the order in which they run.
var trials = []*trial.Trial{
	{
		Name: "strict", Run: history.Strict,
		About: "concurrent calls without a cache must be linearizable; every other history has faults",
	},
	{
		Name: "batches", Run: history.Batches,
		About: "like strict, with look-ups that share statements; every other generation of replicas has faults",
	},
	{
		Name: "bounded", Run: history.Bounded, Fits: func(b *store.Backend) bool { return b.Watched },
		About: "like strict with a cache, which may accept an ended token for the lease at most; every other generation of replicas has faults",
	},
	{
		Name: "feeds", Run: history.Feeds, Fits: history.FeedsFits,
		About: "like bounded, while the path on which changes reach the cache is broken and repaired",
	},
	{
		Name: "keys", Run: history.Keys,
		About: "API keys, their owners' roles and passwords, without and with a cache; half of the histories have faults",
	},
	{
		Name: "streams", Run: stream.Run,
		About: "open streams end with their tokens, and no earlier, while feeds are lost and come back",
	},
	{
		Name: "changes", Run: change.Run,
		About: "an operator changes users and clients while users sign in, with the tokens in another storage or the same",
	},
	{
		Name: "hangups", Run: hangup.Run, Fits: hangup.Fits,
		About: "clients close their connections early: other clients are not affected, and the database sees no new connections",
	},
	{
		Name: "crashes", Run: crash.Run, Fits: func(b *store.Backend) bool {
			return b.Name != "memory" && b.Name != "redis-cluster" && b.Name != "redis-sentinel" && b.Name != "mariadb-galera" && b.Name != "postgres-pgbouncer" && b.Standby == nil
		},
		About: "SIGKILL of the service and of the database at random instants: no confirmed change is lost, none is half done",
	},
	{
		Name: "matrix", Run: matrix.Run, Fits: func(b *store.Backend) bool { return b.Name == "memory" },
		About: "each fault, and each pair of faults, in each call of each operation, in each variant of Service",
	},
	{
		Name: "forgery", Run: forgery.Run, Fits: func(b *store.Backend) bool { return b.Name == "memory" },
		About: "millions of invalid tokens, without and with a cache",
	},
	{
		Name: "soak", Run: soak.Run, Fits: func(b *store.Backend) bool {
			return b.Standby == nil && b.Name != "mariadb-galera" && b.Name != "postgres-pgbouncer"
		},
		About: "load on three replicas over HTTP, with faults: right answers, recovery, and no growth of memory",
	},
	{
		Name: "faults", Run: fault.Run, Fits: fault.Fits,
		About: "real faults of the server and of the network to it, under load: right answers or 503, and recovery within 2 s",
	},
}

// plants lists all bugs that -plant can plant.
var plants = slices.Concat(plant.Shared, plant.Devices, plant.Refresh, plant.Keys, history.Plants, history.BatchPlants, stream.Plants, change.Plants, hangup.Plants, crash.Plants, matrix.Plants, forgery.Plants, fault.Plants)

// choose returns the trials with the names, separated by commas. If names is empty,
// it returns all trials that fit the storage. With a plant, only the trials that must
// find it run.
func choose(names string, b *store.Backend, p *plant.Plant) ([]*trial.Trial, error) {
	var chosen []*trial.Trial
	for _, t := range trials {
		asked := names == "" || slices.Contains(strings.Split(names, ","), t.Name)
		fits := t.Fits == nil || t.Fits(b)
		if asked && !fits && names != "" {
			return nil, fmt.Errorf("-trials: the trial %s cannot run on the storage %s", t.Name, b.Name)
		}
		if asked && fits && (p == nil || slices.Contains(p.Trials, t.Name)) {
			chosen = append(chosen, t)
		}
	}
	for name := range strings.SplitSeq(names, ",") {
		if name != "" && !slices.ContainsFunc(trials, func(t *trial.Trial) bool { return t.Name == name }) {
			return nil, fmt.Errorf("-trials: there is no trial %q; -list-trials lists them", name)
		}
	}
	if len(chosen) == 0 {
		return nil, fmt.Errorf("none of the trials to run can find the plant, or fits the storage")
	}
	return chosen, nil
}
