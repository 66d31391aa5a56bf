package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/bearerkit/bearerkit/storage/storagetest/throwaway"
)

func TestMain(m *testing.M) {
	if isChild() { // a part of a trial that a test has started
		os.Exit(child())
	}
	os.Exit(throwaway.Main(m))
}

// try runs a trial on a store for a while, or until there are enough histories.
func try(t *testing.T, store, trial, planted string, d time.Duration, histories int64) *tally {
	t.Helper()
	got, err := run(t.Context(), config{store: store, trials: trial, plant: planted, duration: d, enough: histories, seed: 1, rate: 80, report: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestHistories(t *testing.T) {
	t.Parallel()
	for _, trial := range []string{"strict", "bounded"} {
		t.Run(trial, func(t *testing.T) {
			t.Parallel()
			got := try(t, "memory:", trial, "", 3*time.Second, 0)
			if n := got.histories.Load(); n < 5 || got.operations.Load() < 200*n || len(got.broken()) > 0 || got.undecided.Load() > 0 {
				t.Errorf("%s, %d undecided", got.summary(), got.undecided.Load())
			}
		})
	}
}

// Each bug that can be planted for a history is found within 200 of them.
func TestHistoriesFindBugs(t *testing.T) {
	t.Parallel()
	for _, p := range plants {
		for _, trial := range []string{"strict", "bounded"} {
			if !slices.Contains(p.trials, trial) {
				continue
			}
			t.Run(p.name+"/"+trial, func(t *testing.T) {
				t.Parallel()
				got := try(t, "memory:", trial, p.name, time.Minute, 200)
				if len(got.broken()) == 0 {
					t.Errorf("not found: %s", got.summary())
				}
			})
		}
	}
}

func TestStep(t *testing.T) {
	t.Parallel()
	const token, other = 7, 8
	holds, empty := register{token: token}, register{}
	shut := register{token: token, disabled: true}
	for _, test := range []struct {
		name string
		from register
		o    operation
		to   []register
	}{
		{"a sign-in replaces", holds, operation{kind: signIn, token: other}, []register{{token: other}}},
		{"nobody who is disabled signs in", shut, operation{kind: signIn, token: other}, nil},
		{"a refusal changes nothing", holds, operation{kind: signIn, outcome: refused}, []register{holds}},
		{"a late refusal may have stored", holds, operation{kind: signIn, outcome: refused, late: true}, []register{holds, empty}},
		{"trouble may have stored", holds, operation{kind: signIn, outcome: unknown}, []register{holds, empty}},
		{"the token is good", holds, operation{kind: validate, token: token}, []register{holds}},
		{"and not refused", holds, operation{kind: validate, token: token, outcome: refused}, nil},
		{"another is refused", holds, operation{kind: validate, token: other, outcome: refused}, []register{holds}},
		{"and not good", holds, operation{kind: validate, token: other}, nil},
		{"a revocation empties", holds, operation{kind: revoke, token: token}, []register{empty}},
		{"and leaves another", holds, operation{kind: revoke, token: other}, []register{holds}},
		{"trouble may have revoked", holds, operation{kind: revoke, token: token, outcome: unknown}, []register{holds, empty}},
		{"that of a user empties", shut, operation{kind: revokeUser}, []register{{disabled: true}}},
		{"disabling leaves the token", holds, operation{kind: disable}, []register{shut}},
		{"and so does enabling", shut, operation{kind: enable}, []register{holds}},
	} {
		if got := step(test.from, &test.o); !slices.Equal(got, test.to) {
			t.Errorf("%s: %v becomes %v, want %v", test.name, test.from, got, test.to)
		}
	}
}

// What a cache may not do is found in histories that are made up.
func TestRevived(t *testing.T) {
	t.Parallel()
	s := slot{0, 0}
	at := func(call int64, replica int, k kind, token int, o outcome) *operation {
		return &operation{kind: k, replica: replica, slot: s, token: token, outcome: o, call: call, answer: call + 1}
	}
	issue := at(0, 0, signIn, 1, done)
	for _, test := range []struct {
		name   string
		then   []*operation
		broken int
	}{
		{"good, then ended elsewhere, then good", []*operation{at(10, 0, validate, 1, done), at(20, 1, revoke, 1, done), at(30, 0, validate, 1, done)}, 0},
		{"refused, then good", []*operation{at(10, 0, validate, 1, refused), at(20, 0, validate, 1, done)}, 1},
		{"refused elsewhere, then good", []*operation{at(10, 1, validate, 1, refused), at(20, 0, validate, 1, done)}, 0},
		{"revoked here, then good", []*operation{at(10, 0, revoke, 1, done), at(20, 0, validate, 1, done)}, 1},
		{"replaced here, then good", []*operation{at(10, 0, signIn, 2, done), at(20, 0, validate, 1, done)}, 1},
		{"the user revoked here, then good", []*operation{at(10, 0, revokeUser, 0, done), at(20, 0, validate, 1, done)}, 1},
		{"revoked here at the same time", []*operation{at(10, 0, revoke, 1, done), at(11, 0, validate, 1, done)}, 0},
	} {
		if got := revived(append([]*operation{issue}, test.then...)); len(got) != test.broken {
			t.Errorf("%s: %q", test.name, got)
		}
	}
}

// A sign-in is refused for nothing if its user was enabled whatever the order of
// changes that were made at once.
func TestRejectedForNothing(t *testing.T) {
	t.Parallel()
	change := func(k kind, call, answer int64) *operation {
		return &operation{kind: k, slot: slot{0, allClients}, call: call, answer: answer}
	}
	rejected := &operation{kind: signIn, outcome: refused, call: 100, answer: 101}
	for _, test := range []struct {
		name    string
		changes []*operation
		broken  int
	}{
		{"never changed", nil, 1},
		{"disabled", []*operation{change(disable, 1, 2)}, 0},
		{"disabled, then enabled", []*operation{change(disable, 1, 2), change(enable, 3, 4)}, 1},
		{"both at once", []*operation{change(disable, 1, 4), change(enable, 2, 3)}, 0},
		{"both at once, then enabled", []*operation{change(disable, 1, 4), change(enable, 2, 3), change(enable, 5, 6)}, 1},
		{"enabled, then disabled", []*operation{change(enable, 1, 2), change(disable, 3, 4)}, 0},
		{"another user disabled", []*operation{{kind: disable, slot: slot{1, allClients}, call: 1, answer: 2}}, 1},
	} {
		if got := rejectedForNothing(append(test.changes, rejected)); len(got) != test.broken {
			t.Errorf("%s: %q", test.name, got)
		}
	}
}

func TestConfigErrors(t *testing.T) {
	t.Parallel()
	for _, c := range []config{
		{store: "nonsense"}, {store: "nonsense:"}, {store: "memory:", trials: "nonsense"}, {store: "memory:", plant: "nonsense"},
		{store: "sqlite:", trials: "bounded"}, {store: "memory:", trials: "crashes"},
	} {
		c.duration, c.report = time.Second, t.TempDir()
		if got, err := run(context.Background(), c); err == nil {
			t.Errorf("%+v is taken: %s", c, got.summary())
		}
	}
}

func TestPlantNames(t *testing.T) {
	t.Parallel()
	seen := make(map[string]bool)
	for _, p := range plants {
		if seen[p.name] || p.about == "" || len(p.trials) == 0 {
			t.Errorf("%s is there twice, or says too little", p.name)
		}
		seen[p.name] = true
		for _, name := range p.trials {
			if !slices.ContainsFunc(trials, func(t *trial) bool { return t.name == name }) {
				t.Errorf("%s is for the trial %q", p.name, name)
			}
		}
	}
	if len(plants) < 20 {
		t.Error(fmt.Sprint("only ", len(plants)))
	}
}
