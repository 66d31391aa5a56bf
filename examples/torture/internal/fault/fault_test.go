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

var errIll = errors.New("the storage is down")

// An ill is a storage whose calls all fail while now is set.
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

// change fails while now is set. Every second time, on average, it does the change
// first.
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

// targetInMemory returns a target with one fault: all calls fail.
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

func TestCorrectStorageRecoversFromFaults(t *testing.T) {
	t.Parallel()
	e := newEnv(t, &store.Backend{Name: "memory", Watched: true}, "", 4*time.Second)
	try(t, e, targetInMemory())
	for _, broken := range e.Broken() {
		t.Error(broken)
	}
	s := e.Report.Sections[0]
	if len(s.Rows) < 2 || len(s.Plots) != 1 {
		t.Fatalf("the report has the rows %v and the plots %v, want two rows or more and one plot", s.Rows, s.Plots)
	}
	for _, row := range s.Rows {
		if right, unavailable := row[3], row[4]; right == "0" || unavailable == "0" {
			t.Errorf("%v: %s answers were right and %s were 503, want some of each", row, right, unavailable)
		}
	}
	if _, err := os.Stat(e.Report.Path(s.Plots[0])); err != nil {
		t.Error(err)
	}
}

// The trial must find each planted bug, with the right message.
func TestFaultsFindPlantedBugs(t *testing.T) {
	t.Parallel()
	for name, says := range map[string]string{
		"fault-as-empty": "a valid token was refused",
		"fault-as-done":  "",
		"stale-if-error": "was accepted",
		"never-recovers": "after the end of the fault",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newEnv(t, &store.Backend{Name: "memory", Watched: true}, name, time.Minute)
			try(t, e, targetInMemory())
			if broken := strings.Join(e.Broken(), "\n"); broken == "" || !strings.Contains(broken, says) {
				t.Errorf("got the violations %q, want one with %q", broken, says)
			}
		})
	}
}

// Each real server gets a fault or two.
func TestServersRecoverFromFaults(t *testing.T) {
	t.Parallel()
	for _, store := range []string{"sqlite:", "postgres:", "postgres-standby:", "mariadb:", "redis:", "redis-sentinel:", "redis-cluster:"} {
		t.Run(store, func(t *testing.T) {
			t.Parallel()
			e := newEnv(t, trialtest.Open(t, store), "", 2*time.Second)
			Run(t, e)
			if n := len(e.Report.Sections[0].Rows); n == 0 {
				t.Error("no fault was injected")
			}
			for _, broken := range e.Broken() {
				t.Error(broken)
			}
		})
	}
}

// hear must measure less than the lease with a working feed, and the lease or more
// with a feed that loses every change.
func TestHearMeasuresWhetherFeedWorks(t *testing.T) {
	t.Parallel()
	for plant, hears := range map[string]bool{"": true, "lying-heartbeat": false} {
		e := newEnv(t, &store.Backend{Name: "memory", Watched: true}, plant, time.Minute)
		f := &fleet{name: "cached", cached: true}
		ctx, cancel := context.WithCancel(t.Context())
		t.Cleanup(cancel)
		f.open(ctx, t, e, targetInMemory(), false)
		f.awaitFeeds(ctx, &round{ended: time.Now()})
		if took, err := f.hear(ctx); err != nil || (took < lease) != hears {
			t.Errorf("plant %q: a revocation took %v (error %v), want less than the lease: %t", plant, took, err, hears)
		}
	}
}

func TestWitnessReportsWrongDecisions(t *testing.T) {
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
		{"valid", heldToken{}, 0, 1, 2, nil, false},
		{"valid, refused", heldToken{}, 0, 1, 2, refused, true},
		{"valid, unavailable", heldToken{}, 0, 1, 2, tokenauth.ErrUnavailable, false},
		{"valid, another error", heldToken{}, 0, 1, 2, tokenauth.ErrNotFound, true},
		{"refused before a call that ends it", heldToken{ending: at(3)}, 0, 1, 2, refused, true},
		{"refused during a call that ends it", heldToken{ending: at(2)}, 0, 1, 3, refused, false},
		{"refused after such a call failed", heldToken{ending: at(1)}, 0, 2, 3, refused, false},
		{"accepted after such a call failed", heldToken{ending: at(1)}, 0, 2, 3, nil, false},
		{"accepted during a call that ends it", heldToken{ending: at(1), ended: at(3)}, 0, 2, 4, nil, false},
		{"ended, accepted", heldToken{ending: at(1), ended: at(2)}, 0, 3, 4, nil, true},
		{"ended, accepted within the lease", heldToken{ending: at(1), ended: at(2)}, 2 * time.Second, 3, 4, nil, false},
		{"ended, accepted after the lease", heldToken{ending: at(1), ended: at(2)}, 2 * time.Second, 5, 6, nil, true},
		{"ended, refused", heldToken{ending: at(1), ended: at(2)}, 0, 3, 4, refused, false},
	} {
		w := newWitness(t.Name(), test.leeway, 1)
		if says := w.judge(&test.token, at(test.called), at(test.answered), test.err); (says != "") != test.wrong {
			t.Errorf("%s: judge returned %q, want a violation: %t", test.name, says, test.wrong)
		}
	}
}

// Only failed calls that begin after the fault's end count as failures after it. They
// are late if they begin more than promptly after it.
func TestRoundFindsLateFailures(t *testing.T) {
	t.Parallel()
	r := &round{timeline: &timeline{began: time.Now()}}
	r.end()
	trouble := func(after time.Duration) {
		at := r.ended.Add(after)
		r.record(call{0, op.Validate, at, at.Add(time.Second), tokenauth.ErrUnavailable, ""})
	}
	trouble(-time.Millisecond)
	if !r.lastTrouble.IsZero() {
		t.Error("a failed call that began before the end of the fault counts as one after it")
	}
	trouble(promptly - time.Millisecond)
	if r.lastTrouble.IsZero() || !r.lateTrouble.IsZero() {
		t.Error("a failed call soon after the end of the fault is not recorded, or counts as late")
	}
	trouble(promptly + time.Millisecond)
	if r.lateTrouble.IsZero() || r.unavailable != 3 {
		t.Errorf("a late failed call is not recorded as late, or %d of 3 failed calls were counted", r.unavailable)
	}
}
