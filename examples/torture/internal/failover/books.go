package failover

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"time"
)

// A user signs in and has the token revoked, one after the other.
type user struct {
	name string
	// change counts the changes that began: an answer that was on its way meanwhile
	// says nothing.
	change int
	busy   bool   // one is in progress, or in doubt
	live   *token // nil for none
}

// A token was confirmed to a client.
type token struct {
	of     *user
	text   string
	issued time.Time // before the answer
	ended  time.Time // when its end was confirmed; zero if it was not
	wrong  bool      // found to be lost, or accepted after its end
}

// books have what was confirmed to clients. A user of whom a change got no answer
// is never used again: the storage may do it at any time later.
type books struct {
	mu     sync.Mutex
	free   []*user
	tokens []*token // of users in no doubt
}

// begin returns a user to change something of.
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

// end notes what came of the change: the text of the user's new token, or "" for a
// revocation.
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

// draw returns a token to look at, and what its user's change is.
func (b *books) draw() (t *token, change int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.tokens) == 0 {
		return nil, 0
	}
	t = b.tokens[rand.IntN(len(b.tokens))]
	return t, t.of.change
}

// all returns the tokens of users in no doubt.
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

// A finding is what is wrong with an answer about a token.
type finding string

const (
	lost    finding = "a token that was confirmed is refused"
	revived finding = "a token that has ended is accepted"
)

// judge returns what is new and wrong with an answer, or "". Leeway is for how long
// the replica may accept a token after its end.
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
