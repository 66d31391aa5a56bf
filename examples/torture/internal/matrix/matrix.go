// Package matrix has the trial "matrix". It injects each fault into each call of each
// operation, in each variant of a Service.
package matrix

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime/pprof"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/bearerkit/bearerkit/examples/torture/internal/report"
	"github.com/bearerkit/bearerkit/examples/torture/internal/trial"
	"github.com/bearerkit/bearerkit/tokenauth"
)

const about = `Each case is an operation in a variant of Service. A fault is injected into one of the calls that the operation makes to the storage, the users, the client registry, the live check or the shared counters. The call fails, hangs until its context ends, or panics, before or after it did its work. A look-up can also return another user's row, the row before the slot's last change, or an error for a corrupt row. Further cases inject a second fault into each later call of the operation. Each case has a service of its own, with tokens that are valid, of another client, of other users, replaced, revoked, expired and forged.
These rules must hold. No invalid token is accepted. A valid token is at worst answered as unavailable (503, or for a panic 500 or the panic itself). A revocation or a sign-in is reported as done only if it was. From the next call on, every decision is right, and the same operation gets its normal result. A refresh that is done again returns the same pair if the first one was applied. In the end, the refresh token that was granted last returns a new pair, and the ones before it return that pair as well. A sign-in that waits for one at another process waits no longer than that takes. No call and no goroutine outlives the operation. Errors are the documented ones. Neither the errors nor the log contain a secret.
With a corrupt row, the token is refused as invalid, as ErrCorrupt documents. A stale row breaks the contract of the storage. Then the decision must be right for that row, and no token may be accepted that was never valid in the slot. Without a cache, the next decision is right again. A cache keeps the stale row until the slot is read again or changes. The newer token is valid at once, and its validation replaces the row. But a revoked token is accepted until its user changes. If the client registry returns another client after a refresh was applied, the client counts as deleted, and the sign-in ends.`

// Run tries all cases with one fault, and then all cases with two faults.
func Run(tb testing.TB, e *trial.Env) {
	gin.SetMode(gin.ReleaseMode)
	m := newMatrix(e)
	// The order depends on the seed, so that short runs together cover all cases.
	rand.New(rand.NewPCG(e.Seed, 6)).Shuffle(len(m.all), func(i, j int) { m.all[i], m.all[j] = m.all[j], m.all[i] })
	m.each(tb, m.all, func(ctx context.Context, c *scenario) error {
		if err := m.play(ctx, c); err != nil {
			return err
		}
		c.calls = c.made
		return m.strike(ctx, c)
	})
	if m.tried == len(m.all) {
		m.each(tb, m.struck, m.strike)
	}
	if n := stillThere(m.label()); n > 0 {
		e.Violate("matrix: %d goroutines still run 2 s after all operations have returned", n)
	}
	e.Report.Add(m.section())
}

// each calls do for each case, until the trial is over.
func (m *matrix) each(tb testing.TB, cases []*scenario, do func(context.Context, *scenario) error) {
	jobs := make(chan *scenario)
	var workers sync.WaitGroup
	for range 64 { // most of them wait for hanging calls
		workers.Go(func() {
			pprof.Do(tb.Context(), pprof.Labels("torture", m.label()), func(ctx context.Context) {
				for c := range jobs {
					if err := do(ctx, c); err != nil && ctx.Err() == nil {
						tb.Error(err)
					}
				}
			})
		})
	}
	for _, c := range cases {
		if m.Over() || tb.Context().Err() != nil {
			break
		}
		jobs <- c
	}
	close(jobs)
	workers.Wait()
}

// stillThere waits until no goroutine has the label, for at most 2 s, and returns how
// many are left.
func stillThere(label string) (n int) {
	for deadline := time.Now().Add(2 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		var stacks bytes.Buffer
		pprof.Lookup("goroutine").WriteTo(&stacks, 1)
		if n = strings.Count(stacks.String(), fmt.Sprintf("%q", label)); n == 0 || time.Now().After(deadline) {
			return n
		}
	}
}

// A matrix holds all cases and their results.
type matrix struct {
	*trial.Env
	all   []*scenario // without faults; strike adds the faults
	cells map[cell]*cellCount

	mu           sync.Mutex
	struck       []*scenario // with one blow; strike adds the second
	tried, twice int         // how many of all and of struck are done
}

// label returns the profiler label of the goroutines.
func (m *matrix) label() string { return fmt.Sprintf("matrix %p", m) }

// A cell is an operation in a variant, whose cases the matrix counts together.
type cell struct {
	operation *matrixOperation
	variant   *variant
}

type cellCount struct {
	mu           sync.Mutex
	calls, wrong int
	cases        [3]int // by number of blows
}

func newMatrix(e *trial.Env) *matrix {
	m := &matrix{Env: e, cells: make(map[cell]*cellCount)}
	for _, v := range variants {
		for _, o := range matrixOperations {
			if o.fits != nil && !o.fits(v) {
				continue
			}
			m.cells[cell{o, v}] = new(cellCount)
			about := []string{""}
			if o.about {
				about = v.subjects()
			}
			for _, subject := range about {
				m.all = append(m.all, &scenario{matrixOperation: o, variant: v, subject: subject})
			}
		}
	}
	return m
}

// strike plays the case with each further blow: at each call after its last blow, in
// each way.
func (m *matrix) strike(ctx context.Context, c *scenario) error {
	first, blows := 0, len(c.blows)
	if blows > 0 {
		first = c.blows[blows-1].at + 1
	}
	for at := first; at < len(c.made); at++ {
		for _, how := range strikesOf(c.made[at]) {
			if m.Over() || ctx.Err() != nil {
				return nil
			}
			more := c.with(blow{at, c.made[at], how})
			if err := m.play(ctx, more); err != nil {
				return err
			}
			if blows == 0 {
				m.mu.Lock()
				m.struck = append(m.struck, more)
				m.mu.Unlock()
			}
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if blows == 0 {
		m.tried++
	} else {
		m.twice++
	}
	return nil
}

// play performs the operation in a new world, with the blows and then again without.
// After each it checks all tokens. It sets c.made to the calls that the operation made
// with the blows.
func (m *matrix) play(ctx context.Context, c *scenario) error {
	var plant func(tokenauth.Storage) tokenauth.Storage
	if m.Plant != nil && m.Plant.Storage != nil {
		plant = func(s tokenauth.Storage) tokenauth.Storage { return m.Plant.Storage(s, &m.State, m.Seed) }
	}
	w, err := newWorld(ctx, c.variant, plant)
	if err != nil {
		return fmt.Errorf("matrix: %v: %w", c, err)
	}
	defer w.stop()
	w.patience = m.Patience
	made, wrong := playIn(ctx, w, c)
	c.made = made
	m.count(c, wrong)
	return nil
}

// playIn returns the calls that the operation made, and the violations.
func playIn(ctx context.Context, w *world, c *scenario) (calls, wrong []string) {
	s := &state{world: w, ended: make(map[string]bool)}
	complain := func(when, what string) {
		if what != "" {
			wrong = append(wrong, when+": "+what)
		}
	}
	act := func(c *scenario, when string) {
		want := c.wanted(w)
		w.arm(c.blows)
		a, returned := perform(ctx, w, c)
		made, underWay := w.disarm(w.patience)
		if !returned {
			complain(when, "the operation does not return")
			return
		}
		if calls == nil {
			calls = made
		}
		complain(when, c.judge(want, a, w.did(c.change)))
		complain(when, s.another(c, a))
		if underWay > 0 {
			complain(when, fmt.Sprintf("%d calls are still in progress after the operation returned", underWay))
		}
		s.heed(ctx, c, a)
		if w.cache && c.suffers(func(b blow) bool { return b.how == staleRow }) {
			w.dropStaleRows(ctx)
		}
		for _, what := range append(s.check(ctx), s.leaks(a)...) {
			complain(when+", then", what)
		}
	}
	finish := func() {
		complain("in the end", s.goesOn(ctx, c))
		for _, what := range s.check(ctx) {
			complain("after a refresh in the end", what)
		}
	}
	if len(c.blows) == 0 {
		act(c, "without a fault")
		finish()
		return calls, wrong
	}
	act(c, "with the fault")
	again := *c
	again.blows = nil
	if c.presents != "" && c.suffers(func(b blow) bool { return b.how == otherRow && b.call == "FindClient" }) && !w.holds(ctx, c.presents) {
		// The registry seemed to know the client no longer, which ended the sign-in.
		o := *c.matrixOperation
		o.right, again.matrixOperation = always(c.decisionOfEmpty(), ""), &o
	}
	act(&again, "done again")
	finish()
	if c.account != "" && c.suffers(func(b blow) bool { return b.call == "UpdateCounters" }) {
		complain("later", s.waits(ctx, c.account))
	}
	return calls, wrong
}

// perform performs the operation. Returned is false if it takes more than 5 s.
func perform(ctx context.Context, w *world, c *scenario) (a answer, returned bool) {
	if c.suffers(func(b blow) bool { return b.how.hangs() }) {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, callerPatience)
		defer cancel()
	}
	come := make(chan answer, 1)
	go func() {
		defer func() {
			if p := recover(); p != nil {
				a := answer{decision: undocumented, text: fmt.Sprint(p)}
				if err, ok := p.(error); ok && errors.Is(err, errStruck) {
					a.decision = panicked
				}
				come <- a
			}
		}()
		come <- c.do(ctx, w, c.subject)
	}()
	select {
	case a = <-come:
		return a, true
	case <-time.After(5*time.Second + w.patience):
		return a, false
	}
}

func (m *matrix) count(c *scenario, wrong []string) {
	m.Operations.Add(1)
	n := m.cells[cell{c.matrixOperation, c.variant}]
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cases[len(c.blows)]++
	if len(c.blows) == 0 {
		n.calls = max(n.calls, len(c.made))
	}
	if len(wrong) == 0 {
		return
	}
	if n.wrong++; n.wrong <= 3 { // further ones of a cell are alike
		m.Violate("matrix: %v: %s", c, strings.Join(wrong, "; "))
	}
}

func (m *matrix) section() *report.Section {
	s := &report.Section{Title: "Fault matrix", About: about, Head: []string{"operation"}}
	for _, v := range variants {
		s.Head = append(s.Head, v.name)
	}
	s.Head = append(s.Head, "one fault", "two faults", "wrong")
	var one, two, wrong int
	for _, o := range matrixOperations {
		row := []any{o.name}
		var ofOne, ofTwo, ofWrong int
		for _, v := range variants {
			n := m.cells[cell{o, v}]
			if n == nil {
				row = append(row, "-")
				continue
			}
			single := n.cases[0] + n.cases[1]
			row = append(row, fmt.Sprintf("%d / %d / %d", n.calls, single, n.cases[2]))
			ofOne, ofTwo, ofWrong = ofOne+single, ofTwo+n.cases[2], ofWrong+n.wrong
		}
		s.Row(append(row, ofOne, ofTwo, ofWrong)...)
		one, two, wrong = one+ofOne, two+ofTwo, wrong+ofWrong
	}
	s.Note("In the columns of the variants: number of calls without a fault / cases with at most one fault / cases with two faults.")
	s.Note("%d cases with at most one fault (%s), %d with two faults (%s), %d wrong.", one, part(m.tried, len(m.all)), two, part(m.twice, len(m.struck)), wrong)
	return s
}

// part returns a text for how much of the matrix was tried.
func part(tried, all int) string {
	if tried == all && all > 0 {
		return "all that there are"
	}
	return fmt.Sprintf("of %d operations out of %d, because the time was over", tried, all)
}
