package change

import (
	"os"
	"testing"
	"time"

	"github.com/bearerkit/bearerkit/examples/torture/internal/trial/trialtest"
	"github.com/bearerkit/bearerkit/internal/throwaway"
)

func TestMain(m *testing.M) { os.Exit(throwaway.Main(m)) }

func TestCorrectServiceHasNoViolation(t *testing.T) {
	t.Parallel()
	for _, form := range []string{"memory:", "sqlite:", "postgres:", "mariadb:", "mariadb-galera:", "redis:"} {
		t.Run(form, func(t *testing.T) {
			t.Parallel()
			e := trialtest.Env(t, trialtest.Open(t, form), nil, time.Minute)
			e.Enough = 8
			Run(t, e)
			if len(e.Broken()) > 0 || e.Histories.Load() < 8 {
				t.Error(e.Summary())
			}
		})
	}
}

// The trial must find each plant within 200 histories.
func TestChangesFindEachPlant(t *testing.T) {
	t.Parallel()
	for _, p := range Plants {
		t.Run(p.Name, func(t *testing.T) {
			t.Parallel()
			e := trialtest.Env(t, trialtest.Open(t, "memory:"), p, 2*time.Minute)
			e.Enough = 200
			Run(t, e)
			if len(e.Broken()) == 0 {
				t.Errorf("the plant was not found: %s", e.Summary())
			}
		})
	}
}
