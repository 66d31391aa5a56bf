package failover

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"time"
)

// A user signs in and revokes tokens, one request after the other.
type user struct {
	name string
	// change counts the changes that began. An answer to a validation proves nothing
	// if a change began meanwhile.
	change int
	busy   bool   // whether a change is in progress, or its answer was lost
	live   *token // the valid token; nil for none
}

// A token is one that a client received.
type token struct {
	of     *user
	text   string
	issued time.Time // when the sign-in began
	ended  time.Time // when a change that ended it was confirmed; zero for none
	wrong  bool      // a violation was recorded; only the first one counts
}

// books record the changes that were confirmed to clients. A user whose change was not
// confirmed is never used again, because the storage may do the change at any later
// time.
type books struct {
	mu     sync.Mutex
	free   []*user
	tokens []*token // all that clients received
}

// begin returns a user to make a change, or nil if all users are busy.
func (b *books) begin() *user {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.free) == 0 {
		return nil
	}
	i := rand.IntN(len(b.free))
	u := b.free[i]
	b.free[i] = b.free[len(b.free)-1]
	b.free = b.free[:len(b.free)-1]
	u.change++
	u.busy = true
	return u
}

// end records the result of a change. Done is whether the storage confirmed it. Text
// is the user's new token, or "" for a revocation.
func (b *books) end(u *user, done bool, text string, began time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !done {
		return
	}
	if u.live != nil {
		u.live.ended = time.Now()
	}
	u.live = nil
	if text != "" {
		u.live = &token{of: u, text: text, issued: began}
		b.tokens = append(b.tokens, u.live)
	}
	u.busy = false
	b.free = append(b.free, u)
}

// draw returns a random token to validate, and the value of its user's change.
func (b *books) draw() (t *token, change int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.tokens) == 0 {
		return nil, 0
	}
	t = b.tokens[rand.IntN(len(b.tokens))]
	return t, t.of.change
}

// all returns the tokens whose state is certain: the valid tokens of idle users, and
// the ended ones.
func (b *books) all() []*token {
	b.mu.Lock()
	defer b.mu.Unlock()
	var all []*token
	for _, t := range b.tokens {
		if t.of.live == t && !t.of.busy || !t.ended.IsZero() {
			all = append(all, t)
		}
	}
	return all
}

// A finding is a violation that an answer shows; "" is none.
type finding string

const (
	lost    finding = "a confirmed token is refused"
	revived finding = "an ended token is accepted"
)

// judge checks the answer to a validation that began at called. It reports only the
// first violation of each token. Leeway is how long the replica may accept a token
// after its end.
func (b *books) judge(t *token, change int, called time.Time, accepted bool, leeway time.Duration) finding {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case t.wrong:
	case !accepted && t.ended.IsZero() && t.of.change == change && !t.of.busy:
		t.wrong = true
		return lost
	case accepted && !t.ended.IsZero() && called.After(t.ended.Add(leeway)):
		t.wrong = true
		return revived
	}
	return ""
}

func userName(i int) string { return fmt.Sprint("user-", i) }
