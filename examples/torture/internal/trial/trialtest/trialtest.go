// Package trialtest helps the tests of trials.
package trialtest

import (
	"io"
	"testing"
	"time"

	"github.com/bearerkit/bearerkit/examples/torture/internal/plant"
	"github.com/bearerkit/bearerkit/examples/torture/internal/report"
	"github.com/bearerkit/bearerkit/examples/torture/internal/store"
	"github.com/bearerkit/bearerkit/examples/torture/internal/trial"
)

// Env returns a [trial.Env] with a report of its own, for a trial that ends after
// lasts. Without a plant it is patient: beside other tests, what it tests is that
// replicas recover. How fast they do is for a run with the machine to itself.
func Env(tb testing.TB, b *store.Backend, p *plant.Plant, lasts time.Duration) *trial.Env {
	e := &trial.Env{
		Tally: new(report.Tally), Report: &report.Report{Folder: tb.TempDir(), Out: io.Discard},
		Backend: b, Plant: p, Seed: 1, Rate: 80, Until: time.Now().Add(lasts),
	}
	if p == nil {
		e.Patience = 30 * time.Second
	}
	return e
}

// Open opens the storage like [store.Open], and fails the test on an error.
func Open(tb testing.TB, form string) *store.Backend {
	tb.Helper()
	b, err := store.Open(tb, form)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}
