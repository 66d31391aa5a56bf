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

// With asynchronous replication a killed primary loses changes, which the trial must
// find. With synchronous replication it loses none.
func TestFaultsFindChangesThatPrimaryLost(t *testing.T) {
	t.Parallel()
	for _, plant := range []string{"asynchronous", ""} {
		t.Run(cmp.Or(plant, "synchronous"), func(t *testing.T) {
			t.Parallel()
			e := newEnv(t, trialtest.Open(t, "postgres-standby:"), plant, time.Minute)
			p := inject.Open(t, e.Backend, plant != "")
			p.Faults = slices.DeleteFunc(p.Faults, func(f *inject.Fault) bool { return !strings.Contains(f.Name, "cut off") })
			if plant == "" {
				e.Until = time.Now().Add(8 * time.Second) // time for a round or two
			}
			try(t, e, p)
			broken := strings.Join(e.Broken(), "\n")
			if plant == "" && broken != "" {
				t.Error(broken)
			}
			if plant != "" && !strings.Contains(broken, "was accepted") && !strings.Contains(broken, "a valid token was refused") {
				t.Errorf("got the violations %q, want a lost change", broken)
			}
		})
	}
}

// tryFailover injects one fault into a cluster until there is a violation.
func tryFailover(t *testing.T, planted, only string, change func(*inject.Fault)) string {
	t.Helper()
	e := newEnv(t, &store.Backend{Name: "redis-cluster", Watched: true}, planted, 2*time.Minute)
	if e.Only = only; e.Plant == nil {
		e.Plant = &plant.Plant{} // so that the trial ends with the first violation
	}
	p := inject.Open(t, e.Backend, false)
	for _, f := range p.Faults {
		change(f)
	}
	try(t, e, p)
	return strings.Join(e.Broken(), "\n")
}

// If a feed hides a gap, a token revoked during the gap stays in a cache. The trial
// must find that, in its load or when it looks whether a revocation arrives.
func TestFaultsFindSilentGap(t *testing.T) {
	t.Parallel()
	if found := tryFailover(t, "silent-gap", "fail-over, master killed", func(*inject.Fault) {}); !strings.Contains(found, "was accepted") && !strings.Contains(found, "to reach all replicas") {
		t.Errorf("got the violations %q, want an accepted ended token", found)
	}
}

// A fail-over of Redis loses confirmed changes. The trial must find them if its witness
// does not learn when changes may be lost.
func TestFaultsFindChangesThatMasterLost(t *testing.T) {
	t.Parallel()
	found := tryFailover(t, "", "its replica lags", func(f *inject.Fault) {
		losing := f.Losing
		f.Strike = func(ctx context.Context) (func() error, error) { return losing(ctx, new(witness)) }
		f.Losing = nil
	})
	if !strings.Contains(found, "was accepted") && !strings.Contains(found, "a valid token was refused") {
		t.Errorf("got the violations %q, want a lost change", found)
	}
}

// A confirmed change is in doubt if it could be lost, and only then.
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
		{"called and confirmed while changes may be lost", func() {}, true},
		{"called while changes may be lost", w.LosesNoMore, true},
		{"called later", func() {}, false},
	} {
		change(test.meanwhile)
		if doubt := len(w.takePerhaps()) == 1; doubt != test.doubt {
			t.Errorf("%s: in doubt is %t, want %t", test.name, doubt, test.doubt)
		}
	}
}

// A change must be lost or kept as a whole, at all replicas.
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
		g, err := here.Issue(t.Context(), tokenauth.Principal{UserID: user}, nil)
		if err != nil {
			t.Fatal(err)
		}
		return &heldToken{text: g.AccessToken.Reveal()}
	}
	replaced := issue("alice")
	valid, other, never := issue("alice"), issue("bob"), &heldToken{text: "never"}
	for _, test := range []struct {
		name        string
		change      perhaps
		replicas    []*tokenauth.Service
		lost, wrong bool
	}{
		{"a sign-in is kept", perhaps{[]*heldToken{replaced}, valid}, []*tokenauth.Service{here, here}, false, false},
		{"a sign-in is lost", perhaps{[]*heldToken{valid}, never}, []*tokenauth.Service{here}, true, false},
		{"the first sign-in is lost", perhaps{nil, never}, []*tokenauth.Service{here}, true, false},
		{"a revocation is kept", perhaps{[]*heldToken{replaced}, nil}, []*tokenauth.Service{here}, false, false},
		{"a revocation is lost", perhaps{[]*heldToken{valid, other}, nil}, []*tokenauth.Service{here}, true, false},
		{"a revocation is lost in part", perhaps{[]*heldToken{valid, replaced}, nil}, []*tokenauth.Service{here}, false, true},
		{"both tokens are valid", perhaps{[]*heldToken{valid}, other}, []*tokenauth.Service{here}, false, true},
		{"neither token is valid", perhaps{[]*heldToken{replaced}, never}, []*tokenauth.Service{here}, false, true},
		{"the replicas disagree", perhaps{nil, valid}, []*tokenauth.Service{here, elsewhere}, false, true},
	} {
		f := &fleet{replicas: test.replicas}
		if lost, err := f.lost(&test.change); lost != test.lost || (err != nil) != test.wrong {
			t.Errorf("%s: got lost %t, error %v; want lost %t, an error: %t", test.name, lost, err, test.lost, test.wrong)
		}
	}
}
