package main

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// A trial is a way to try to break a promise.
type trial struct {
	name, about string
	// fits is whether it can be done with the storage; nil for any.
	fits func(*backend) bool
	// run tries until the env is over. It reports violations to the env, and
	// fails the testing.TB only for what kept it from trying.
	run func(tb testing.TB, e *env)
}

// trials are all that there are, in the order in which they are run.
var trials = []*trial{
	{
		name: "strict", run: strictly,
		about: "linearizability of histories, without a cache; every other one with faults",
	},
	{
		name: "bounded", run: bounded, fits: func(b *backend) bool { return b.watched },
		about: "histories with a cache: a token that ended passes for the lease at most; every other generation with faults",
	},
	{
		name: "crashes", run: crashes, fits: func(b *backend) bool {
			return b.name != "memory" && b.name != "redis-cluster" && b.name != "redis-sentinel" && b.standby == nil
		},
		about: "SIGKILL of the service, and of the database, at any instant: nothing confirmed is lost, nothing is half done",
	},
	{
		name: "matrix", run: exhaust, fits: func(b *backend) bool { return b.name == "memory" },
		about: "each fault at each call of each operation, in each variant of Service, and each two",
	},
	{
		name: "forgery", run: forgeMany, fits: func(b *backend) bool { return b.name == "memory" },
		about: "what is no good token, in great numbers, without and with a cache",
	},
	{
		name: "soak", run: soak, fits: func(b *backend) bool { return b.standby == nil },
		about: "load on three replicas over HTTP, with faults; what they hold over time",
	},
	{
		name: "faults", run: faults, fits: faulty,
		about: "real faults of the server, and of the network to it, under load: right answers or 503, and recovery within 2 s",
	},
}

// choose returns the trials that are asked for, or all that fit.
func choose(names string, b *backend, p *plant) ([]*trial, error) {
	var chosen []*trial
	for _, t := range trials {
		asked := names == "" || slices.Contains(strings.Split(names, ","), t.name)
		fits := t.fits == nil || t.fits(b)
		if asked && !fits && names != "" {
			return nil, fmt.Errorf("the trial %s cannot be done on %s", t.name, b.name)
		}
		if asked && fits && (p == nil || slices.Contains(p.trials, t.name)) {
			chosen = append(chosen, t)
		}
	}
	for name := range strings.SplitSeq(names, ",") {
		if name != "" && !slices.ContainsFunc(trials, func(t *trial) bool { return t.name == name }) {
			return nil, fmt.Errorf("there is no trial %q", name)
		}
	}
	if len(chosen) == 0 {
		return nil, fmt.Errorf("there is no trial to run")
	}
	return chosen, nil
}
