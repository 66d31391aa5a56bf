package history

import (
	"fmt"

	"github.com/anishathalye/porcupine"

	"github.com/bearerkit/bearerkit/examples/torture/internal/op"
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
	token   int // number of the token, from 1; 0 for none

	outcome      outcome
	call, answer int64
	// late is whether the user was changed during a refused sign-in. Then the sign-in
	// may have stored its token first.
	late bool
}

// A slot is a user at a client. Operations on all slots of a user have the client
// allClients.
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
