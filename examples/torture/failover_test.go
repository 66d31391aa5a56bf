package main

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

func openPair(t *testing.T) *backend {
	t.Helper()
	b, err := openBackend(t, "postgres-standby:")
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// What was confirmed to nobody but the primary is lost with it, and that is
// found; that commits wait is what keeps it.
func TestFailOverFindsLostChanges(t *testing.T) {
	t.Parallel()
	for _, plant := range []string{"asynchronous", ""} {
		t.Run(plant, func(t *testing.T) {
			t.Parallel()
			e := newFaultEnv(t, openPair(t), plant, time.Minute)
			p := admitPair(t, e)
			p.faults = slices.DeleteFunc(p.faults, func(f *fault) bool { return !strings.Contains(f.name, "cut off") })
			if plant == "" {
				e.until = time.Now().Add(8 * time.Second) // a round or two
			}
			treat(t, e, p)
			broken := strings.Join(e.broken(), "\n")
			if plant == "" && broken != "" {
				t.Error(broken)
			}
			if plant != "" && !strings.Contains(broken, "was accepted") && !strings.Contains(broken, "a good token was refused") {
				t.Errorf("it finds %q", broken)
			}
		})
	}
}

// A pair is what it says: commits wait for the standby or they do not, and each
// server has its turn.
func TestPair(t *testing.T) {
	t.Parallel()
	p := newPair(t, openPair(t))
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

func TestEitherOf(t *testing.T) {
	t.Parallel()
	b := openPair(t)
	config, err := pgconn.ParseConfig(b.dsn)
	if err != nil {
		t.Fatal(err)
	}
	if len(config.Fallbacks) != 1 || config.Fallbacks[0].Host == config.Host || config.ValidateConnect == nil || config.ConnectTimeout != time.Second {
		t.Errorf("%s leads to %s, %v", b.dsn, config.Host, config.Fallbacks)
	}
}
