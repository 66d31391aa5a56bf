package history

import (
	"fmt"

	"github.com/anishathalye/porcupine"

	"github.com/bearerkit/bearerkit/examples/torture/internal/op"
)

// A register is what the model knows of a slot: the token that is good there,
// 0 for none or one that nobody got, and whether its user may sign in.
type register struct {
	token    int
	disabled bool
}

// model is the promise: a slot holds one token, the last that was issued, until
// it is revoked. It is about one slot; a call that is about all slots of a user
// happens to each of them, not to all at one instant.
var model = (&porcupine.NondeterministicModel{
	Init: func() []any { return []any{register{}} },
	Step: func(state, input, _ any) []any {
		var next []any
		for _, r := range step(state.(register), input.(*operation)) {
			next = append(next, r)
		}
		return next
	},
	DescribeOperation: func(input, _ any) string { return input.(*operation).String() },
	DescribeState: func(state any) string {
		r := state.(register)
		if r.disabled {
			return fmt.Sprintf("token %d, disabled", r.token)
		}
		return fmt.Sprintf("token %d", r.token)
	},
}).ToModel()

// step returns what the register may be after the operation; nothing if it
// cannot have come out as it did.
func step(r register, o *operation) []register {
	emptied := register{disabled: r.disabled}
	switch o.kind {
	case op.SignIn:
		switch {
		case o.outcome == unknown, o.outcome == refused && o.late:
			return []register{r, emptied} // what it stored nobody got
		case o.outcome == refused:
			return []register{r}
		case r.disabled:
			return nil
		}
		return []register{{token: o.token, disabled: r.disabled}}
	case op.Validate:
		switch good := r.token == o.token; {
		case o.outcome == unknown, good == (o.outcome == done):
			return []register{r}
		}
		return nil
	case op.Revoke:
		if r.token != o.token {
			return []register{r}
		}
	case op.RevokeUser:
	case op.Disable, op.Enable:
		return []register{{token: r.token, disabled: o.kind == op.Disable}}
	}
	if o.outcome == unknown {
		return []register{r, emptied}
	}
	return []register{emptied}
}
