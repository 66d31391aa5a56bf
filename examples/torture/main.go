// Torture tries to break what this project promises, and says what it found.
//
//	go run . -store memory: -for 20s          # all trials that fit the storage
//	go run . -store postgres: -trials strict  # one of them
//	go run . -plant stale-fill                # a planted bug, which has to be found
//	go run . -list-plants
//
// The last line is "N histories, N operations, N violations". The exit code is 1
// if there is a violation, and 2 if something kept it from trying.
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
	flag.StringVar(&c.store, "store", "memory:", "what to try: "+store.Forms)
	flag.DurationVar(&c.duration, "for", 20*time.Second, "how long to try, all trials together")
	flag.StringVar(&c.trials, "trials", "", "the `trials` to run, separated by commas (default all that fit)")
	flag.StringVar(&c.plant, "plant", "", "the `bug` to plant; see -list-plants")
	flag.Int64Var(&c.enough, "histories", 0, "how many histories are enough for a trial (default as many as there is time for)")
	flag.Uint64Var(&c.seed, "seed", rand.Uint64(), "what chance begins with (default any)")
	flag.StringVar(&c.report, "report", "", "the `folder` to write a report to (default none; histories that fail go to the temporary folder)")
	flag.Float64Var(&c.rate, "rate", 500, "how many `requests` a second the trial soak makes")
	flag.StringVar(&c.only, "only", "", "of the faults in the trials faults and feeds, only those whose names contain the `text`")
	list := flag.Bool("list-plants", false, "list the bugs that can be planted")
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

// A config is what the command line says.
type config struct {
	store, trials, plant, report, only string
	duration                           time.Duration
	enough                             int64
	seed                               uint64
	rate                               float64
	out                                io.Writer
}

// children are the parts of trials that are processes of their own.
var children = map[string]func() int{"crash": crash.Child, "soak": soak.Child}

// run runs the trials, each for its part of the time.
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
	e := &trial.Env{Tally: new(report.Tally), Report: r, Seed: c.seed, Only: c.only, Rate: c.rate}
	if c.plant != "" {
		if e.Plant = plant.Named(plants, c.plant); e.Plant == nil {
			return nil, fmt.Errorf("there is no plant %q; -list-plants lists them", c.plant)
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

// share returns how long the trial after the first ones may take, of all that
// there are. What a trial does not use goes to those after it. One that ends late
// takes nothing from them.
func share(total, used time.Duration, all, first int) time.Duration {
	return max(total/time.Duration(all), (total-used)/time.Duration(all-first))
}
