package matrix

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/bearerkit/bearerkit/tokenauth"
)

// A scenario is an operation, about a subject, of a variant, with calls that
// are struck.
type scenario struct {
	*matrixOperation
	*variant
	subject string
	calls   []string // that it makes without a fault
	made    []string // that it made with the blows
	blows   []blow   // in the order of the calls
}

func (c *scenario) String() string {
	text := c.matrixOperation.name
	if c.subject != "" {
		text += " of the token " + c.subject
	}
	text += ", " + c.variant.name
	for _, b := range c.blows {
		text += fmt.Sprintf(", call %d (%s) %v", b.at+1, b.call, b.how)
	}
	return text
}

// with returns the case with one more blow.
func (c *scenario) with(b blow) *scenario {
	more := *c
	more.blows = append(slices.Clone(c.blows), b)
	return &more
}

// suffers is whether one of the blows is like that.
func (c *scenario) suffers(like func(blow) bool) bool { return slices.ContainsFunc(c.blows, like) }

// judge says what is wrong about an answer, or "". Did is whether the call that
// changes something was done.
func (c *scenario) judge(w *world, a answer, did bool) string {
	right, user := c.right(w, c.subject)
	switch {
	case a.decision == right && a.user == user:
		claims := right == granted || right == completed
		if claims && !did && slices.Contains(c.calls, c.change) {
			return "it was told that this was done, and it was not"
		}
		return ""
	case c.suffers(func(b blow) bool { return c.admits(b, a) }):
		return ""
	}
	return fmt.Sprintf("it was %s for %q, which has to be %s for %q%s", a.decision, a.user, right, user, c.unlessStruck())
}

func (c *scenario) unlessStruck() string {
	if len(c.blows) == 0 {
		return ""
	}
	return " or unavailable"
}

// admits reports whether the answer may be owed to the blow.
func (c *scenario) admits(b blow, a answer) bool {
	switch {
	case a.decision == unavailable:
		return true
	case a.decision == panicked:
		return b.how.panics()
	case b.how == corruptRow && b.call == "Find":
		return a.decision == denied
	case b.how == corruptRow && b.call == "List":
		return a.decision == incomplete && a.user == "alice"
	case b.how == otherRow && b.call == "FindClient":
		return a.decision == clientRefused || a.decision == rejected
	case b.how == staleRow:
		user, was := liveIfStale[c.subject]
		if !was {
			return a.decision == denied
		}
		return a.decision == accepted && a.user == user || a.decision == forbidden
	}
	return false
}

// A state is which tokens are good, and for whom.
type state struct {
	*world
	ended   map[string]bool // subjects
	granted []string        // tokens; the last of them is good, but for endedNew
}

// heed takes note of what an operation did.
func (s *state) heed(c *scenario, a answer) {
	if c.change == "" || !s.did(c.change) {
		return
	}
	for _, subject := range c.ends(c.subject) {
		s.ended[subject] = true
	}
	if a.decision == granted {
		s.granted = append(s.granted, a.token)
	}
}

// check says which tokens are not decided upon as they have to be. What is
// live comes first: it has to be good at once, whatever a cache has.
func (s *state) check(ctx context.Context) (wrong []string) {
	try := func(name, token, user string) {
		t, err := s.auth.Validate(ctx, token)
		a := answerOf(err, accepted)
		switch {
		case user != "" && (a.decision != accepted || t.Principal.UserID != user):
			wrong = append(wrong, fmt.Sprintf("the token %s of %s is %s", name, user, a.decision))
		case user == "" && a.decision != denied:
			wrong = append(wrong, fmt.Sprintf("the token %s, which is not good, is %s", name, a.decision))
		}
	}
	if n := len(s.granted); n > 0 {
		try("granted", s.granted[n-1], "alice")
	}
	for _, subject := range subjects {
		user := live[subject]
		if s.ended[subject] {
			user = ""
		}
		try(subject, s.tokens[subject], user)
	}
	for _, token := range s.granted[:max(0, len(s.granted)-1)] {
		try("granted before", token, "")
	}
	return wrong
}

// waits has a sign-in wait for others that are under way at another process, as
// long as those take. Whatever befell those before it, it has to go on then.
func (s *state) waits(ctx context.Context, account string) string {
	const others, take, enough = 5, 20 * time.Millisecond, 2 * time.Second
	s.store.crowd(others, s.clock.Now().UnixMilli())
	defer time.AfterFunc(take, func() { s.store.crowd(0, 0) }).Stop()
	ctx, cancel := context.WithTimeout(ctx, enough)
	defer cancel()
	_, err := s.auth.SignIn(ctx, tokenauth.Credentials{
		UserName: account, Password: tokenauth.NewSecret(passwordOf(account)), ClientID: s.app(), ClientSecret: s.client, RemoteAddr: remoteAddr,
	})
	if errors.Is(err, tokenauth.ErrUnavailable) {
		return fmt.Sprintf("a sign-in of %s that waits for one at another process does not go on when that has come out: %v", account, err)
	}
	return ""
}

// leaks says who was told a secret.
func (s *state) leaks(a answer) (wrong []string) {
	written := s.log.String()
	for _, secret := range append(s.secrets(), s.granted...) {
		if strings.Contains(a.text, secret) {
			wrong = append(wrong, "the answer has a secret")
		}
		if strings.Contains(written, secret) {
			wrong = append(wrong, "the log has a secret")
		}
	}
	return wrong
}
