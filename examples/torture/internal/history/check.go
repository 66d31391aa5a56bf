package history

import (
	"fmt"
	"slices"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/bearerkit/bearerkit/examples/torture/internal/op"
)

// A verdict is the result of checking a history.
type verdict struct {
	broken    []string                     // violations
	undecided bool                         // the checker ran out of time
	info      *porcupine.LinearizationInfo // of a history that is not linearizable
}

// patience is the maximum time to check a history of one slot.
const patience = 20 * time.Second

// check checks a history against the model. With a leeway of zero the history must be
// linearizable. Otherwise a validation may see a state that is older by the leeway.
// But a replica that refused or ended a token must not accept it again.
func (h *history) check(operations []*operation, leeway time.Duration) (v verdict) {
	v.broken = append(v.broken, h.accepted...)
	v.broken = append(v.broken, rejectedForNothing(operations)...)
	if leeway > 0 {
		v.broken = append(v.broken, revived(operations)...)
	}
	for user := range h.users {
		for client := range h.clients {
			s := slot{user, client}
			result, info := porcupine.CheckOperationsVerbose(model, historyOf(operations, s, int64(leeway)), patience)
			switch result {
			case porcupine.Illegal:
				v.broken = append(v.broken, fmt.Sprintf("user %d client %d: not linearizable", user, client))
				v.info = &info
			case porcupine.Unknown:
				v.undecided = true
			}
		}
	}
	return v
}

// historyOf returns the operations on a slot, as the checker needs them.
func historyOf(operations []*operation, s slot, leeway int64) (part []porcupine.Operation) {
	for _, o := range operations {
		if o.kind == op.Validate && o.outcome == unknown {
			continue // a validation without a result proves nothing
		}
		if o.slot.user == s.user && (o.slot.client == s.client || o.slot.client == allClients) {
			part = append(part, o.forChecker(leeway))
		}
	}
	return part
}

// rejectedForNothing finds refused sign-ins with the right password of users who were
// enabled all the time.
func rejectedForNothing(operations []*operation) (broken []string) {
	for _, o := range operations {
		if o.kind == op.SignIn && o.outcome == refused && !o.late && !maybeDisabled(operations, o) {
			broken = append(broken, fmt.Sprintf("%v, although the user was not disabled", o))
		}
	}
	return broken
}

// soon is the time within which a validation fails for another reason than a busy
// storage. A busy storage makes it fail after [tokenauth.Options.Timeout], which is
// longer.
const soon = time.Second

// failedForNothing finds validations that failed at once. Call it only for histories
// without faults.
func failedForNothing(operations []*operation) (broken []string) {
	for _, o := range operations {
		if o.kind == op.Validate && o.outcome == unknown && time.Duration(o.answer-o.call) < soon {
			broken = append(broken, fmt.Sprintf("%v, although there was no fault", o))
		}
	}
	return broken
}

// maybeDisabled reports whether the user may have been disabled when the operation
// began. That is so if the user was disabled before, and no call that began after
// that enabled the user again.
func maybeDisabled(operations []*operation, o *operation) bool {
	before := func(c *operation, k op.Kind) bool {
		return c.kind == k && c.slot.user == o.slot.user && c.answer < o.call
	}
	return slices.ContainsFunc(operations, func(shut *operation) bool {
		return before(shut, op.Disable) && !slices.ContainsFunc(operations, func(c *operation) bool {
			return before(c, op.Enable) && c.call > shut.answer
		})
	})
}

// revived finds tokens that a replica accepted after the same replica had refused or
// ended them.
func revived(operations []*operation) (broken []string) {
	for _, o := range operations {
		if o.kind != op.Validate || o.outcome != done {
			continue
		}
		i := slices.IndexFunc(operations, func(before *operation) bool {
			if before.replica != o.replica || before.answer >= o.call {
				return false
			}
			if before.token == o.token {
				return before.kind == op.Validate && before.outcome == refused || before.kind == op.Revoke && before.outcome == done
			}
			return false
		})
		if i >= 0 {
			broken = append(broken, fmt.Sprintf("%v, after this at the same replica: %v", o, operations[i]))
			continue
		}
		if end := endedHere(operations, o); end != nil {
			broken = append(broken, fmt.Sprintf("%v, after this at the same replica: %v", o, end))
		}
	}
	return broken
}

// endedHere returns the operation that ended the token at the validation's replica, or
// nil. It is a sign-in in the same slot or a revocation of the user. It began after
// the token was issued, and was done before the validation.
func endedHere(operations []*operation, o *operation) *operation {
	i := slices.IndexFunc(operations, func(issue *operation) bool { return issue.kind == op.SignIn && issue.token == o.token })
	for _, c := range operations {
		if c.replica != o.replica || c.outcome != done || c.call <= operations[i].answer || c.answer >= o.call {
			continue
		}
		if c.kind == op.SignIn && c.slot == o.slot || c.kind == op.RevokeUser && c.slot.user == o.slot.user {
			return c
		}
	}
	return nil
}
