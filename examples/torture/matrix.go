package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"runtime/pprof"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/bearerkit/bearerkit/tokenauth"
)

const matrixAbout = `Each operation, in each variant of Service, with each call that it makes of the storage, the users, the registry of clients, the live check and the shared counters struck in each way that applies: it fails, hangs until its context ends, or panics, with nothing done or all; a look-up answers with another's row, with what the slot held before its last change, or that the row is corrupt. Each case has a service of its own, with tokens that are good, of another client, of others, replaced, revoked, expired and forged.
Right is: no token that is not good passes, and one that is gets at worst unavailable (503; 500 or the panic itself for a panic); a revocation or a sign-in is told to be done only if it is; from the very next call on every token is decided upon as it has to be, and the same operation comes to what it comes to without a fault; a sign-in that has to wait for one at another process does so no longer than that takes; no call and no goroutine outlives it; errors are the documented ones, and neither they nor the log have a secret.
With a corrupt row the token is refused as invalid, as ErrCorrupt is documented. With a stale row the storage lies, which its contract forbids: what can be demanded is that the decision is right as of that row, and that nothing passes which was never good there. Without a cache it is right again with the next call. A cache keeps the stale row until the slot is read anew or changes: the newer token is good at once, and ends that, but a token that was revoked passes until its user changes.`

// exhaust tries the matrix of all faults.
func exhaust(tb testing.TB, e *env) {
	gin.SetMode(gin.ReleaseMode)
	m := newMatrix(e)
	label := fmt.Sprintf("matrix %p", m)
	jobs := make(chan *matrixCase)
	var workers sync.WaitGroup
	for range 64 { // most of them wait for what hangs
		workers.Go(func() {
			pprof.Do(tb.Context(), pprof.Labels("torture", label), func(ctx context.Context) {
				for c := range jobs {
					if err := m.try(ctx, c); err != nil && ctx.Err() == nil {
						tb.Error(err)
					}
				}
			})
		})
	}
	for _, c := range m.all {
		if e.over() || tb.Context().Err() != nil {
			break
		}
		jobs <- c
	}
	close(jobs)
	workers.Wait()
	if n := stillThere(label); n > 0 {
		e.violate("matrix: %d goroutines are still there 2 s after all operations have returned", n)
	}
	e.report.add(m.section())
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
	*env
	all   []*matrixCase // without faults: each stands for those with
	tried atomic.Int64  // of all
	cells map[cell]*cellCount
}

// A cell is where the matrix has a count. The map of them does not change.
type cell struct {
	operation *matrixOperation
	variant   *variant
}

type cellCount struct {
	mu                  sync.Mutex
	calls, cases, wrong int
}

func newMatrix(e *env) *matrix {
	m := &matrix{env: e, cells: make(map[cell]*cellCount)}
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
				m.all = append(m.all, &matrixCase{matrixOperation: o, variant: v, subject: subject})
			}
		}
	}
	return m
}

// try finds out which calls a case makes, then strikes each of them.
func (m *matrix) try(ctx context.Context, dry *matrixCase) error {
	calls, err := m.play(ctx, dry)
	if err != nil {
		return err
	}
	for at, call := range calls {
		for _, how := range strikesOf(call) {
			if m.over() || ctx.Err() != nil {
				return nil
			}
			c := *dry
			c.calls, c.at, c.how = calls, at, how
			if _, err := m.play(ctx, &c); err != nil {
				return err
			}
		}
	}
	m.tried.Add(1)
	return nil
}

// play makes a world and does the operation in it, with the fault and then
// again without, and looks at all tokens after each.
func (m *matrix) play(ctx context.Context, c *matrixCase) (calls []string, err error) {
	var plant func(tokenauth.Storage) tokenauth.Storage
	if m.plant != nil && m.plant.storage != nil {
		plant = func(s tokenauth.Storage) tokenauth.Storage { return m.plant.storage(s, &m.plantState, m.seed) }
	}
	w, err := newWorld(ctx, c.variant, plant)
	if err != nil {
		return nil, fmt.Errorf("matrix: %v: %w", c, err)
	}
	defer w.stop()
	calls, wrong := playIn(ctx, w, c)
	m.count(c, len(calls), wrong)
	return calls, nil
}

func playIn(ctx context.Context, w *world, c *matrixCase) (calls []string, wrong []string) {
	s := &state{world: w, ended: make(map[string]bool)}
	complain := func(when, what string) {
		if what != "" {
			wrong = append(wrong, when+": "+what)
		}
	}
	act := func(c *matrixCase, when string) {
		w.arm(c.at, c.how)
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
		if w.cache && c.how == staleRow {
			w.auth.RevokeUser(ctx, "dave") // see matrixAbout
		}
		for _, what := range append(s.check(ctx), s.leaks(a)...) {
			complain(when+", then", what)
		}
	}
	if c.how == noStrike {
		act(c, "without a fault")
		return calls, wrong
	}
	act(c, "with the fault")
	again := *c
	again.how = noStrike
	act(&again, "done again")
	if c.struck() == "UpdateCounters" && c.account != "" {
		complain("later", s.waits(ctx, c.account))
	}
	return calls, wrong
}

// perform does the operation. It reports false if that never comes to an end.
func perform(ctx context.Context, w *world, c *matrixCase) (a answer, returned bool) {
	if c.how.hangs() {
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

func (m *matrix) count(c *matrixCase, calls int, wrong []string) {
	m.operations.Add(1)
	n := m.cells[cell{c.matrixOperation, c.variant}]
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cases++
	if c.how == noStrike {
		n.calls = max(n.calls, calls)
	}
	if len(wrong) == 0 {
		return
	}
	if n.wrong++; n.wrong <= 3 { // the others of a cell are like these
		m.violate("matrix: %v: %s", c, strings.Join(wrong, "; "))
	}
}

func (m *matrix) section() *section {
	s := &section{title: "Fault matrix", about: matrixAbout, head: []string{"operation"}}
	for _, v := range variants {
		s.head = append(s.head, v.name)
	}
	s.head = append(s.head, "cases", "wrong")
	var cases, wrong int
	for _, o := range matrixOperations {
		row := []any{o.name}
		var of cellCount
		for _, v := range variants {
			n := m.cells[cell{o, v}]
			if n == nil {
				row = append(row, "-")
				continue
			}
			row = append(row, fmt.Sprintf("%d / %d", n.calls, n.cases))
			of.cases, of.wrong = of.cases+n.cases, of.wrong+n.wrong
		}
		s.row(append(row, of.cases, of.wrong)...)
		cases, wrong = cases+of.cases, wrong+of.wrong
	}
	s.note("In the columns of the variants: how many calls it makes without a fault / cases, that one of each token among them.")
	whole := "the whole matrix"
	if tried := m.tried.Load(); int(tried) < len(m.all) {
		whole = fmt.Sprintf("%d of %d operations, for want of time", tried, len(m.all))
	}
	s.note("%d cases, %d wrong; %s.", cases, wrong, whole)
	return s
}
