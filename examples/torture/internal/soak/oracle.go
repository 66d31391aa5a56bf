package soak

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/bearerkit/bearerkit/examples/torture/internal/trial"
)

// An oracle knows from the answers so far which tokens are certainly good, and
// which have certainly ended. All times are those since it began, as the
// clients saw them.
type oracle struct {
	// grace is for how long a token that has ended may be accepted still: the
	// lease of the caches and some allowance, or zero without.
	grace time.Duration

	mu    sync.Mutex
	began time.Time
	slots [][]*oracleSlot // by user and client
	last  int             // number of a token
	// A server in trouble may do what it was asked before until it is well
	// again, and a moment longer.
	trouble bool
	well    time.Duration
	stale   int64         // accepted within the grace
	longest time.Duration // and how long after the end
}

// settling is how long something whose answer was lost may still take effect.
const settling = 3 * time.Second

// remembered is how many tokens of a slot are.
const remembered = 6

// busy is how many users make a third of the requests.
const busy = 10

// An oracleSlot is a user at a client.
type oracleSlot struct {
	user, client int
	tokens       []*oracleToken // the latest ones, in the order of their answers
	current      *oracleToken   // which certainly is good, if nothing changes the slot; or nil
	changing     int            // sign-ins and revocations of the user that are under way
	revision     int            // counts when they begin and end
	tainted      time.Duration  // when the answer of one was lost; zero if it is known what became of them
}

// An oracleToken is one that was issued.
type oracleToken struct {
	text     string
	number   int
	slot     *oracleSlot
	answered time.Duration
	revision int           // counts when revocations of it begin and end
	revoking int           // those under way
	ended    time.Duration // since when it is certain that it is not good; zero if it is not
	how      string
	refused  [trial.Replicas]refusedBy
}

// refusedBy says when a replica refused a token, and which: it is another after
// each start.
type refusedBy struct {
	start int
	at    time.Duration
}

func newOracle(users, clients int, grace time.Duration) *oracle {
	o := &oracle{grace: grace, began: time.Now()}
	for user := range users {
		var slots []*oracleSlot
		for client := range clients {
			slots = append(slots, &oracleSlot{user: user, client: client})
		}
		o.slots = append(o.slots, slots)
	}
	return o
}

// now is never zero, which stands for never.
func (o *oracle) now() time.Duration { return time.Since(o.began) + 1 }

func (t *oracleToken) end(now time.Duration, how string) {
	if t.ended == 0 {
		t.ended, t.how = now, how
	}
}

func (t *oracleToken) String() string {
	return fmt.Sprintf("token %d of user %d at client %d", t.number, t.slot.user, t.slot.client)
}

// certain is whether the token has to be good.
func (t *oracleToken) certain() bool {
	return t.slot.current == t && t.slot.changing == 0 && t.revoking == 0
}

// faultBegins says that the server, or the way to it, is in trouble.
func (o *oracle) faultBegins() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.trouble = true
}

func (o *oracle) faultEnds() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.trouble, o.well = false, o.now()
}

// settled is whether all that was lost in the slot has taken effect or never
// will.
func (o *oracle) settled(s *oracleSlot, now time.Duration) bool {
	return s.tainted == 0 || !o.trouble && now > max(s.tainted, o.well)+settling
}

// pick picks a slot, and a token of it: the latest, or rather one that is not.
func (o *oracle) pick(rng *rand.Rand, latest bool) (*oracleSlot, *oracleToken) {
	o.mu.Lock()
	defer o.mu.Unlock()
	users := o.slots
	if rng.IntN(3) == 0 {
		users = users[:min(busy, len(users))]
	}
	of := users[rng.IntN(len(users))]
	s := of[rng.IntN(len(of))]
	n := len(s.tokens)
	switch {
	case n == 0:
		return s, nil
	case latest && s.current != nil:
		return s, s.current
	case latest || n == 1:
		return s, s.tokens[n-1]
	default:
		return s, s.tokens[rng.IntN(n-1)]
	}
}

// A look is a validation under way.
type look struct {
	token                       *oracleToken
	replica, start              int
	call                        time.Duration
	certain                     bool
	ended                       bool // before it began, by more than the grace
	slotRevision, tokenRevision int
}

// looks begins a validation.
func (o *oracle) looks(t *oracleToken, replica, start int) *look {
	o.mu.Lock()
	defer o.mu.Unlock()
	now := o.now()
	return &look{
		token: t, replica: replica, start: start, call: now, certain: t.certain(),
		ended:        t.ended != 0 && now > t.ended+o.grace,
		slotRevision: t.slot.revision, tokenRevision: t.revision,
	}
}

// good is whether the token had to be good all the time so far.
func (l *look) good() bool {
	t := l.token
	return l.certain && t.certain() && t.slot.revision == l.slotRevision && t.revision == l.tokenRevision
}

// demand is what the look is in hindsight. It comes before the judgement.
func (o *oracle) demand(l *look) demand {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case l.good():
		return goodToken
	case l.ended:
		return endedToken
	}
	return uncertainToken
}

// accepted ends a validation by which the token was good, and returns what is
// wrong with that, or "".
func (o *oracle) accepted(l *look) string {
	o.mu.Lock()
	defer o.mu.Unlock()
	t := l.token
	if by := t.refused[l.replica]; by.at != 0 && by.start == l.start && l.call > by.at {
		return fmt.Sprintf("replica %d accepted %v %v after it had refused it", l.replica, t, l.call-by.at)
	}
	if t.ended == 0 || l.call <= t.ended {
		return ""
	}
	late := l.call - t.ended
	if late > o.grace {
		return fmt.Sprintf("replica %d accepted %v when asked %v after it was %s", l.replica, t, late, t.how)
	}
	o.stale++
	o.longest = max(o.longest, late)
	return ""
}

// refuses ends a validation by which the token was not good. It never will be
// again.
func (o *oracle) refuses(l *look) string {
	o.mu.Lock()
	defer o.mu.Unlock()
	t, now := l.token, o.now()
	good := l.good()
	if t.refused[l.replica].start != l.start {
		t.refused[l.replica] = refusedBy{l.start, now}
	}
	t.end(now, "refused")
	if !good {
		return ""
	}
	t.slot.current = nil
	return fmt.Sprintf("replica %d refused %v, which was good: issued %v before, and nothing has changed since", l.replica, t, l.call-t.answered)
}
