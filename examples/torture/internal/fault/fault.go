// Package fault has the trial "faults". It injects one fault after the other into a
// server under load, and checks the answers and the recovery.
package fault

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bearerkit/bearerkit/examples/torture/internal/inject"
	"github.com/bearerkit/bearerkit/examples/torture/internal/report"
	"github.com/bearerkit/bearerkit/examples/torture/internal/store"
	"github.com/bearerkit/bearerkit/examples/torture/internal/trial"
)

// Fits reports whether the trial can inject faults into the storage.
func Fits(b *store.Backend) bool {
	return b.Server != nil && b.Name != "postgres-pgbouncer" || b.Name == "sqlite" || b.Name == "redis-cluster" || b.Name == "redis-sentinel"
}

// Run runs the trial until [trial.Env.Over].
func Run(tb testing.TB, e *trial.Env) {
	tb.Helper()
	try(tb, e, inject.Open(tb, e.Backend, e.Plant != nil && e.Plant.Asynchronous))
}

func try(tb testing.TB, e *trial.Env, p *inject.Target) {
	tb.Helper()
	ctx, cancel := context.WithCancel(tb.Context())
	t := &timeline{began: time.Now()}
	s := &report.Section{
		Title: "Faults",
		About: fmt.Sprintf("One fault at a time on %s, with %d replicas under a steady load. All the time, no ended token may be accepted and no valid one refused. From %v after the end of a fault, every answer must be right again, without a restart.", e.Backend.Name, trial.Replicas, promptly+e.Patience),
		Head:  []string{"fault", "replicas", "lasted s", "right", "503", "wrong or late", "slowest answer s", "last 503 after its end s", "caches serve after s", "revocation applied after ms"},
	}
	w := &ward{Env: e, Target: p, Section: s, timeline: t, fleets: make(map[string]*fleet), losses: make(map[string]*losses)}
	p.Faults = slices.DeleteFunc(p.Faults, func(f *inject.Fault) bool { return !strings.Contains(f.Name, e.Only) })
	if len(p.Faults) == 0 {
		tb.Fatalf("-only: no fault of the trial faults has a name that contains %q", e.Only)
	}
	var turns []turn
	for _, f := range p.Faults {
		turns = append(turns, turn{f, false})
		if e.Backend.Watched {
			turns = append(turns, turn{f, true})
		}
	}
	// The order depends on the seed, so that short runs together cover all faults.
	rng := rand.New(rand.NewPCG(e.Seed, 5))
	rng.Shuffle(len(turns), func(i, j int) { turns[i], turns[j] = turns[j], turns[i] })
	defer cancel()
	for n := 0; n == 0 || !e.Over(); n++ {
		if !w.round(ctx, tb, turns[n%len(turns)]) {
			break
		}
	}
	cancel()
	w.tellLosses()
	for _, missing := range p.Missing {
		s.Note("Not tried: %s", missing)
	}
	if p.Afterwards != nil && tb.Context().Err() == nil {
		told, err := p.Afterwards(tb.Context())
		if err != nil {
			tb.Error(err)
		}
		s.Note("%s", told)
	}
	s.Note("%d rounds. There are %d pairs of a fault and a kind of replicas.", len(s.Rows), len(turns))
	if e.Report.Folder != os.TempDir() {
		file, err := e.Report.Plot("faults-"+e.Backend.Name, "Answers under faults", "seconds", "answers per second", t.series()...)
		if err != nil {
			tb.Error(err)
		} else {
			s.Plots = append(s.Plots, file)
		}
	}
	e.Report.Add(s)
}

// A turn is an [inject.Fault] for one kind of replicas: those with a cache or those
// without.
type turn struct {
	*inject.Fault
	cached bool
}
