package fault

import (
	"cmp"
	"context"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bearerkit/bearerkit/examples/torture/internal/host"
	"github.com/bearerkit/bearerkit/examples/torture/internal/inject"
	"github.com/bearerkit/bearerkit/examples/torture/internal/plant"
	"github.com/bearerkit/bearerkit/examples/torture/internal/store"
	"github.com/bearerkit/bearerkit/examples/torture/internal/trial/trialtest"
	"github.com/bearerkit/bearerkit/storage/memory"
	"github.com/bearerkit/bearerkit/tokenauth"
)

// What was confirmed to nobody but the primary is lost with it, and that is
// found; that commits wait is what keeps it.
func TestFailoverFindsChangesThatAPrimaryLoses(t *testing.T) {
	t.Parallel()
	for _, plant := range []string{"asynchronous", ""} {
		t.Run(cmp.Or(plant, "sound"), func(t *testing.T) {
			t.Parallel()
			e := newEnv(t, trialtest.Open(t, "postgres-standby:"), plant, time.Minute)
			p := inject.Open(t, e.Backend, plant != "")
			p.Faults = slices.DeleteFunc(p.Faults, func(f *inject.Fault) bool { return !strings.Contains(f.Name, "cut off") })
			if plant == "" {
				e.Until = time.Now().Add(8 * time.Second) // a round or two
			}
			try(t, e, p)
			broken := strings.Join(e.Broken(), "\n")
			if plant == "" && broken != "" {
				t.Error(broken)
			}
			if plant != "" && !strings.Contains(broken, "was accepted") && !strings.Contains(broken, "a good token was refused") {
				t.Errorf("it finds %q", broken)
			}
		})
	}
}

// tryFailover tries one fault of a cluster until something is found.
func tryFailover(t *testing.T, planted, only string, change func(*inject.Fault)) string {
	t.Helper()
	e := newEnv(t, &store.Backend{Name: "redis-cluster", Watched: true}, planted, 2*time.Minute)
	if e.Only = only; e.Plant == nil {
		e.Plant = &plant.Plant{} // so that it ends when something is found
	}
	p := inject.Open(t, e.Backend, false)
	for _, f := range p.Faults {
		change(f)
	}
	try(t, e, p)
	return strings.Join(e.Broken(), "\n")
}

// A token that is revoked at the new master while the feed is away stays good in
// the cache of one who does not know that it was away.
func TestFailoverFindsSilentGap(t *testing.T) {
	t.Parallel()
	if found := tryFailover(t, "silent-gap", "fail-over, master killed", func(*inject.Fault) {}); !strings.Contains(found, "was accepted") {
		t.Errorf("it finds %q", found)
	}
}

// A fail-over loses changes that were confirmed, and a judge who is not told
// when that may be finds it.
func TestFailoverFindsChangesThatAMasterLoses(t *testing.T) {
	t.Parallel()
	found := tryFailover(t, "", "its replica lags", func(f *inject.Fault) {
		losing := f.Losing
		f.Strike = func(ctx context.Context) (func() error, error) { return losing(ctx, new(witness)) }
		f.Losing = nil
	})
	if !strings.Contains(found, "was accepted") && !strings.Contains(found, "a good token was refused") {
		t.Errorf("it finds %q", found)
	}
}

// A change is in doubt that was confirmed when it could be lost, and none other.
func TestWitnessDoubtsChangesThatMayBeLost(t *testing.T) {
	t.Parallel()
	w := newWitness(t.Name(), 0, 1)
	change := func(meanwhile func()) {
		t.Helper()
		p := w.draw()
		for p == nil {
			p = w.draw()
		}
		w.beginEnd(p, 0)
		meanwhile()
		w.end(p, true, &heldToken{text: "x"}, 0)
	}
	for _, test := range []struct {
		name      string
		meanwhile func()
		doubt     bool
	}{
		{"confirmed before", func() {}, false},
		{"called before", w.MayLose, true},
		{"called and confirmed meanwhile", func() {}, true},
		{"called meanwhile", w.LosesNoMore, true},
		{"called later", func() {}, false},
	} {
		change(test.meanwhile)
		if doubt := len(w.takePerhaps()) == 1; doubt != test.doubt {
			t.Errorf("%s: in doubt %t", test.name, doubt)
		}
	}
}

// What may have been lost is there or not, as a whole, at all replicas.
func TestLostIsAllOrNothing(t *testing.T) {
	t.Parallel()
	open := func() *tokenauth.Service {
		auth, err := tokenauth.New(new(memory.Store), new(host.Directory), &tokenauth.Options{Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		return auth
	}
	here, elsewhere := open(), open()
	issue := func(user string) *heldToken {
		g, err := here.Issue(t.Context(), tokenauth.Principal{UserID: user}, "")
		if err != nil {
			t.Fatal(err)
		}
		return &heldToken{text: g.AccessToken.Reveal()}
	}
	replaced := issue("alice")
	good, other, never := issue("alice"), issue("bob"), &heldToken{text: "never"}
	for _, test := range []struct {
		name        string
		change      perhaps
		replicas    []*tokenauth.Service
		lost, wrong bool
	}{
		{"a sign-in is there", perhaps{[]*heldToken{replaced}, good}, []*tokenauth.Service{here, here}, false, false},
		{"a sign-in is lost", perhaps{[]*heldToken{good}, never}, []*tokenauth.Service{here}, true, false},
		{"the first sign-in is lost", perhaps{nil, never}, []*tokenauth.Service{here}, true, false},
		{"a revocation is there", perhaps{[]*heldToken{replaced}, nil}, []*tokenauth.Service{here}, false, false},
		{"a revocation is lost", perhaps{[]*heldToken{good, other}, nil}, []*tokenauth.Service{here}, true, false},
		{"a revocation is there in part", perhaps{[]*heldToken{good, replaced}, nil}, []*tokenauth.Service{here}, false, true},
		{"both tokens are good", perhaps{[]*heldToken{good}, other}, []*tokenauth.Service{here}, false, true},
		{"neither token is", perhaps{[]*heldToken{replaced}, never}, []*tokenauth.Service{here}, false, true},
		{"the replicas disagree", perhaps{nil, good}, []*tokenauth.Service{here, elsewhere}, false, true},
	} {
		f := &fleet{replicas: test.replicas}
		if lost, err := f.lost(&test.change); lost != test.lost || (err != nil) != test.wrong {
			t.Errorf("%s: lost is %t, and the error %v", test.name, lost, err)
		}
	}
}
