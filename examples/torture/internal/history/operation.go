package history

import (
	"fmt"

	"github.com/anishathalye/porcupine"

	"github.com/bearerkit/bearerkit/examples/torture/internal/op"
)

// An outcome is what the caller was told.
type outcome int

const (
	done    outcome = iota // issued, good, revoked
	refused                // rejected credentials, a token that is not good
	unknown                // trouble: it may have been done, or may be yet
)

func (o outcome) String() string { return [...]string{"done", "refused", "unknown"}[o] }

// An operation is one call of a Service, and what came of it. Times are
// nanoseconds since the history began.
type operation struct {
	kind    op.Kind
	worker  int
	replica int
	slot    slot
	token   int // which one, from 1 on; 0 for none

	outcome      outcome
	call, answer int64
	// late is whether a sign-in that was refused may have stored its token
	// first: the user changed meanwhile.
	late bool
}

// A slot is a user at a client. RevokeUser and changes of the user have the
// client allClients.
type slot struct{ user, client int }

const allClients = -1

func (o *operation) String() string {
	what := fmt.Sprintf("%v user %d", o.kind, o.slot.user)
	if o.slot.client != allClients {
		what += fmt.Sprintf(" client %d", o.slot.client)
	}
	if o.token != 0 {
		what += fmt.Sprintf(" token %d", o.token)
	}
	return fmt.Sprintf("%s at replica %d: %v", what, o.replica, o.outcome)
}

// never is later than everything: when the effect of what failed may come.
const never = int64(1) << 62

// forChecker returns the operation as one of a slot's history. Whatever may
// have been done may be done at any time later. A validation from a cache may
// be as of the lease before it.
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
