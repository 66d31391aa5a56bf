package soak

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/bearerkit/bearerkit/examples/torture/internal/trial"
)

// An oracle knows from the answers which tokens are certainly valid, and which have
// certainly ended. All its times are durations since it began, as clients saw them.
type oracle struct {
	// grace is how long an ended token may still be accepted: the lease of the caches
	// and an allowance. It is zero without caches.
	grace time.Duration

	mu    sync.Mutex
	began time.Time
	slots [][]*oracleSlot // by user and client
	last  int             // number of the last token
	// During a fault, the server may do earlier requests late. Well is the end of the
	// last fault. The last late requests are done a moment after it.
	faulty  bool
	well    time.Duration
	stale   int64         // number of ended tokens accepted within the grace
	longest time.Duration // longest time from a token's end to such an answer
}

// settling is how long a request whose answer was lost may still take effect.
const settling = 3 * time.Second

// remembered is the number of tokens that the oracle keeps for each slot.
const remembered = 6

// busy is the number of users who make about a third of the requests.
const busy = 10

// An oracleSlot is a user at a client.
type oracleSlot struct {
	user, client int
	tokens       []*oracleToken // the latest ones, in the order of their answers
	current      *oracleToken   // the token that is certainly valid while nothing changes the slot; or nil
	changing     int            // number of the user's sign-ins and revocations in progress
	revision     int            // counts their begins and ends
	tainted      time.Duration  // when an answer was lost; zero if all results are known
}

// An oracleToken is a token that a client received.
type oracleToken struct {
	text     string
	refresh  string // the refresh token beside it
	number   int
	slot     *oracleSlot
	answered time.Duration
	revision int           // counts the begins and ends of its revocations
	revoking int           // number of its revocations in progress
	ended    time.Duration // since when it has certainly ended; zero if that is not certain
	how      string        // how it ended, for violations
	refused  [trial.Replicas]refusedBy
}

// refusedBy is when a replica refused a token. Start is the number of the replica's
// start, because a restarted replica may have forgotten the refusal.
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

// now returns the current time. It is never zero, because zero means never.
func (o *oracle) now() time.Duration { return time.Since(o.began) + 1 }

func (t *oracleToken) end(now time.Duration, how string) {
	if t.ended == 0 {
		t.ended, t.how = now, how
	}
}

func (t *oracleToken) String() string {
	return fmt.Sprintf("token %d of user %d at client %d", t.number, t.slot.user, t.slot.client)
}

// certain reports whether the token must be valid.
func (t *oracleToken) certain() bool {
	return t.slot.current == t && t.slot.changing == 0 && t.revoking == 0
}

// faultBegins records that a fault of the server, or of the network to it, begins.
func (o *oracle) faultBegins() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.faulty = true
}

// faultEnds records that the fault is over.
func (o *oracle) faultEnds() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.faulty, o.well = false, o.now()
}

// settled reports whether no request of the slot whose answer was lost can still take
// effect.
func (o *oracle) settled(s *oracleSlot, now time.Duration) bool {
	return s.tainted == 0 || !o.faulty && now > max(s.tainted, o.well)+settling
}

// pick picks a random slot and one of its tokens: the latest one, or preferably an
// older one. The token is nil if the slot has none.
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

// A look is a validation in progress.
type look struct {
	token                       *oracleToken
	replica, start              int
	call                        time.Duration
	certain                     bool
	ended                       bool // whether the token ended before the look, by more than the grace
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

// valid reports whether the token had to be valid during the whole look.
func (l *look) valid() bool {
	t := l.token
	return l.certain && t.certain() && t.slot.revision == l.slotRevision && t.revision == l.tokenRevision
}

// demand returns the kind of the look, as known after its answer. Call it before
// accepted or refuses.
func (o *oracle) demand(l *look) demand {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case l.valid():
		return validToken
	case l.ended:
		return endedToken
	}
	return uncertainToken
}

// accepted ends a validation that accepted the token. It returns why that is a
// violation, or "".
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
		return fmt.Sprintf("replica %d accepted %v %v after it was %s", l.replica, t, late, t.how)
	}
	o.stale++
	o.longest = max(o.longest, late)
	return ""
}

// refuses ends a validation that refused the token. It returns why that is a violation,
// or "". From now on the token counts as ended.
func (o *oracle) refuses(l *look) string {
	o.mu.Lock()
	defer o.mu.Unlock()
	t, now := l.token, o.now()
	valid := l.valid()
	if t.refused[l.replica].start != l.start {
		t.refused[l.replica] = refusedBy{l.start, now}
	}
	t.end(now, "refused")
	if !valid {
		return ""
	}
	t.slot.current = nil
	return fmt.Sprintf("replica %d refused %v, which was valid: issued %v before, and not changed since", l.replica, t, l.call-t.answered)
}
