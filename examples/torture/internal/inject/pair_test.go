package inject

import (
	"context"
	"os"
	"testing"

	"github.com/bearerkit/bearerkit/examples/torture/internal/trial/trialtest"
	"github.com/bearerkit/bearerkit/internal/throwaway"
)

func TestMain(m *testing.M) { os.Exit(throwaway.Main(m)) }

// A pair is what it says: commits wait for the standby or they do not, and each
// server has its turn.
func TestPairSwapsAndWaitsAsTold(t *testing.T) {
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
		// What a setting says is so a moment later.
		if err := until(t.Context(), func(ctx context.Context) (bool, error) {
			wait, err := p.commitsWait(ctx)
			return wait == step.wait, err
		}); err != nil {
			t.Fatal(err)
		}
	}
	if p.standby != first {
		t.Error("the old primary is not the standby")
	}
}
