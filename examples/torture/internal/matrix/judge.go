package matrix

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/bearerkit/bearerkit/tokenauth"
)

// A scenario is one case of the matrix: an operation on a subject, in a variant, with
// the faults to inject.
type scenario struct {
	*matrixOperation
	*variant
	subject string
	calls   []string // the calls that the operation makes without a fault
	made    []string // the calls that it made with the blows
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

// with returns the scenario with one more blow.
func (c *scenario) with(b blow) *scenario {
	more := *c
	more.blows = append(slices.Clone(c.blows), b)
	return &more
}

// suffers reports whether like is true for one of the blows.
func (c *scenario) suffers(like func(blow) bool) bool { return slices.ContainsFunc(c.blows, like) }

// wanted returns the right answer without a fault, from now on.
func (c *scenario) wanted(w *world) (a answer) {
	a.decision, a.user = c.right(w, c.subject)
	return a
}

// judge returns why the answer is a violation, or "". Did is whether the call that
// makes the operation's change was done.
func (c *scenario) judge(want, a answer, did bool) string {
	switch {
	case a.decision == granted && c.refresh != (a.refresh != ""):
		return "the answer has no refresh token, or one that was not asked for"
	case a.decision == want.decision && a.user == want.user:
		claims := a.decision == granted || a.decision == completed
		if claims && !did && slices.Contains(c.calls, c.change) {
			return "the change was reported as done but was not"
		}
		return ""
	case c.suffers(func(b blow) bool { return c.admits(b, a) }):
		return ""
	}
	return fmt.Sprintf("got %s for %q, want %s for %q%s", a.decision, a.user, want.decision, want.user, c.unlessStruck())
}

func (c *scenario) unlessStruck() string {
	if len(c.blows) == 0 {
		return ""
	}
	return " or unavailable"
}

// admits reports whether the blow excuses the answer.
func (c *scenario) admits(b blow, a answer) bool {
	switch {
	case a.decision == unavailable:
		return true
	case a.decision == panicked:
		return b.how.panics()
	case b.how == corruptRow && b.call != "List":
		return a.decision == c.decisionOfEmpty()
	case b.how == corruptRow && b.call == "List":
		return a.decision == incomplete && (a.user+" alice" == alicesTokens(c.variant))
	case b.how == otherRow && b.call == "FindClient":
		return a.decision == clientRefused || a.decision == rejected || c.presents != "" && a.decision == c.decisionOfEmpty()
	case b.how == staleRow:
		user, was := liveIfStale[cmp.Or(c.subject, c.presents)]
		if !was {
			return a.decision == c.decisionOfEmpty()
		}
		return a.decision == accepted && a.user == user || a.decision == forbidden
	}
	return false
}

func (c *scenario) decisionOfEmpty() decision { return cmp.Or(c.ofEmpty, denied) }

// A state knows which tokens of a world must be valid, and for which users.
type state struct {
	*world
	ended   map[string]bool  // by subject
	granted []pair           // issued by operations; only the last is valid
	applied tokenauth.Digest // of the access token that a refresh stored
}

// A pair is an access token of a user, and the refresh token beside it or "".
type pair struct{ user, token, refresh string }

// heed records what an operation changed.
func (s *state) heed(ctx context.Context, c *scenario, a answer) {
	if a.decision == granted {
		if n := len(s.granted); n == 0 || s.granted[n-1].token != a.token { // not for a repeated refresh
			s.granted = append(s.granted, pair{a.user, a.token, a.refresh})
		}
	}
	s.apply(ctx, c)
	whole := a.decision == c.wanted(s.world).decision
	if c.suffers(func(b blow) bool { return b.how == corruptRow || b.how == staleRow }) {
		whole = false // such a token counts as one that is not valid
	}
	switch {
	case c.oneByOne:
		for _, subject := range c.ends(c.subject) {
			s.ended[subject] = whole || !s.holdsToken(ctx, subject)
		}
	case c.change != "" && s.did(c.change):
		for _, subject := range c.ends(c.subject) {
			s.ended[subject] = true
		}
	}
}

// check validates all tokens, and returns the violations. It begins with the newest
// token, which must be valid at once, whatever a cache holds.
func (s *state) check(ctx context.Context) (wrong []string) {
	try := func(name, token, user string) {
		t, err := s.auth.Validate(ctx, token)
		a := answerOf(err, accepted)
		switch {
		case user != "" && (a.decision != accepted || t.Principal.UserID != user):
			wrong = append(wrong, fmt.Sprintf("the token %q of %s, which is valid, is %s", name, user, a.decision))
		case user == "" && a.decision != denied:
			wrong = append(wrong, fmt.Sprintf("the token %q, which is invalid, is %s", name, a.decision))
		}
	}
	if n := len(s.granted); n > 0 {
		try("granted", s.granted[n-1].token, s.granted[n-1].user)
	}
	for _, subject := range s.subjects() {
		user := live[subject]
		if s.ended[subject] {
			user = ""
		}
		try(subject, s.tokens[subject], user)
	}
	for _, earlier := range s.granted[:max(0, len(s.granted)-1)] {
		try("granted before", earlier.token, "")
	}
	return wrong
}

// waits makes a sign-in wait for concurrent sign-ins at another process. When those
// end, the sign-in must continue, whatever faults there were before.
func (s *state) waits(ctx context.Context, account string) string {
	const others, take = 5, 20 * time.Millisecond
	enough := 2*time.Second + s.patience
	s.store.crowd(others, s.clock.Now().UnixMilli())
	defer time.AfterFunc(take, func() { s.store.crowd(0, 0) }).Stop()
	ctx, cancel := context.WithTimeout(ctx, enough)
	defer cancel()
	_, err := s.auth.SignIn(ctx, tokenauth.Credentials{
		UserName: account, Password: tokenauth.NewSecret(passwordOf(account)), ClientID: s.app(), ClientSecret: s.client, RemoteAddr: remoteAddr,
	})
	if errors.Is(err, tokenauth.ErrUnavailable) {
		return fmt.Sprintf("a sign-in of %s that waits for one at another process does not continue when that ends: %v", account, err)
	}
	return ""
}

// leaks returns a violation for each secret in the answer or the log.
func (s *state) leaks(a answer) (wrong []string) {
	written := s.log.String()
	secrets := s.secrets()
	for _, p := range s.granted {
		if secrets = append(secrets, p.token); p.refresh != "" {
			secrets = append(secrets, p.refresh)
		}
	}
	for _, secret := range secrets {
		if strings.Contains(a.text, secret) {
			wrong = append(wrong, "the answer contains a secret")
		}
		if strings.Contains(written, secret) {
			wrong = append(wrong, "the log contains a secret")
		}
	}
	return wrong
}
