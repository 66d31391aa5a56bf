// Package matrix is the trial "matrix". It injects each fault into each call of each
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

const about = `Each operation, in each variant of Service, with each call that it makes of the storage, the users, the registry of clients, the live check and the shared counters struck in each way that applies: it fails, hangs until its context ends, or panics, with nothing done or all; a look-up answers with another's row, with what the slot held before its last change, or that the row is corrupt. Then each two of them in one operation, of which the second is among the calls that it makes after the first. Each case has a service of its own, with tokens that are good, of another client, of others, replaced, revoked, expired and forged.
Right is: no token that is not good passes, and one that is gets at worst unavailable (503; 500 or the panic itself for a panic); a revocation or a sign-in is told to be done only if it is; from the very next call on every token is decided upon as it has to be, and the same operation comes to what it comes to without a fault; a sign-in that has to wait for one at another process does so no longer than that takes; no call and no goroutine outlives it; errors are the documented ones, and neither they nor the log have a secret.
With a corrupt row the token is refused as invalid, as ErrCorrupt is documented. With a stale row the storage lies, which its contract forbids: what can be demanded is that the decision is right as of that row, and that nothing passes which was never good there. Without a cache it is right again with the next call. A cache keeps the stale row until the slot is read anew or changes: the newer token is good at once, and ends that, but a token that was revoked passes until its user changes.`

// Run tries the matrix of all faults, then that of each two of an operation.
func Run(tb testing.TB, e *trial.Env) {
	gin.SetMode(gin.ReleaseMode)
	m := newMatrix(e)
	// Another order each time, so that short runs come to all of them.
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
		e.Violate("matrix: %d goroutines are still there 2 s after all operations have returned", n)
	}
	e.Report.Add(m.section())
}

// each does something with each of the cases, until the time is over.
func (m *matrix) each(tb testing.TB, cases []*scenario, do func(context.Context, *scenario) error) {
	jobs := make(chan *scenario)
	var workers sync.WaitGroup
	for range 64 { // most of them wait for what hangs
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

// stillThere returns how many goroutines with the label stay.
func stillThere(label string) (n int) {
	for deadline := time.Now().Add(2 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		var stacks bytes.Buffer
		pprof.Lookup("goroutine").WriteTo(&stacks, 1)
		if n = strings.Count(stacks.String(), fmt.Sprintf("%q", label)); n == 0 || time.Now().After(deadline) {
			return n
		}
	}
}

// A matrix is all cases, and what came of them.
type matrix struct {
	*trial.Env
	all   []*scenario // without faults: each stands for those with
	cells map[cell]*cellCount

	mu           sync.Mutex
	struck       []*scenario // those with one blow, which stand for those with two
	tried, twice int         // of all, and of struck
}

// label is that of the goroutines.
func (m *matrix) label() string { return fmt.Sprintf("matrix %p", m) }

// A cell is where the matrix has a count. The map of them does not change.
type cell struct {
	operation *matrixOperation
	variant   *variant
}

type cellCount struct {
	mu           sync.Mutex
	calls, wrong int
	cases        [3]int // by the number of their blows
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
				about = subjects
			}
			for _, subject := range about {
				m.all = append(m.all, &scenario{matrixOperation: o, variant: v, subject: subject})
			}
		}
	}
	return m
}

// strike plays the case with one more blow, at each call after those that it
// has.
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

// play makes a world and does the operation in it, with the blows and then
// again without, and looks at all tokens after each. It sets which calls the
// operation makes with them.
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
	made, wrong := playIn(ctx, w, c)
	c.made = made
	m.count(c, wrong)
	return nil
}

func playIn(ctx context.Context, w *world, c *scenario) (calls, wrong []string) {
	s := &state{world: w, ended: make(map[string]bool)}
	complain := func(when, what string) {
		if what != "" {
			wrong = append(wrong, when+": "+what)
		}
	}
	act := func(c *scenario, when string) {
		w.arm(c.blows)
		a, returned := perform(ctx, w, c)
		made, underWay := w.disarm()
		if !returned {
			complain(when, "it does not come back")
			return
		}
		if calls == nil {
			calls = made
		}
		complain(when, c.judge(w, a, w.did(c.change)))
		if underWay > 0 {
			complain(when, fmt.Sprintf("%d calls are under way after it has come back", underWay))
		}
		s.heed(c, a)
		if w.cache && c.suffers(func(b blow) bool { return b.how == staleRow }) {
			w.auth.RevokeUser(ctx, "dave") // see about
		}
		for _, what := range append(s.check(ctx), s.leaks(a)...) {
			complain(when+", then", what)
		}
	}
	if len(c.blows) == 0 {
		act(c, "without a fault")
		return calls, wrong
	}
	act(c, "with the fault")
	again := *c
	again.blows = nil
	act(&again, "done again")
	if c.account != "" && c.suffers(func(b blow) bool { return b.call == "UpdateCounters" }) {
		complain("later", s.waits(ctx, c.account))
	}
	return calls, wrong
}

// perform does the operation. It reports false if that never comes to an end.
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
	case <-time.After(5 * time.Second):
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
	if n.wrong++; n.wrong <= 3 { // the others of a cell are like these
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
	s.Note("In the columns of the variants: how many calls it makes without a fault / cases with one fault, that without any of each token among them / cases with two.")
	s.Note("%d cases with one fault, %s; %d with two, %s; %d wrong.", one, part(m.tried, len(m.all)), two, part(m.twice, len(m.struck)), wrong)
	return s
}

// part says how much of a matrix was tried.
func part(tried, all int) string {
	if tried == all && all > 0 {
		return "which is all of them"
	}
	return fmt.Sprintf("of %d operations out of %d, for want of time", tried, all)
}
