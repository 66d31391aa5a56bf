package matrix

import (
	"context"
	"fmt"
	"runtime/pprof"
	"slices"
	"testing"
	"time"

	"github.com/bearerkit/bearerkit/examples/torture/internal/trial/trialtest"
)

func TestCorrectServiceHasNoViolation(t *testing.T) {
	t.Parallel()
	e := trialtest.Env(t, trialtest.Open(t, "memory:"), nil, 3*time.Second)
	Run(t, e)
	for _, broken := range e.Broken() {
		t.Error(broken)
	}
	if e.Operations.Load() < 100 {
		t.Errorf("got %d cases, want 100 or more", e.Operations.Load())
	}
}

func TestMatrixFindsEachPlant(t *testing.T) {
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

func TestJudgeFindsWrongAnswers(t *testing.T) {
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
		c := &scenario{matrixOperation: operationNamed(t, test.operation), variant: strict, subject: test.subject, calls: []string{test.call}}
		if test.how != noStrike {
			c = c.with(blow{call: test.call, how: test.how})
		}
		if wrong := c.judge(c.wanted(w), test.answer, test.did); (wrong != "") != test.wrong {
			t.Errorf("%v, %v for %q: judge returned %q, want a violation: %t", c, test.answer.decision, test.answer.user, wrong, test.wrong)
		}
	}
}

func TestStateFindsWrongDecisionsAndLeaks(t *testing.T) {
	t.Parallel()
	w, err := newWorld(t.Context(), variants[0], nil)
	if err != nil {
		t.Fatal(err)
	}
	defer w.stop()
	s := &state{world: w, ended: make(map[string]bool)}
	if wrong := s.check(t.Context()); len(wrong) != 0 {
		t.Errorf("after no operation check returned %q, want none", wrong)
	}
	s.ended["good"] = true
	if wrong := s.check(t.Context()); len(wrong) != 1 {
		t.Errorf("for an ended token that is valid, check returned %q, want one violation", wrong)
	}
	s.ended["good"] = false
	if err := w.auth.Revoke(t.Context(), w.tokens["good"]); err != nil {
		t.Fatal(err)
	}
	if wrong := s.check(t.Context()); len(wrong) != 1 {
		t.Errorf("for a live token that is invalid, check returned %q, want one violation", wrong)
	}
	if wrong := s.leaks(answer{text: "an error with " + w.tokens["other"]}); len(wrong) != 1 {
		t.Errorf("for an answer with a token, leaks returned %q, want one violation", wrong)
	}
	fmt.Fprintln(&w.log, passwordOf("alice"))
	if wrong := s.leaks(answer{}); len(wrong) != 1 {
		t.Errorf("for a log with a password, leaks returned %q, want one violation", wrong)
	}
}

func TestStillThereCountsGoroutines(t *testing.T) {
	t.Parallel()
	end := make(chan struct{})
	pprof.Do(t.Context(), pprof.Labels("torture", t.Name()), func(context.Context) { go func() { <-end }() })
	if n := stillThere(t.Name()); n != 1 {
		t.Errorf("got %d goroutines, want 1", n)
	}
	close(end)
	if n := stillThere(t.Name()); n != 0 {
		t.Errorf("after its end got %d goroutines, want 0", n)
	}
}

// Each blow must hit the call with its index and name, whether earlier calls failed or
// not.
func TestEachBlowHitsItsCall(t *testing.T) {
	t.Parallel()
	s := new(striker)
	s.arm([]blow{{at: 0, call: "0", how: failBefore}, {at: 1, call: "2", how: failBefore}, {at: 2, call: "2", how: failAfter}})
	var failed, done []int
	for i := range 4 {
		err := s.call(t.Context(), fmt.Sprint(i), func() error { done = append(done, i); return nil })
		if err != nil {
			failed = append(failed, i)
		}
	}
	if want := []int{0, 2}; !slices.Equal(failed, want) {
		t.Errorf("the calls %v failed, want %v", failed, want)
	}
	if want := []int{1, 2, 3}; !slices.Equal(done, want) {
		t.Errorf("the calls %v did their work, want %v", done, want)
	}
}

// strike must try a second blow at each call that is made after the first one.
func TestSecondFaultComesAfterTheFirst(t *testing.T) {
	t.Parallel()
	m := newMatrix(trialtest.Env(t, nil, nil, time.Minute))
	signIn, all := operationNamed(t, "SignIn"), variants[len(variants)-1]
	c := &scenario{matrixOperation: signIn, variant: all}
	if err := m.play(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	password := slices.Index(c.made, "Authenticate")
	c = c.with(blow{at: password, call: "Authenticate", how: failBefore}) // the service then takes the attempt back, which is a later call
	if err := m.play(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	later := len(c.made) - password - 1
	if later < 1 {
		t.Fatalf("the operation made only the calls %v, want one after Authenticate", c.made)
	}
	if err := m.strike(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	n := m.cells[cell{signIn, all}]
	if n.cases[2] < 6*later || n.wrong != 0 {
		t.Errorf("with the calls %v got %d cases with two faults and %d wrong, want %d or more and 0", c.made, n.cases[2], n.wrong, 6*later)
	}
}
