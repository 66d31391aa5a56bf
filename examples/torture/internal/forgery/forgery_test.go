package forgery

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/bearerkit/bearerkit/examples/torture/internal/accesstoken"
	"github.com/bearerkit/bearerkit/examples/torture/internal/trial/trialtest"
	"github.com/bearerkit/bearerkit/tokenauth"
)

func TestForgeryFindsEachPlant(t *testing.T) {
	t.Parallel()
	for _, p := range Plants {
		t.Run(p.Name, func(t *testing.T) {
			t.Parallel()
			e := trialtest.Env(t, trialtest.Open(t, "memory:"), p, time.Minute)
			Run(t, e)
			if len(e.Broken()) == 0 {
				t.Error("the plant was not found")
			}
		})
	}
}

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
	if f.valids == 0 {
		t.Fatal("no valid token was validated")
	}
	if e.Operations.Load() < 50_000 {
		t.Skip("the machine was too slow to try every kind")
	}
	for i, n := range f.tries {
		if n == 0 {
			t.Errorf("the forgery or disguise %d was never tried", i)
		}
	}
}

// Forgeries that fail the check of the format would prove little.
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
			if !b.Decode(text) || b.Seal() != text || text == m.valid {
				t.Fatalf("%s: got %q, want an invalid token with a right checksum", kind.name, text)
			}
		}
	}
	for _, kind := range refreshForgeries[:4] {
		for range 100 {
			text := kind.make(rng, m)
			if _, ok := accesstoken.SlotOfRefresh(text); !ok || text == m.refresh {
				t.Fatalf("%s: got %q, want an invalid refresh token that decodes", kind.name, text)
			}
		}
	}
	for name, text := range map[string]string{"replaced": m.replaced, "of another service": m.foreign} {
		if accesstoken.StoredAs(text).Slot != tokenauth.SlotOf(m.user, "") {
			t.Errorf("%s: the token is not of the user's slot", name)
		}
	}
	if _, err := m.auth.Validate(t.Context(), m.expired); err != tokenauth.ErrExpiredToken {
		t.Errorf("the expired token returned %v, want ErrExpiredToken", err)
	}
	if _, err := m.auth.Validate(t.Context(), m.replaced); err != tokenauth.ErrReplacedToken {
		t.Errorf("the replaced token returned %v, want ErrReplacedToken", err)
	}
}
