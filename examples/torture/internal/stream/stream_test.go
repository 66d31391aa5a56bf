package stream

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
	for _, form := range []string{"memory:", "sqlite:", "postgres:", "mariadb:", "redis:"} {
		t.Run(form, func(t *testing.T) {
			t.Parallel()
			e := trialtest.Env(t, trialtest.Open(t, form), nil, 2*generation)
			Run(t, e)
			if len(e.Broken()) > 0 || e.Histories.Load() == 0 {
				t.Error(e.Summary())
			}
		})
	}
}

func TestStreamsFindEachPlant(t *testing.T) {
	t.Parallel()
	for _, p := range Plants {
		for _, form := range []string{"memory:", "redis:"} {
			t.Run(p.Name+"/"+form, func(t *testing.T) {
				t.Parallel()
				e := trialtest.Env(t, trialtest.Open(t, form), p, 2*time.Minute)
				Run(t, e)
				if len(e.Broken()) == 0 {
					t.Errorf("the plant was not found: %s", e.Summary())
				}
			})
		}
	}
}
