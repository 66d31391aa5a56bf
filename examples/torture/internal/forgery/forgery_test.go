package forgery

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/bearerkit/bearerkit/examples/torture/internal/accesstoken"
	"github.com/bearerkit/bearerkit/examples/torture/internal/trial/trialtest"
	"github.com/bearerkit/bearerkit/tokenauth"
)

// Each plant has to be found.
func TestForgeryFindsEachPlant(t *testing.T) {
	t.Parallel()
	for _, p := range Plants {
		t.Run(p.Name, func(t *testing.T) {
			t.Parallel()
			e := trialtest.Env(t, trialtest.Open(t, "memory:"), p, time.Minute)
			Run(t, e)
			if len(e.Broken()) == 0 {
				t.Error("was not found")
			}
		})
	}
}

// A run has to try every kind, and good tokens between.
func TestForgerTriesEveryKind(t *testing.T) {
	t.Parallel()
	e := trialtest.Env(t, nil, nil, 2*time.Second)
	arenas, stop := openArenas(t, e)
	defer stop()
	f := newForger(t, e, arenas, 0)
	f.run(t.Context())
	for _, broken := range e.Broken() {
		t.Error(broken)
	}
	if f.goods == 0 {
		t.Fatal("no good token was tried")
	}
	if e.Operations.Load() < 50_000 {
		t.Skip("there was too little time to try every kind")
	}
	for i, n := range f.tries {
		if n == 0 {
			t.Errorf("kind %d was never tried", i)
		}
	}
}

// What is forged has to get as far as it can, or it proves little.
func TestForgeriesReachTheStorage(t *testing.T) {
	t.Parallel()
	e := trialtest.Env(t, nil, nil, time.Minute)
	arenas, stop := openArenas(t, e)
	defer stop()
	m := newForger(t, e, arenas[:1], 0).marks[0]
	rng := rand.New(rand.NewPCG(1, 1))
	for _, kind := range forgeries[:5] {
		for range 100 {
			text := kind.make(rng, m)
			var b accesstoken.Body
			if !b.Decode(text) || b.Seal() != text || text == m.good {
				t.Fatalf("%s: not a token with a right checksum, or a good one", kind.name)
			}
		}
	}
	for name, text := range map[string]string{"replaced": m.replaced, "of another service": m.foreign} {
		if accesstoken.StoredAs(text).Slot != tokenauth.SlotOf(m.user, "") {
			t.Errorf("%s: not of the user's slot", name)
		}
	}
	if _, err := m.auth.Validate(t.Context(), m.expired); err != tokenauth.ErrExpiredToken {
		t.Errorf("expired: %v", err)
	}
	if _, err := m.auth.Validate(t.Context(), m.replaced); err != tokenauth.ErrReplacedToken {
		t.Errorf("replaced: %v", err)
	}
}
