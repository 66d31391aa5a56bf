// Torture tries to break the promises of this project, and reports what it found.
//
//	go run . -store memory: -for 20s          # all trials that fit the storage
//	go run . -store postgres: -trials strict  # one trial
//	go run . -plant stale-fill                # plant a bug that the trials must find
//	go run . -list-plants
//
// The last line is "N histories, N operations, N violations". The exit code is 0 if
// there was no violation, 1 if there was one, and 2 if an error kept a trial from
// running.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/bearerkit/bearerkit/examples/torture/internal/child"
	"github.com/bearerkit/bearerkit/examples/torture/internal/crash"
	"github.com/bearerkit/bearerkit/examples/torture/internal/plant"
	"github.com/bearerkit/bearerkit/examples/torture/internal/report"
	"github.com/bearerkit/bearerkit/examples/torture/internal/soak"
	"github.com/bearerkit/bearerkit/examples/torture/internal/store"
	"github.com/bearerkit/bearerkit/examples/torture/internal/trial"
	"github.com/bearerkit/bearerkit/internal/throwaway"
)

func main() {
	child.Run(children)
	c := config{out: os.Stdout}
	flag.StringVar(&c.store, "store", "memory:", "the `storage` to try: "+store.Forms)
	flag.DurationVar(&c.duration, "for", 20*time.Second, "how long to try, for all trials together")
	flag.StringVar(&c.trials, "trials", "", "the `trials` to run, separated by commas (default all that fit the storage); see -list-trials")
	flag.StringVar(&c.plant, "plant", "", "the `bug` to plant; see -list-plants")
	flag.Int64Var(&c.enough, "histories", 0, "end each trial after this `number` of histories (default no limit)")
	flag.Uint64Var(&c.seed, "seed", rand.Uint64(), "the `seed` of the random numbers (default a random one)")
	flag.StringVar(&c.report, "report", "", "the `folder` to write a report to (default none; pages of histories with violations go to the temporary folder)")
	flag.Float64Var(&c.rate, "rate", 500, "`requests` per second of the trial soak")
	flag.DurationVar(&c.patience, "patience", 0, "the `time` to add to the maximum time of each recovery and of an operator's change, for a busy machine")
	flag.StringVar(&c.only, "only", "", "in the trials faults and feeds, inject only faults whose names contain the `text`")
	list := flag.Bool("list-plants", false, "list the bugs that -plant can plant")
	listTrials := flag.Bool("list-trials", false, "list the trials")
	flag.Parse()
	switch {
	case *list:
		for _, p := range plants {
			fmt.Printf("%-20s %s (found by %s)\n", p.Name, p.About, strings.Join(p.Trials, ", "))
		}
		return
	case *listTrials:
		for _, t := range trials {
			fmt.Printf("%-10s %s\n", t.Name, t.About)
		}
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	t, err := run(ctx, c)
	if err != nil {
		fmt.Fprintln(os.Stderr, "torture:", err)
		os.Exit(2)
	}
	fmt.Println(t.Summary())
	if len(t.Broken()) > 0 {
		os.Exit(1)
	}
}

// A config holds the values of the command-line flags.
type config struct {
	store, trials, plant, report, only string
	duration, patience                 time.Duration
	enough                             int64
	seed                               uint64
	rate                               float64
	out                                io.Writer
}

// children are the parts of trials that run as processes of their own. See
// [child.Run].
var children = map[string]func() int{"crash": crash.Child, "soak": soak.Child}

// run runs the trials, each for its share of the time.
func run(ctx context.Context, c config) (*report.Tally, error) {
	if c.out == nil {
		c.out = io.Discard
	}
	began := time.Now()
	r := &report.Report{Folder: c.report, Out: c.out}
	if r.Folder == "" {
		r.Folder = os.TempDir()
	} else if err := os.MkdirAll(r.Folder, 0o755); err != nil {
		return nil, err
	}
	e := &trial.Env{Tally: new(report.Tally), Report: r, Seed: c.seed, Only: c.only, Rate: c.rate, Patience: c.patience}
	if c.plant != "" {
		if e.Plant = plant.Named(plants, c.plant); e.Plant == nil {
			return nil, fmt.Errorf("-plant: there is no plant %q; -list-plants lists them", c.plant)
		}
	}
	fmt.Fprintf(c.out, "storage %s, seed %d\n", c.store, c.seed)
	var failed error
	err := throwaway.Outside(ctx, func(tb testing.TB) {
		if e.Backend, failed = store.Open(tb, c.store); failed != nil {
			return
		}
		var chosen []*trial.Trial
		if chosen, failed = choose(c.trials, e.Backend, e.Plant); failed != nil {
			return
		}
		for i, t := range chosen {
			if ctx.Err() != nil {
				return
			}
			e.Until = time.Now().Add(share(c.duration, time.Since(began), len(chosen), i))
			if e.Enough = 0; c.enough > 0 {
				e.Enough = e.Histories.Load() + c.enough
			}
			t.Run(tb, e)
		}
	})
	if err := errors.Join(failed, err); err != nil {
		return nil, err
	}
	if c.report != "" {
		return e.Tally, r.Write(report.Conditions(c.store, c.seed, time.Since(began)), e.Tally)
	}
	return e.Tally, nil
}

// share returns how long the next trial may take. All is the number of trials, and
// first the number of those that have ended. Time that a trial does not use goes to
// the later trials. A trial that ends late takes no time from them.
func share(total, used time.Duration, all, first int) time.Duration {
	return max(total/time.Duration(all), (total-used)/time.Duration(all-first))
}
