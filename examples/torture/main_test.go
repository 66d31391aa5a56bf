package main

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bearerkit/bearerkit/examples/torture/internal/child"
	"github.com/bearerkit/bearerkit/examples/torture/internal/trial"
	"github.com/bearerkit/bearerkit/internal/throwaway"
)

func TestMain(m *testing.M) {
	child.Run(children) // returns unless a test started this process as a child
	os.Exit(throwaway.Main(m))
}

func TestRunReportsEachTrial(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	got, err := run(t.Context(), config{store: "memory:", trials: "strict,batches,bounded,keys,streams,matrix,forgery", duration: 5 * time.Second, seed: 1, report: folder})
	if err != nil {
		t.Fatal(err)
	}
	if got.Histories.Load() == 0 || got.Operations.Load() == 0 || len(got.Broken()) > 0 {
		t.Error(got.Summary())
	}
	text, err := os.ReadFile(filepath.Join(folder, "report.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{"storage memory:, seed 1", got.Summary(), "## Strict histories", "## Histories in batches", "had two slots or more", "## Bounded histories", "## API keys", "## Open streams", "| operation | done | refused | unknown |", "## Fault matrix", "## Forgeries"} {
		if !strings.Contains(string(text), part) {
			t.Errorf("the report lacks %q:\n%s", part, text)
		}
	}
}

func TestLateTrialTakesNoTimeFromOthers(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		used time.Duration
		want time.Duration
	}{
		{2 * time.Second, 2 * time.Second},                // the first trial ended in time
		{500 * time.Millisecond, 2500 * time.Millisecond}, // it ended early
		{5 * time.Second, 2 * time.Second},                // it ended late
		{time.Minute, 2 * time.Second},                    // it took longer than all should
	} {
		if got := share(8*time.Second, test.used, 4, 1); got != test.want {
			t.Errorf("after %v, the second of four trials got %v, want %v", test.used, got, test.want)
		}
	}
}

func TestRunEndsWhenPlantIsFound(t *testing.T) {
	t.Parallel()
	began := time.Now()
	got, err := run(t.Context(), config{store: "memory:", plant: "stale-fill", trials: "bounded", duration: time.Minute, enough: 200, seed: 1, report: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Broken()) == 0 || time.Since(began) > 50*time.Second {
		t.Errorf("after %v the run reported %q, want a violation within 50 s", time.Since(began), got.Summary())
	}
}

func TestConfigErrors(t *testing.T) {
	t.Parallel()
	for _, c := range []config{
		{store: "nonsense"}, {store: "nonsense:"}, {store: "memory:", trials: "nonsense"}, {store: "memory:", plant: "nonsense"},
		{store: "sqlite:", trials: "bounded"}, {store: "memory:", trials: "crashes"},
	} {
		c.duration, c.report = time.Second, t.TempDir()
		if got, err := run(context.Background(), c); err == nil {
			t.Errorf("run(%+v) returned no error, but %q", c, got.Summary())
		}
	}
}

func TestPlantNames(t *testing.T) {
	t.Parallel()
	seen := make(map[string]bool)
	for _, p := range plants {
		if seen[p.Name] || p.About == "" || len(p.Trials) == 0 {
			t.Errorf("the plant %q has a name that is not unique, no description or no trials", p.Name)
		}
		seen[p.Name] = true
		for _, name := range p.Trials {
			if !slices.ContainsFunc(trials, func(t *trial.Trial) bool { return t.Name == name }) {
				t.Errorf("the plant %q names the trial %q, which does not exist", p.Name, name)
			}
		}
	}
	if len(plants) < 20 {
		t.Errorf("got %d plants, want 20 or more", len(plants))
	}
}
