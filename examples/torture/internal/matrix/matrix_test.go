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

func TestMatrixOfSoundServiceHasNoViolation(t *testing.T) {
	t.Parallel()
	e := trialtest.Env(t, trialtest.Open(t, "memory:"), nil, 3*time.Second)
	Run(t, e)
	for _, broken := range e.Broken() {
		t.Error(broken)
	}
	if e.Operations.Load() < 100 {
		t.Errorf("there were %d cases", e.Operations.Load())
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
				t.Error("was not found")
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

func TestJudgeTellsWrongAnswers(t *testing.T) {
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
		if wrong := c.judge(w, test.answer, test.did); (wrong != "") != test.wrong {
			t.Errorf("%v, %v for %q: the judge says %q", c, test.answer.decision, test.answer.user, wrong)
		}
	}
}

func TestStateTellsWhatIsWrongLater(t *testing.T) {
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

func TestStillThereCountsGoroutines(t *testing.T) {
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

// Each blow falls on its call, whatever became of those before.
func TestEachBlowFallsOnItsCall(t *testing.T) {
	t.Parallel()
	s := new(striker)
	s.arm([]blow{{at: 0, how: failBefore}, {at: 2, how: failAfter}})
	var failed, done []int
	for i := range 4 {
		err := s.call(t.Context(), fmt.Sprint(i), func() error { done = append(done, i); return nil })
		if err != nil {
			failed = append(failed, i)
		}
	}
	if want := []int{0, 2}; !slices.Equal(failed, want) {
		t.Errorf("the calls %v fail, want %v", failed, want)
	}
	if want := []int{1, 2, 3}; !slices.Equal(done, want) {
		t.Errorf("the calls %v are done, want %v", done, want)
	}
}

// After a blow come all that can befall the calls that are still made.
func TestSecondFaultComesAfterTheFirst(t *testing.T) {
	t.Parallel()
	m := newMatrix(trialtest.Env(t, nil, nil, time.Minute))
	signIn, all := operationNamed(t, "SignIn"), variants[len(variants)-1]
	c := &scenario{matrixOperation: signIn, variant: all}
	if err := m.play(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	password := slices.Index(c.made, "Authenticate")
	c = c.with(blow{at: password, call: "Authenticate", how: failBefore}) // the attempt is taken back then
	if err := m.play(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	later := len(c.made) - password - 1
	if later < 1 {
		t.Fatalf("it makes the calls %v", c.made)
	}
	if err := m.strike(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	n := m.cells[cell{signIn, all}]
	if n.cases[2] < 6*later || n.wrong != 0 {
		t.Errorf("after %v there are %d cases, %d wrong", c.made, n.cases[2], n.wrong)
	}
}
