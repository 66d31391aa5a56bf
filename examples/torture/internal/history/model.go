package history

import (
	"fmt"

	"github.com/anishathalye/porcupine"

	"github.com/bearerkit/bearerkit/examples/torture/internal/op"
)

// A register is the model's state of a slot. Token is the valid token, or 0 if there
// is none, or unreceived. Disabled is whether the user is disabled.
//
// SignIn is the sign-in to which the token and its refresh token belong, as in
// [operation], and used has the latest rotations of the sign-in, the latest first. A
// register without a sign-in has no refresh token.
type register struct {
	token    int
	disabled bool
	signIn   int
	used     [known]rotation
}

// unreceived stands for a token that a sign-in or a refresh stored, and no client
// received.
const unreceived = -1

// model states the promise: a slot holds one token, the last one issued, until it is
// revoked, or ended by a sign-in on another device ([history.endings]). A refresh token
// ends with its token, and with its second use ([register.refreshed]). It models one
// slot. A call for several slots may take effect at a different instant in each of them.
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
		text := fmt.Sprintf("token %d", r.token)
		if r.signIn != 0 {
			text += fmt.Sprintf(" of sign-in %d", r.signIn)
		}
		for _, used := range r.used {
			if used.pair != 0 {
				text += fmt.Sprintf(", after %d", used.pair)
			}
		}
		if r.disabled {
			text += ", disabled"
		}
		return text
	},
}).ToModel()

// step returns the possible registers after the operation. It returns none if the
// operation's outcome is impossible.
func step(r register, o *operation) []register {
	emptied := register{disabled: r.disabled}
	switch o.kind {
	case op.SignIn:
		switch {
		case o.ending != nil:
			if o.ending[r.token] {
				return []register{r, emptied}
			}
			return []register{r}
		case o.first, o.outcome == unknown, o.outcome == refused && o.late:
			return []register{r, emptied, {token: unreceived, disabled: r.disabled}}
		case o.outcome == refused:
			return []register{r}
		case r.disabled:
			return nil
		}
		return []register{{token: o.token, disabled: r.disabled, signIn: o.signIn}}
	case op.Validate:
		switch valid := r.token == o.token; {
		case o.outcome == unknown, valid == (o.outcome == done):
			return []register{r}
		}
		return nil
	case op.Revoke:
		if r.token != o.token {
			return []register{r}
		}
	case op.RevokeDevice:
		if o.found || o.outcome == refused {
			if o.found == (r.token == 0) {
				return nil
			}
			return []register{r}
		}
	case op.Refresh:
		return r.refreshed(o)
	case op.RevokeRefresh:
		if r.signIn != o.signIn {
			return []register{r}
		}
	case op.RevokeOthers:
		if r.token == o.token || r.signIn != 0 && r.signIn == o.signIn {
			return []register{r}
		}
	case op.List:
		if r.token != o.token || o.outcome == refused {
			return nil
		}
		return []register{r}
	case op.RevokeUser, op.RevokeClient:
	case op.Disable, op.Enable:
		r.disabled = o.kind == op.Disable
		return []register{r}
	}
	switch o.outcome {
	case unknown:
		return []register{r, emptied}
	case refused:
		return nil
	}
	return []register{emptied}
}
