package history

import (
	"slices"
	"testing"
	"time"

	"github.com/bearerkit/bearerkit/examples/torture/internal/op"
	"github.com/bearerkit/bearerkit/examples/torture/internal/plant"
	"github.com/bearerkit/bearerkit/examples/torture/internal/report"
	"github.com/bearerkit/bearerkit/examples/torture/internal/trial"
	"github.com/bearerkit/bearerkit/examples/torture/internal/trial/trialtest"
)

// try runs a trial on the memory storage for d, or until there are enough histories.
func try(t *testing.T, name string, planted *plant.Plant, d time.Duration, histories int64) *report.Tally {
	t.Helper()
	e := trialtest.Env(t, trialtest.Open(t, "memory:"), planted, d)
	e.Enough = histories
	map[string]func(testing.TB, *trial.Env){"strict": Strict, "batches": Batches, "bounded": Bounded, "keys": Keys}[name](t, e)
	return e.Tally
}

func TestHistoriesOfCorrectStorageAreLinearizable(t *testing.T) {
	t.Parallel()
	for _, trial := range []string{"strict", "batches", "bounded", "keys"} {
		t.Run(trial, func(t *testing.T) {
			t.Parallel()
			got := try(t, trial, nil, 3*time.Second, 0)
			if n := got.Histories.Load(); n < 5 || got.Operations.Load() < 200*n || len(got.Broken()) > 0 || got.Undecided.Load() > 0 {
				t.Errorf("got %s, %d undecided; want five histories or more, and none violated or undecided", got.Summary(), got.Undecided.Load())
			}
		})
	}
}

// The trials must find each plant within 200 histories, and "keys" within 400, because
// most of its histories have no cache.
func TestHistoriesFindEachPlant(t *testing.T) {
	t.Parallel()
	for _, p := range slices.Concat(plant.Shared, plant.Devices, plant.Refresh, plant.Keys, BatchPlants) {
		for _, trial := range []string{"strict", "batches", "bounded", "keys"} {
			if !slices.Contains(p.Trials, trial) {
				continue
			}
			t.Run(p.Name+"/"+trial, func(t *testing.T) {
				t.Parallel()
				enough := int64(200)
				if trial == "keys" {
					enough = 400
				}
				got := try(t, trial, p, time.Minute, enough)
				if len(got.Broken()) == 0 {
					t.Errorf("the plant was not found: %s", got.Summary())
				}
			})
		}
	}
}

func TestModelSteps(t *testing.T) {
	t.Parallel()
	const token, other = 7, 8
	holds, empty, hidden := register{token: token}, register{}, register{token: unreceived}
	shut := register{token: token, disabled: true}
	for _, test := range []struct {
		name string
		from register
		o    operation
		to   []register
	}{
		{"a sign-in replaces", holds, operation{kind: op.SignIn, token: other}, []register{{token: other}}},
		{"a disabled user cannot sign in", shut, operation{kind: op.SignIn, token: other}, nil},
		{"a refusal changes nothing", holds, operation{kind: op.SignIn, outcome: refused}, []register{holds}},
		{"a late refusal may have stored a token", holds, operation{kind: op.SignIn, outcome: refused, late: true}, []register{holds, empty, hidden}},
		{"a failed sign-in may have stored a token", holds, operation{kind: op.SignIn, outcome: unknown}, []register{holds, empty, hidden}},
		{"the current token is valid", holds, operation{kind: op.Validate, token: token}, []register{holds}},
		{"the current token is not refused", holds, operation{kind: op.Validate, token: token, outcome: refused}, nil},
		{"another token is refused", holds, operation{kind: op.Validate, token: other, outcome: refused}, []register{holds}},
		{"another token is not valid", holds, operation{kind: op.Validate, token: other}, nil},
		{"a revocation empties the slot", holds, operation{kind: op.Revoke, token: token}, []register{empty}},
		{"a revocation of another token changes nothing", holds, operation{kind: op.Revoke, token: other}, []register{holds}},
		{"a failed revocation may have emptied the slot", holds, operation{kind: op.Revoke, token: token, outcome: unknown}, []register{holds, empty}},
		{"a revocation of the user empties the slot", shut, operation{kind: op.RevokeUser}, []register{{disabled: true}}},
		{"a revocation of the client empties the slot", holds, operation{kind: op.RevokeClient}, []register{empty}},
		{"a revocation of the device empties the slot", holds, operation{kind: op.RevokeDevice}, []register{empty}},
		{"a revocation of the device ends a token that no client received", hidden, operation{kind: op.RevokeDevice}, []register{empty}},
		{"a revocation of a device found a token", holds, operation{kind: op.RevokeDevice, found: true}, []register{holds}},
		{"a revocation of an empty device finds no token", empty, operation{kind: op.RevokeDevice, found: true}, nil},
		{"a refused revocation of a device finds an empty slot", empty, operation{kind: op.RevokeDevice, outcome: refused}, []register{empty}},
		{"a revocation of a device that has a token is not refused", holds, operation{kind: op.RevokeDevice, outcome: refused}, nil},
		{"a revocation of others keeps the token", holds, operation{kind: op.RevokeOthers, token: token}, []register{holds}},
		{"a revocation of others empties the slot of another token", holds, operation{kind: op.RevokeOthers, token: other}, []register{empty}},
		{"a failed revocation of others keeps the token", holds, operation{kind: op.RevokeOthers, token: token, outcome: unknown}, []register{holds}},
		{"a list has the token", holds, operation{kind: op.List, token: token}, []register{holds}},
		{"a list has no other token", holds, operation{kind: op.List, token: other}, nil},
		{"a list leaves out no token", holds, operation{kind: op.List}, nil},
		{"a list does not fail without a storage failure", empty, operation{kind: op.List, outcome: refused}, nil},
		{"a sign-in may end a token beyond the bound", holds, operation{kind: op.SignIn, ending: map[int]bool{token: true}}, []register{holds, empty}},
		{"a sign-in ends no token within the bound", holds, operation{kind: op.SignIn, ending: map[int]bool{other: true}}, []register{holds}},
		{"disabling the user keeps the token", holds, operation{kind: op.Disable}, []register{shut}},
		{"enabling the user keeps the token", shut, operation{kind: op.Enable}, []register{holds}},
	} {
		if got := step(test.from, &test.o); !slices.Equal(got, test.to) {
			t.Errorf("%s: step(%v) returned %v, want %v", test.name, test.from, got, test.to)
		}
	}
}

func TestRevivedFindsTokensAcceptedAgain(t *testing.T) {
	t.Parallel()
	s := slot{}
	at := func(call int64, replica int, k op.Kind, token int, o outcome) *operation {
		return &operation{kind: k, replica: replica, slot: s, token: token, outcome: o, call: call, answer: call + 1}
	}
	issue := at(0, 0, op.SignIn, 1, done)
	for _, test := range []struct {
		name   string
		then   []*operation
		broken int
	}{
		{"valid, revoked at another replica, valid", []*operation{at(10, 0, op.Validate, 1, done), at(20, 1, op.Revoke, 1, done), at(30, 0, op.Validate, 1, done)}, 0},
		{"refused, then valid", []*operation{at(10, 0, op.Validate, 1, refused), at(20, 0, op.Validate, 1, done)}, 1},
		{"refused at another replica, then valid", []*operation{at(10, 1, op.Validate, 1, refused), at(20, 0, op.Validate, 1, done)}, 0},
		{"revoked at this replica, then valid", []*operation{at(10, 0, op.Revoke, 1, done), at(20, 0, op.Validate, 1, done)}, 1},
		{"replaced at this replica, then valid", []*operation{at(10, 0, op.SignIn, 2, done), at(20, 0, op.Validate, 1, done)}, 1},
		{"the user revoked at this replica, then valid", []*operation{at(10, 0, op.RevokeUser, 0, done), at(20, 0, op.Validate, 1, done)}, 1},
		{"revoked at this replica at the same time", []*operation{at(10, 0, op.Revoke, 1, done), at(11, 0, op.Validate, 1, done)}, 0},
	} {
		if got := revived(append([]*operation{issue}, test.then...)); len(got) != test.broken {
			t.Errorf("%s: got the violations %q, want %d", test.name, got, test.broken)
		}
	}
}

// A refused sign-in is a violation only if the user was enabled under every possible
// order of concurrent changes.
func TestRejectedForNothing(t *testing.T) {
	t.Parallel()
	change := func(k op.Kind, call, answer int64) *operation {
		return &operation{kind: k, slot: slot{0, all, all}, call: call, answer: answer}
	}
	rejected := &operation{kind: op.SignIn, outcome: refused, call: 100, answer: 101}
	for _, test := range []struct {
		name    string
		changes []*operation
		broken  int
	}{
		{"never changed", nil, 1},
		{"disabled", []*operation{change(op.Disable, 1, 2)}, 0},
		{"disabled, then enabled", []*operation{change(op.Disable, 1, 2), change(op.Enable, 3, 4)}, 1},
		{"both concurrently", []*operation{change(op.Disable, 1, 4), change(op.Enable, 2, 3)}, 0},
		{"both concurrently, then enabled", []*operation{change(op.Disable, 1, 4), change(op.Enable, 2, 3), change(op.Enable, 5, 6)}, 1},
		{"enabled, then disabled", []*operation{change(op.Enable, 1, 2), change(op.Disable, 3, 4)}, 0},
		{"another user disabled", []*operation{{kind: op.Disable, slot: slot{1, all, all}, call: 1, answer: 2}}, 1},
	} {
		if got := rejectedForNothing(append(test.changes, rejected)); len(got) != test.broken {
			t.Errorf("%s: got the violations %q, want %d", test.name, got, test.broken)
		}
	}
}
