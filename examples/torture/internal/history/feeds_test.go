package history

import (
	"os"
	"testing"
	"time"

	"github.com/bearerkit/bearerkit/examples/torture/internal/plant"
	"github.com/bearerkit/bearerkit/examples/torture/internal/report"
	"github.com/bearerkit/bearerkit/examples/torture/internal/store"
	"github.com/bearerkit/bearerkit/examples/torture/internal/trial/trialtest"
	"github.com/bearerkit/bearerkit/internal/throwaway"
)

func TestMain(m *testing.M) { os.Exit(throwaway.Main(m)) }

// breakFeeds runs the trial for d, or until it finds the plant. It injects only faults
// whose names contain the text.
func breakFeeds(t *testing.T, b *store.Backend, planted *plant.Plant, faults string, d time.Duration) (*report.Tally, *report.Report) {
	t.Helper()
	e := trialtest.Env(t, b, planted, d)
	e.Only, e.Seed = faults, uint64(time.Now().UnixNano())
	Feeds(t, e)
	return e.Tally, e.Report
}

// While feeds break, no cache may accept a token for longer than the lease after its
// end. After each fault the caches must serve again.
func TestCachesAreBoundedWhileFeedsBreak(t *testing.T) {
	t.Parallel()
	check := func(t *testing.T, b *store.Backend) {
		t.Helper()
		tally, r := breakFeeds(t, b, nil, "", 1500*time.Millisecond)
		if len(tally.Broken()) > 0 || tally.Histories.Load() == 0 {
			t.Errorf("%s: got %s, want histories and no violation; see %s", b.Name, tally.Summary(), r.Folder)
		}
		struck := 0
		for _, row := range r.Sections[1].Rows {
			if times := row[1]; times != "0" {
				struck++
			}
		}
		if struck == 0 {
			t.Errorf("%s: no fault was injected: %v", b.Name, r.Sections[1].Rows)
		}
	}
	t.Run("postgres", func(t *testing.T) {
		t.Parallel()
		pooled := trialtest.Open(t, "postgres-pgbouncer:")
		check(t, pooled)
		check(t, trialtest.Open(t, pooled.Direct()))
	})
	t.Run("redis", func(t *testing.T) {
		t.Parallel()
		check(t, trialtest.Open(t, "redis:"))
	})
}

// The trial must find each plant, with the faults that reveal it.
func TestBrokenFeedsFindEachPlant(t *testing.T) {
	t.Parallel()
	for _, p := range Plants {
		if p.Name == "own-heartbeat" || p.Name == "lost-flush" {
			t.Run(p.Name+"/postgres", func(t *testing.T) {
				t.Parallel()
				finds(t, trialtest.Open(t, throwaway.Postgres(t)), p, "all triggers disabled")
			})
		}
		if p.Name != "lost-flush" {
			t.Run(p.Name+"/redis", func(t *testing.T) {
				t.Parallel()
				faults := "push messages dropped"
				if p.Name == "timed-heartbeat" {
					faults = "no connections for the user"
				}
				finds(t, trialtest.Open(t, "redis:"), p, faults)
			})
		}
	}
}

// finds fails the test if the trial does not find the plant.
func finds(t *testing.T, b *store.Backend, p *plant.Plant, faults string) {
	t.Helper()
	tally, _ := breakFeeds(t, b, p, faults, time.Minute)
	if len(tally.Broken()) == 0 {
		t.Errorf("the plant was not found: %s", tally.Summary())
	}
}
