package fault

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/bearerkit/bearerkit/tokenauth"
)

// A heldToken is an access token, with what its holder knows from the answers.
type heldToken struct {
	text    string
	refresh string    // the refresh token beside it
	ending  time.Time // when the first call that may end it began; zero if there was none
	ended   time.Time // when its end was confirmed; zero if it was not
}

// A person signs in at two clients and makes one change at a time. A person whose
// change was not confirmed is replaced by a new one, because the storage may do the
// change at any later time.
type person struct {
	name  string
	busy  bool
	began time.Time // when the call of the last change began
	held  [2]*heldToken
}

// A witness knows which tokens are valid and which have ended, and judges the answers
// to validations. It is an [inject.Witness].
type witness struct {
	name   string
	leeway time.Duration // how long a token may be accepted after its end

	mu     sync.Mutex
	rng    *rand.Rand
	people int
	steady []*person // each signs in once
	lively []*person
	dead   []*heldToken // ended tokens

	losing  bool      // whether a confirmed change may be lost
	kept    time.Time // changes whose call began later are not lost
	perhaps []*perhaps
}

// A perhaps is a confirmed change that may have been lost since.
type perhaps struct {
	before []*heldToken // the tokens that it ended
	now    *heldToken   // the token that it issued; nil for a revocation
}

const (
	steadyPeople = 10
	livelyPeople = 30
	deadTokens   = 100 // only the latest are kept
)

func newWitness(name string, leeway time.Duration, seed uint64) *witness {
	w := &witness{name: name, leeway: leeway, rng: rand.New(rand.NewPCG(seed, 3))}
	for range steadyPeople {
		w.steady = append(w.steady, w.newPerson())
	}
	for range livelyPeople {
		w.lively = append(w.lively, w.newPerson())
	}
	return w
}

func (w *witness) newPerson() *person {
	w.people++
	return &person{name: fmt.Sprintf("%s %d", w.name, w.people)}
}

// draw returns a random person for a change, and marks the person as busy. It returns
// nil if the drawn person is busy, or steady and signed in.
func (w *witness) draw() *person {
	w.mu.Lock()
	defer w.mu.Unlock()
	among := w.lively
	if w.rng.IntN(4) == 0 {
		among = w.steady
	}
	p := among[w.rng.IntN(len(among))]
	if p.busy || len(among) == steadyPeople && p.held[0] != nil {
		return nil
	}
	p.busy, p.began = true, time.Now()
	return p
}

// drawToken returns a random token to validate, current or ended. It returns nil if the
// drawn person holds none.
func (w *witness) drawToken() *heldToken {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch n := w.rng.IntN(10); {
	case n < 3 && len(w.dead) > 0:
		return w.dead[w.rng.IntN(len(w.dead))]
	case n < 6:
		return w.steady[w.rng.IntN(len(w.steady))].held[0]
	}
	return w.lively[w.rng.IntN(len(w.lively))].held[w.rng.IntN(2)]
}

// beginEnd records that a call begins which may end the person's tokens at the
// clients.
func (w *witness) beginEnd(p *person, clients ...int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range clients {
		if t := p.held[c]; t != nil && t.ending.IsZero() {
			t.ending = time.Now()
		}
	}
}

// end records the result of a change. Done is whether it was confirmed. Next is the
// person's new token at the clients, or nil. A change that was not confirmed is in
// doubt, and so is one that was confirmed while changes may be lost.
func (w *witness) end(p *person, done bool, next *heldToken, clients ...int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if lost := w.losing || p.began.Before(w.kept); !done || lost {
		if done {
			w.perhaps = append(w.perhaps, newPerhaps(p, next, clients))
		}
		w.replace(p)
		return
	}
	for _, c := range clients {
		if t := p.held[c]; t != nil {
			t.ended = time.Now()
			w.dead = append(w.dead, t)
			w.dead = w.dead[max(0, len(w.dead)-deadTokens):]
		}
		p.held[c] = next
	}
	p.busy = false
}

func newPerhaps(p *person, now *heldToken, clients []int) *perhaps {
	c := &perhaps{now: now}
	for _, client := range clients {
		if t := p.held[client]; t != nil {
			c.before = append(c.before, t)
		}
	}
	return c
}

// MayLose implements [inject.Witness]. Changes confirmed from now on may be lost.
func (w *witness) MayLose() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.losing = true
}

// LosesNoMore implements [inject.Witness]. Changes whose call begins from now on are
// not lost.
func (w *witness) LosesNoMore() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.losing, w.kept = false, time.Now()
}

// takePerhaps returns the changes that may have been lost since the last call.
func (w *witness) takePerhaps() []*perhaps {
	w.mu.Lock()
	defer w.mu.Unlock()
	taken := w.perhaps
	w.perhaps = nil
	return taken
}

// replace puts a new person in the place of p.
func (w *witness) replace(p *person) {
	for _, among := range [][]*person{w.steady, w.lively} {
		for i := range among {
			if among[i] == p {
				among[i] = w.newPerson()
			}
		}
	}
}

// judge returns why the result of a validation is a violation, or "".
func (w *witness) judge(t *heldToken, called, answered time.Time, err error) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case err == nil && !t.ended.IsZero() && called.After(t.ended.Add(w.leeway)):
		return fmt.Sprintf("a token that had ended %v before was accepted", called.Sub(t.ended))
	case errors.Is(err, tokenauth.ErrInvalidToken) && (t.ending.IsZero() || answered.Before(t.ending)):
		return fmt.Sprintf("a valid token was refused: %v", err)
	case err == nil || errors.Is(err, tokenauth.ErrInvalidToken) || errors.Is(err, tokenauth.ErrUnavailable):
		return ""
	}
	return fmt.Sprintf("a validation returned neither ErrInvalidToken nor ErrUnavailable: %v", err)
}
