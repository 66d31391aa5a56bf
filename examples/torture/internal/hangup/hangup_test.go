package hangup

import (
	"os"
	"testing"
	"time"

	"github.com/bearerkit/bearerkit/examples/torture/internal/plant"
	"github.com/bearerkit/bearerkit/examples/torture/internal/trial/trialtest"
	"github.com/bearerkit/bearerkit/internal/throwaway"
)

func TestMain(m *testing.M) { os.Exit(throwaway.Main(m)) }

func TestHangupsFindOnlyPlants(t *testing.T) {
	t.Parallel()
	for _, form := range []string{"postgres:", "mariadb:"} {
		for _, p := range append([]*plant.Plant{nil}, Plants...) {
			name := "no plant"
			if p != nil {
				name = p.Name
			}
			t.Run(form+name, func(t *testing.T) {
				t.Parallel()
				e := trialtest.Env(t, trialtest.Open(t, form), p, 2*time.Minute)
				e.Enough = 2
				if p != nil {
					e.Enough = 20
				}
				Run(t, e)
				if found := len(e.Broken()) > 0; found != (p != nil) {
					t.Errorf("got %s, want violations: %t", e.Summary(), p != nil)
				}
			})
		}
	}
}
