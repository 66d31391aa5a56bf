package main

import (
	"context"
	"fmt"
	"runtime/pprof"
	"slices"
	"testing"
	"time"
)

func TestMatrix(t *testing.T) {
	t.Parallel()
	tally, err := run(t.Context(), config{store: "memory:", trials: "matrix", duration: 3 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	for _, broken := range tally.broken() {
		t.Error(broken)
	}
	if tally.operations.Load() < 100 {
		t.Errorf("there were %d cases", tally.operations.Load())
	}
}

// Each plant has to be found by each trial that it names.
func TestMatrixAndForgeryFindPlants(t *testing.T) {
	t.Parallel()
	for _, p := range plants {
		for _, trial := range []string{"matrix", "forgery"} {
			if !slices.Contains(p.trials, trial) {
				continue
			}
			t.Run(trial+"/"+p.name, func(t *testing.T) {
				t.Parallel()
				tally, err := run(t.Context(), config{store: "memory:", trials: trial, plant: p.name, duration: time.Minute})
				if err != nil {
					t.Fatal(err)
				}
				if len(tally.broken()) == 0 {
					t.Error("was not found")
				}
			})
		}
	}
}

// operationNamed returns the operation of the matrix.
func operationNamed(t *testing.T, name string) *matrixOperation {
	t.Helper()
	for _, o := range matrixOperations {
		if o.name == name {
			return o
		}
	}
	t.Fatalf("there is no operation %q", name)
	return nil
}

func TestMatrixJudge(t *testing.T) {
	t.Parallel()
	strict := variants[0]
	w, err := newWorld(t.Context(), strict, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer w.stop()
	for _, test := range []struct {
		operation, subject, call string
		how                      strike
		answer                   answer
		did                      bool
		wrong                    bool
	}{
		{"Validate", "good", "Find", noStrike, answer{decision: accepted, user: "alice"}, false, false},
		{"Validate", "good", "Find", noStrike, answer{decision: unavailable}, false, true},
		{"Validate", "good", "Find", noStrike, answer{decision: accepted, user: "bob"}, false, true},
		{"Validate", "good", "Find", failBefore, answer{decision: unavailable}, false, false},
		{"Validate", "good", "Find", failBefore, answer{decision: denied}, false, true},
		{"Validate", "good", "Find", hangBefore, answer{decision: panicked}, false, true},
		{"Validate", "good", "Find", panicAfter, answer{decision: panicked}, false, false},
		{"Validate", "good", "Find", corruptRow, answer{decision: denied}, false, false},
		{"Validate", "good", "Find", otherRow, answer{decision: denied}, false, true},
		{"Validate", "good", "Find", otherRow, answer{decision: accepted, user: "bob"}, false, true},
		{"Validate", "good", "Find", staleRow, answer{decision: denied}, false, false},
		{"Validate", "replaced", "Find", staleRow, answer{decision: accepted, user: "alice"}, false, false},
		{"Validate", "older", "Find", staleRow, answer{decision: accepted, user: "alice"}, false, true},
		{"Validate", "forged", "Find", staleRow, answer{decision: accepted, user: "alice"}, false, true},
		{"Validate", "replaced", "Find", failAfter, answer{decision: accepted, user: "alice"}, false, true},
		{"Validate", "expired", "Find", failAfter, answer{decision: undocumented}, false, true},
		{"Revoke", "good", "Revoke", failAfter, answer{decision: completed}, true, false},
		{"Revoke", "good", "Revoke", failBefore, answer{decision: completed}, false, true},
		{"Revoke", "good", "Revoke", failBefore, answer{decision: denied}, false, true},
		{"SignIn", "", "Replace", failBefore, answer{decision: granted, user: "alice"}, false, true},
		{"SignIn", "", "Replace", failBefore, answer{decision: rejected}, false, true},
		{"SignIn, disabled meanwhile", "", "Recheck", failBefore, answer{decision: granted, user: "erin"}, true, true},
		{"Gin GET /role", "other", "Find", failBefore, answer{decision: accepted, user: "bob"}, false, true},
		{"Tokens", "", "List", corruptRow, answer{decision: incomplete, user: "alice"}, false, false},
		{"Tokens", "", "List", otherRow, answer{decision: completed, user: "alice alice bob"}, false, true},
	} {
		c := &matrixCase{matrixOperation: operationNamed(t, test.operation), variant: strict, subject: test.subject, calls: []string{test.call}, how: test.how}
		if wrong := c.judge(w, test.answer, test.did); (wrong != "") != test.wrong {
			t.Errorf("%v, %v for %q: the judge says %q", c, test.answer.decision, test.answer.user, wrong)
		}
	}
}

func TestMatrixStateFindsWhatIsWrongLater(t *testing.T) {
	t.Parallel()
	w, err := newWorld(t.Context(), variants[0], nil)
	if err != nil {
		t.Fatal(err)
	}
	defer w.stop()
	s := &state{world: w, ended: make(map[string]bool)}
	if wrong := s.check(t.Context()); len(wrong) != 0 {
		t.Errorf("nothing has happened, and %q", wrong)
	}
	s.ended["good"] = true
	if wrong := s.check(t.Context()); len(wrong) != 1 {
		t.Errorf("a token that has ended and is good makes %q", wrong)
	}
	s.ended["good"] = false
	if err := w.auth.Revoke(t.Context(), w.tokens["good"]); err != nil {
		t.Fatal(err)
	}
	if wrong := s.check(t.Context()); len(wrong) != 1 {
		t.Errorf("a token that has not ended and is not good makes %q", wrong)
	}
	if wrong := s.leaks(answer{text: "trouble with " + w.tokens["other"]}); len(wrong) != 1 {
		t.Errorf("an answer with a token makes %q", wrong)
	}
	fmt.Fprintln(&w.log, passwordOf("alice"))
	if wrong := s.leaks(answer{}); len(wrong) != 1 {
		t.Errorf("a log with a password makes %q", wrong)
	}
}

func TestStillThere(t *testing.T) {
	t.Parallel()
	end := make(chan struct{})
	pprof.Do(t.Context(), pprof.Labels("torture", t.Name()), func(context.Context) { go func() { <-end }() })
	if n := stillThere(t.Name()); n != 1 {
		t.Errorf("of one goroutine %d are there", n)
	}
	close(end)
	if n := stillThere(t.Name()); n != 0 {
		t.Errorf("of none %d are there", n)
	}
}
