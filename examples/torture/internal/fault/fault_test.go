package fault

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bearerkit/bearerkit/examples/torture/internal/inject"
	"github.com/bearerkit/bearerkit/examples/torture/internal/network"
	"github.com/bearerkit/bearerkit/examples/torture/internal/op"
	"github.com/bearerkit/bearerkit/examples/torture/internal/plant"
	"github.com/bearerkit/bearerkit/examples/torture/internal/store"
	"github.com/bearerkit/bearerkit/examples/torture/internal/trial"
	"github.com/bearerkit/bearerkit/examples/torture/internal/trial/trialtest"
	"github.com/bearerkit/bearerkit/internal/throwaway"
	"github.com/bearerkit/bearerkit/storage/memory"
	"github.com/bearerkit/bearerkit/tokenauth"
)

var errIll = errors.New("the storage is ill")

// An ill is a storage all of whose calls fail while it is ill.
type ill struct {
	tokenauth.Storage
	now *atomic.Bool
}

func (i ill) trouble() error {
	if i.now.Load() {
		return errIll
	}
	return nil
}

func (i ill) Find(ctx context.Context, s tokenauth.Slot) (tokenauth.Token, error) {
	if err := i.trouble(); err != nil {
		return tokenauth.Token{}, err
	}
	return i.Storage.Find(ctx, s)
}

// change fails while the storage is ill, having done it or not.
func (i ill) change(do func() error) error {
	err := i.trouble()
	if err != nil && rand.IntN(2) == 0 {
		return err
	}
	return errors.Join(err, do())
}

func (i ill) Replace(ctx context.Context, t tokenauth.Token) error {
	return i.change(func() error { return i.Storage.Replace(ctx, t) })
}

func (i ill) Revoke(ctx context.Context, s tokenauth.Slot, d tokenauth.Digest) error {
	return i.change(func() error { return i.Storage.Revoke(ctx, s, d) })
}

func (i ill) RevokeUser(ctx context.Context, u tokenauth.UserKey) error {
	return i.change(func() error { return i.Storage.RevokeUser(ctx, u) })
}

func TestMain(m *testing.M) { os.Exit(throwaway.Main(m)) }

// targetInMemory has one fault: all calls fail.
func targetInMemory() *inject.Target {
	s, now := new(memory.Store), new(atomic.Bool)
	return &inject.Target{
		Connect: func(testing.TB, []*network.Network) tokenauth.Storage { return plant.With(s, ill{s, now}) },
		Faults: []*inject.Fault{{Name: "all calls fail", Lasts: 700 * time.Millisecond, Strike: func(context.Context) (func() error, error) {
			now.Store(true)
			return func() error { now.Store(false); return nil }, nil
		}}},
	}
}

func newEnv(t *testing.T, b *store.Backend, planted string, d time.Duration) *trial.Env {
	e := trialtest.Env(t, b, plant.Named(slices.Concat(Plants, plant.Shared), planted), d)
	e.Seed = uint64(time.Now().UnixNano())
	return e
}

func TestSoundStorageRecoversFromFaults(t *testing.T) {
	t.Parallel()
	e := newEnv(t, &store.Backend{Name: "memory", Watched: true}, "", 4*time.Second)
	try(t, e, targetInMemory())
	for _, broken := range e.Broken() {
		t.Error(broken)
	}
	s := e.Report.Sections[0]
	if len(s.Rows) < 2 || len(s.Plots) != 1 {
		t.Fatalf("there are the rows %v and the plots %v", s.Rows, s.Plots)
	}
	for _, row := range s.Rows {
		if right, unavailable := row[3], row[4]; right == "0" || unavailable == "0" {
			t.Errorf("%v: %s answers were right and %s were 503", row, right, unavailable)
		}
	}
	if _, err := os.Stat(e.Report.Path(s.Plots[0])); err != nil {
		t.Error(err)
	}
}

// Each planted bug is found, and for what it is.
func TestFaultsFindPlantedBugs(t *testing.T) {
	t.Parallel()
	for name, says := range map[string]string{
		"fault-as-empty": "a good token was refused",
		"fault-as-done":  "",
		"stale-if-error": "was accepted",
		"never-recovers": "after its end",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newEnv(t, &store.Backend{Name: "memory", Watched: true}, name, time.Minute)
			try(t, e, targetInMemory())
			if broken := strings.Join(e.Broken(), "\n"); broken == "" || !strings.Contains(broken, says) {
				t.Errorf("it finds %q", broken)
			}
		})
	}
}

// Real servers, for as long as a fault or two take.
func TestServersRecoverFromFaults(t *testing.T) {
	t.Parallel()
	for _, store := range []string{"sqlite:", "postgres:", "postgres-standby:", "mariadb:", "redis:", "redis-sentinel:", "redis-cluster:"} {
		t.Run(store, func(t *testing.T) {
			t.Parallel()
			e := newEnv(t, trialtest.Open(t, store), "", 2*time.Second)
			Run(t, e)
			if n := len(e.Report.Sections[0].Rows); n == 0 {
				t.Error("there was no round")
			}
			for _, broken := range e.Broken() {
				t.Error(broken)
			}
		})
	}
}

// A revocation is heard of much sooner than the lease is over, and a feed that
// tells of nothing is known by that.
func TestFleetHearsOfRevocations(t *testing.T) {
	t.Parallel()
	for plant, hears := range map[string]bool{"": true, "lying-heartbeat": false} {
		e := newEnv(t, &store.Backend{Name: "memory", Watched: true}, plant, time.Minute)
		f := &fleet{name: "cached", cached: true}
		ctx, cancel := context.WithCancel(t.Context())
		t.Cleanup(cancel)
		f.open(ctx, t, e, targetInMemory(), false)
		f.awaitFeeds(ctx, &round{ended: time.Now()})
		if took, err := f.hear(ctx); err != nil || (took < lease) != hears {
			t.Errorf("with the plant %q it takes %v: %v", plant, took, err)
		}
	}
}

func TestWitnessTellsWrongDecisions(t *testing.T) {
	t.Parallel()
	began := time.Now()
	at := func(second int) time.Time { return began.Add(time.Duration(second) * time.Second) }
	refused := fmt.Errorf("%w: it is not", tokenauth.ErrInvalidToken)
	for _, test := range []struct {
		name             string
		token            heldToken
		leeway           time.Duration
		called, answered int
		err              error
		wrong            bool
	}{
		{"good", heldToken{}, 0, 1, 2, nil, false},
		{"good, refused", heldToken{}, 0, 1, 2, refused, true},
		{"good, trouble", heldToken{}, 0, 1, 2, tokenauth.ErrUnavailable, false},
		{"good, another error", heldToken{}, 0, 1, 2, tokenauth.ErrNotFound, true},
		{"refused before it was ended", heldToken{ending: at(3)}, 0, 1, 2, refused, true},
		{"refused while it is ended", heldToken{ending: at(2)}, 0, 1, 3, refused, false},
		{"refused when that failed", heldToken{ending: at(1)}, 0, 2, 3, refused, false},
		{"accepted when that failed", heldToken{ending: at(1)}, 0, 2, 3, nil, false},
		{"accepted while it is ended", heldToken{ending: at(1), ended: at(3)}, 0, 2, 4, nil, false},
		{"dead, accepted", heldToken{ending: at(1), ended: at(2)}, 0, 3, 4, nil, true},
		{"dead, accepted within the lease", heldToken{ending: at(1), ended: at(2)}, 2 * time.Second, 3, 4, nil, false},
		{"dead, accepted after the lease", heldToken{ending: at(1), ended: at(2)}, 2 * time.Second, 5, 6, nil, true},
		{"dead, refused", heldToken{ending: at(1), ended: at(2)}, 0, 3, 4, refused, false},
	} {
		w := newWitness(t.Name(), test.leeway, 1)
		if says := w.judge(&test.token, at(test.called), at(test.answered), test.err); (says != "") != test.wrong {
			t.Errorf("%s: it says %q", test.name, says)
		}
	}
}

// A call that is made late and fails is late, and one that was made before the
// end is none of what comes after it.
func TestRoundTellsLateTrouble(t *testing.T) {
	t.Parallel()
	r := &round{timeline: &timeline{began: time.Now()}}
	r.end()
	trouble := func(after time.Duration) {
		at := r.ended.Add(after)
		r.record(call{0, op.Validate, at, at.Add(time.Second), tokenauth.ErrUnavailable, ""})
	}
	trouble(-time.Millisecond)
	if !r.lastTrouble.IsZero() {
		t.Error("a call of before the end counts")
	}
	trouble(promptly - time.Millisecond)
	if r.lastTrouble.IsZero() || !r.lateTrouble.IsZero() {
		t.Error("trouble in time is late, or none")
	}
	trouble(promptly + time.Millisecond)
	if r.lateTrouble.IsZero() || r.unavailable != 3 {
		t.Errorf("late trouble is not late, or not counted: %d", r.unavailable)
	}
}
