package soak

import (
	"fmt"
	"time"
)

// An effect is what the client knows about a change after its answer.
type effect int

const (
	changed   effect = iota // the change was confirmed
	unchanged               // the change was certainly not made
	ambiguous               // the change may have been made, or may be made later
)

// A change is a sign-in, a refresh or a revocation in progress.
type change struct {
	*oracle
	slots []*oracleSlot
	token *oracleToken // the token to revoke; nil for other changes
	call  time.Duration
	// alone is whether no other change of the slot was in progress when it began.
	// Revision is the slot's revision at that time.
	alone    bool
	revision int
	// used is the token whose refresh token is used; nil for other changes. Certain is
	// whether it had to be valid when the change began. TokenRevision is its revision at
	// that time.
	used          *oracleToken
	certain       bool
	tokenRevision int
}

// signsIn begins a sign-in.
func (o *oracle) signsIn(s *oracleSlot) *change {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.issues(s)
}

// refreshes begins a refresh with the refresh token beside a token.
func (o *oracle) refreshes(t *oracleToken) *change {
	o.mu.Lock()
	defer o.mu.Unlock()
	certain := t.certain()
	c := o.issues(t.slot)
	c.used, c.certain, c.tokenRevision = t, certain, t.revision
	return c
}

func (o *oracle) issues(s *oracleSlot) *change {
	c := &change{oracle: o, slots: []*oracleSlot{s}, call: o.now()}
	c.alone = s.changing == 0 && o.settled(s, c.call)
	c.begin()
	c.revision = s.revision
	return c
}

// revokesUser begins a revocation of all tokens of a user.
func (o *oracle) revokesUser(user int) *change {
	o.mu.Lock()
	defer o.mu.Unlock()
	c := &change{oracle: o, slots: o.slots[user], call: o.now()}
	c.begin()
	return c
}

// revokes begins a revocation of a token. If the token is not the current one, the
// revocation must not end the current one.
func (o *oracle) revokes(t *oracleToken) *change {
	o.mu.Lock()
	defer o.mu.Unlock()
	t.revision++
	t.revoking++
	return &change{oracle: o, token: t, call: o.now()}
}

func (c *change) begin() {
	for _, s := range c.slots {
		s.changing++
		s.revision++
	}
}

// end ends a change. A sign-in that returned a token ends with issued instead.
func (c *change) end(e effect) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.now()
	if t := c.token; t != nil {
		t.revision++
		t.revoking--
		if e == changed {
			t.end(now, "revoked")
		}
		if e != unchanged && t.slot.current == t {
			t.slot.current = nil
		}
		return
	}
	for _, s := range c.slots {
		c.leave(s, now, e)
		if e == changed {
			c.endBefore(s, now, "revoked with its user", nil)
		}
	}
}

// issued ends a sign-in or a refresh that returned a pair. It returns the token, and the
// slot's previous one or nil. A refresh that repeats another one returns a known token.
func (c *change) issued(text, refresh string) (issued, before *oracleToken) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now, s := c.now(), c.slots[0]
	certain := c.alone && s.revision == c.revision
	c.leave(s, now, changed)
	var t *oracleToken
	for _, known := range s.tokens {
		if c.used != nil && known.text == text {
			t = known
		}
	}
	c.endBefore(s, now, "replaced", t)
	if t != nil {
		if certain {
			s.current, s.tainted = t, 0
		}
		return t, nil
	}
	c.last++
	t = &oracleToken{text: text, refresh: refresh, number: c.last, slot: s, answered: now}
	if n := len(s.tokens); n > 0 {
		before = s.tokens[n-1]
	}
	if len(s.tokens) == remembered {
		copy(s.tokens, s.tokens[1:])
		s.tokens = s.tokens[:remembered-1]
	}
	s.tokens = append(s.tokens, t)
	if certain {
		s.current, s.tainted = t, 0
	}
	return t, before
}

// refused ends a refresh that was refused. It returns why that is a violation, or "". The
// sign-in may have ended, because the refresh token was used before.
func (c *change) refused() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	now, s, t := c.now(), c.slots[0], c.used
	valid := c.certain && s.revision == c.revision && t.revision == c.tokenRevision
	c.leave(s, now, ambiguous)
	if !valid {
		return ""
	}
	return fmt.Sprintf("the refresh token beside %v was refused, and so its user signed out: issued %v before, and not changed since", t, c.call-t.answered)
}

func (c *change) leave(s *oracleSlot, now time.Duration, e effect) {
	s.changing--
	s.revision++
	if e != unchanged {
		s.current = nil
	}
	if e == ambiguous {
		s.tainted = now
	}
}

// endBefore marks the tokens as ended that were issued before the change began, except
// one.
func (c *change) endBefore(s *oracleSlot, now time.Duration, how string, except *oracleToken) {
	for _, t := range s.tokens {
		if t.answered < c.call && t != except {
			t.end(now, how)
		}
	}
}
