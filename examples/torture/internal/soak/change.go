package soak

import "time"

// An effect is what is known of a change when it has ended.
type effect int

const (
	changed   effect = iota // it was confirmed
	unchanged               // it cannot have had an effect
	ambiguous               // it may have had one, or may have it yet
)

// A change is a sign-in or a revocation under way.
type change struct {
	*oracle
	slots []*oracleSlot
	token *oracleToken // that is revoked, of a revocation of one
	call  time.Duration
	// alone is whether nothing else was under way in its slot when it began;
	// revision is the slot's then.
	alone    bool
	revision int
}

// signsIn begins a sign-in.
func (o *oracle) signsIn(s *oracleSlot) *change {
	o.mu.Lock()
	defer o.mu.Unlock()
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

// revokes begins a revocation of a token. If it is not the current one, nothing
// that is good may change.
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

// end ends a change.
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
			c.endBefore(s, now, "revoked with its user")
		}
	}
}

// issued ends a sign-in that was answered with a token, and returns it with the
// one before it, if there was one.
func (c *change) issued(text string) (issued, before *oracleToken) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now, s := c.now(), c.slots[0]
	certain := c.alone && s.revision == c.revision
	c.leave(s, now, changed)
	c.endBefore(s, now, "replaced")
	c.last++
	t := &oracleToken{text: text, number: c.last, slot: s, answered: now}
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

// endBefore ends the tokens that were there when the change began.
func (c *change) endBefore(s *oracleSlot, now time.Duration, how string) {
	for _, t := range s.tokens {
		if t.answered < c.call {
			t.end(now, how)
		}
	}
}
