package inject

import (
	"context"
	"os"
	"testing"

	"github.com/bearerkit/bearerkit/examples/torture/internal/trial/trialtest"
	"github.com/bearerkit/bearerkit/internal/throwaway"
)

func TestMain(m *testing.M) { os.Exit(throwaway.Main(m)) }

// Commits must wait for the standby after restore, but not after relax. Each server
// must be the primary once.
func TestPairChangesRolesAndWaits(t *testing.T) {
	t.Parallel()
	p := newPair(t, trialtest.Open(t, "postgres-standby:"))
	first := p.primary
	for _, step := range []struct {
		do   func() error
		wait bool
	}{
		{func() error { return p.restore(t.Context()) }, true},
		{func() error { return p.relax(t.Context()) }, false},
		{func() error { return p.alone(t.Context()) }, false},
		{func() error { return p.restore(t.Context()) }, true},
	} {
		if err := step.do(); err != nil {
			t.Fatal(err)
		}
		if !p.whole {
			continue
		}
		// A setting takes effect a moment later.
		if err := until(t.Context(), func(ctx context.Context) (bool, error) {
			wait, err := p.commitsWait(ctx)
			return wait == step.wait, err
		}); err != nil {
			t.Fatal(err)
		}
	}
	if p.standby != first {
		t.Error("the first primary is not the standby at the end")
	}
}
