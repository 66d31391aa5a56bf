package history

import (
	"fmt"
	"strings"

	"github.com/anishathalye/porcupine"

	"github.com/bearerkit/bearerkit/examples/torture/internal/op"
	"github.com/bearerkit/bearerkit/tokenauth"
)

// An outcome is the result that the caller got.
type outcome int

const (
	done    outcome = iota // issued, valid, revoked
	refused                // rejected credentials, an invalid token
	unknown                // an error: the change may have been done, or may be done later
)

func (o outcome) String() string { return [...]string{"done", "refused", "unknown"}[o] }

// An operation is one call of a Service and its outcome. Times are nanoseconds since
// the history began.
type operation struct {
	kind    op.Kind
	worker  int
	replica int
	slot    slot
	token   int // number of the token, from 1; 0 for none. RevokeOthers keeps it
	// listed holds the tokens that List returned.
	listed []tokenauth.Token

	outcome      outcome
	call, answer int64
	// late is whether the user was changed during a refused sign-in or refresh. Then it
	// may have stored its token first.
	late bool
	// stored is the token of a sign-in or a refresh that was done.
	stored tokenauth.Token
	// ending is set in a part of a sign-in: see [history.endings].
	ending map[int]bool
	// first is set in a part of a sign-in, which stores a token that it then replaces,
	// because the token did not look newer than the others.
	first bool
	// found is set in a part of a RevokeDevice, which finds a token in the slot.
	found bool

	// presented is the number of the pair whose refresh token a Refresh or RevokeRefresh
	// presented.
	presented int
	// signIn is the sign-in that the operation is about: the number of its first token,
	// or 0 if it has no refresh token.
	signIn int
	// refresh says how the replicas of a Refresh refresh.
	refresh *refreshing
	// from and to are the times of call and answer by the clock of the replicas, in
	// nanoseconds.
	from, to int64
	// again is how often a Refresh heard that nothing was stored, although it was.
	again int
	// replaces is the number of the pair that replaced the presented one, or unreceived.
	replaces int
	// spent is whether a Refresh may have been repeated too often.
	spent bool
	// changed is whether the user was changed between the sign-in and a Refresh.
	changed bool
}

// A slot is a user at a client, on a device. Device 0 is the slot without a device. An
// operation on several slots has the value all for users, clients or devices.
type slot struct{ user, client, device int }

const all = -1

// covers reports whether an operation on s concerns the slot.
func (s slot) covers(one slot) bool {
	same := func(a, b int) bool { return a == all || a == b }
	return same(s.user, one.user) && same(s.client, one.client) && same(s.device, one.device)
}

func (s slot) String() string {
	var text []string
	for _, part := range []struct {
		name string
		n    int
	}{{"user", s.user}, {"client", s.client}, {"device", s.device}} {
		if part.n != all && (part.name != "device" || part.n > 0) {
			text = append(text, fmt.Sprintf("%s %d", part.name, part.n))
		}
	}
	return strings.Join(text, " ")
}

func (o *operation) String() string {
	what := fmt.Sprintf("%v %v", o.kind, o.slot)
	if o.ending != nil {
		what = "tokens beyond the bound end: " + what
	}
	if o.first {
		what = "a first token is stored: " + what
	}
	if o.found {
		what = "a token is found: " + what
	}
	if o.presented != 0 {
		what += fmt.Sprintf(" with the refresh token of %d", o.presented)
	}
	if o.again != 0 {
		what += fmt.Sprintf(" (tried again %d times)", o.again)
	}
	if o.token != 0 {
		what += fmt.Sprintf(" token %d", o.token)
	}
	return fmt.Sprintf("%s at replica %d: %v", what, o.replica, o.outcome)
}

// mayStore reports whether a sign-in or a refresh may have stored a token.
func (o *operation) mayStore() bool { return o.outcome != refused || o.late || o.again > 0 }

// never is later than all other times. A failed operation may take effect until then.
const never = int64(1) << 62

// forChecker returns the operation in the form that the checker needs. An operation
// with an unknown outcome may take effect at any later time. A validation may see a
// state that is older by the leeway.
func (o *operation) forChecker(leeway int64) porcupine.Operation {
	p := porcupine.Operation{ClientId: o.worker, Input: o, Output: o.outcome, Call: o.call, Return: o.answer}
	if o.outcome == unknown {
		p.Return = never
	}
	if o.kind == op.Validate && o.outcome == done {
		p.Call -= leeway
	}
	return p
}
