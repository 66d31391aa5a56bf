package fault

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/bearerkit/bearerkit/tokenauth"
)

// A heldToken is an access token, and what its holder knows of it.
type heldToken struct {
	text   string
	ending time.Time // since when it may have ended; zero if it is good
	ended  time.Time // since when it has; zero if nobody has said so
}

// A person signs in at two clients, and does one thing at a time that changes
// something. One of whom a change is in doubt is left alone: what the storage
// has not confirmed it may do at any time later.
type person struct {
	name  string
	busy  bool
	began time.Time // before the last change was called
	held  [2]*heldToken
}

// A witness knows which tokens are good and which are dead, and what wrong
// decisions there were.
type witness struct {
	name   string
	leeway time.Duration // that a dead token may be accepted after its end

	mu     sync.Mutex
	rng    *rand.Rand
	people int
	steady []*person // sign in once
	lively []*person
	dead   []*heldToken

	losing  bool      // whether a change may be lost that is confirmed
	kept    time.Time // since when none is that is called
	perhaps []*perhaps
}

// A perhaps is a change that was confirmed and may have been lost since.
type perhaps struct {
	before []*heldToken // what it ended
	now    *heldToken   // what it issued, or nil
}

const (
	steadyPeople = 10
	livelyPeople = 30
	deadTokens   = 100 // the latest are kept
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

// draw returns somebody to change something of, who then is busy; or nil.
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

// drawToken returns a token to look at, or nil: one that somebody holds, or a
// dead one.
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

// beginEnd notes that something is about to end what the person holds at the
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

// end notes that it has been done, and what the person holds now; or that it is
// in doubt. One that is done while changes may be lost is in doubt, too.
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

// MayLose begins the time in which changes that are confirmed may be lost: not
// those that were before.
func (w *witness) MayLose() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.losing = true
}

// LosesNoMore ends it: what is called from now on is kept.
func (w *witness) LosesNoMore() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.losing, w.kept = false, time.Now()
}

// takePerhaps returns the changes that may have been lost, once.
func (w *witness) takePerhaps() []*perhaps {
	w.mu.Lock()
	defer w.mu.Unlock()
	taken := w.perhaps
	w.perhaps = nil
	return taken
}

func (w *witness) replace(p *person) {
	for _, among := range [][]*person{w.steady, w.lively} {
		for i := range among {
			if among[i] == p {
				among[i] = w.newPerson()
			}
		}
	}
}

// judge returns what is wrong with a validation, or "".
func (w *witness) judge(t *heldToken, called, answered time.Time, err error) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case err == nil && !t.ended.IsZero() && called.After(t.ended.Add(w.leeway)):
		return fmt.Sprintf("a token that had ended %v before was accepted", called.Sub(t.ended))
	case errors.Is(err, tokenauth.ErrInvalidToken) && (t.ending.IsZero() || answered.Before(t.ending)):
		return fmt.Sprintf("a good token was refused: %v", err)
	case err == nil || errors.Is(err, tokenauth.ErrInvalidToken) || errors.Is(err, tokenauth.ErrUnavailable):
		return ""
	}
	return fmt.Sprintf("a validation returned neither ErrInvalidToken nor ErrUnavailable: %v", err)
}
