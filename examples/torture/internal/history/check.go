package history

import (
	"fmt"
	"slices"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/bearerkit/bearerkit/examples/torture/internal/op"
)

// A verdict is what became of checking a history.
type verdict struct {
	broken    []string                     // promises
	undecided bool                         // the checker ran out of time
	info      *porcupine.LinearizationInfo // of a history that is not linearizable
}

// patience is how long the checker may think about a history.
const patience = 20 * time.Second

// check holds a history against the model. With a leeway of zero it has to be
// linearizable. Otherwise a validation may be as of that much earlier, but a
// replica that has refused a token, or ended it, may not accept it any more.
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

// historyOf returns what happened to a slot.
func historyOf(operations []*operation, s slot, leeway int64) (part []porcupine.Operation) {
	for _, o := range operations {
		if o.kind == op.Validate && o.outcome == unknown {
			continue // it says nothing
		}
		if o.slot.user == s.user && (o.slot.client == s.client || o.slot.client == allClients) {
			part = append(part, o.forChecker(leeway))
		}
	}
	return part
}

// rejectedForNothing finds sign-ins with the right password that were refused
// although their user could sign in all the while.
func rejectedForNothing(operations []*operation) (broken []string) {
	for _, o := range operations {
		if o.kind == op.SignIn && o.outcome == refused && !o.late && !maybeDisabled(operations, o) {
			broken = append(broken, fmt.Sprintf("%v, and the user was not disabled", o))
		}
	}
	return broken
}

// soon is how soon a validation fails that does not wait for a storage that is
// busy. That takes the Service's Timeout, which is longer.
const soon = time.Second

// failedForNothing finds validations that failed at once. There must be no fault.
func failedForNothing(operations []*operation) (broken []string) {
	for _, o := range operations {
		if o.kind == op.Validate && o.outcome == unknown && time.Duration(o.answer-o.call) < soon {
			broken = append(broken, fmt.Sprintf("%v, and there was no fault", o))
		}
	}
	return broken
}

// maybeDisabled reports whether the user may have been disabled when the
// operation began: somebody disabled it, and nobody is sure to have enabled it
// after that.
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

// revived finds tokens that a replica accepted after it had refused them, or
// had itself ended them.
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

// endedHere finds the sign-in or the revocation of the user that was begun
// after the token was there, and done at the same replica before the
// validation.
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
