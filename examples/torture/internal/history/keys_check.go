package history

import (
	"fmt"
	"slices"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/bearerkit/bearerkit/examples/torture/internal/host"
	"github.com/bearerkit/bearerkit/examples/torture/internal/op"
)

// check checks a history of API keys. With a leeway of zero, the history of each key must
// be linearizable, and each validation must show its owner as the owner is.
// Otherwise a validation may see a state that is older by the leeway.
func (h *keyHistory) check(operations []*keyOperation, leeway int64) (v verdict) {
	owners := h.versions(operations)
	v.broken = slices.Concat(h.broken, h.misjudged(operations, owners, leeway), h.failedForNothing(operations), h.wronglyMade(operations, owners), h.wronglyBounded(operations), h.wronglyListed(operations))
	for key := range h.keys {
		switch result, info := porcupine.CheckOperationsVerbose(keyModel, h.stepsOf(operations, owners, key+1, leeway), patience); result {
		case porcupine.Illegal:
			v.broken = append(v.broken, fmt.Sprintf("key %d of user %d: not linearizable", key+1, h.keys[key].user))
			v.model, v.info = &keyModel, &info
		case porcupine.Unknown:
			v.undecided = true
		}
	}
	if n := len(v.broken); n > mostBroken {
		v.broken = append(v.broken[:mostBroken-1], fmt.Sprintf("and %d more violations", n-mostBroken+1))
	}
	return v
}

// mostBroken is the maximum number of violations to report of a history. A key that
// outlives its owner is one at each of its uses.
const mostBroken = 5

// A version is the state of a user between two changes. A call may see it from its begin
// until its end. The host changes its own table first, and then revokes the user's
// tokens. So until that is done, the version before is seen, too.
type version struct {
	host.Account
	from, until int64
}

// versions returns the versions of each user, as [host.Account.Changes] numbers them.
func (h *keyHistory) versions(operations []*keyOperation) [][]version {
	users := make([][]version, h.users)
	for user := range users {
		versions := []version{{from: -never}}
		var changes []*keyOperation
		for _, o := range operations {
			if o.user == user && o.isChange() {
				changes = append(changes, o)
			}
		}
		slices.SortFunc(changes, func(a, b *keyOperation) int { return a.version - b.version })
		for _, o := range changes {
			versions = append(versions, version{Account: o.account, from: o.call})
		}
		until := never
		for i := len(changes); i >= 0; i-- {
			versions[i].until = until
			if i > 0 && changes[i-1].outcome == done {
				until = min(until, changes[i-1].answer)
			}
		}
		users[user] = versions
	}
	return users
}

func (o *keyOperation) isChange() bool {
	switch o.kind {
	case op.Disable, op.Enable, op.TakeRole, op.GiveRole, op.SetPassword:
		return true
	}
	return false
}

// mayBeDisabled reports whether a call may have seen its user disabled.
func mayBeDisabled(versions []version, o *keyOperation) bool {
	return slices.ContainsFunc(versions, func(v version) bool {
		return v.Disabled && v.from <= o.answer && v.until >= o.call
	})
}

// misjudged finds accepted validations that show another state of the owner than the
// owner had.
func (h *keyHistory) misjudged(operations []*keyOperation, owners [][]version, leeway int64) (broken []string) {
	for _, o := range operations {
		if o.kind != op.ValidateKey || o.outcome != done {
			continue
		}
		versions := owners[o.user]
		if o.version < 0 || o.version >= len(versions) {
			broken = append(broken, fmt.Sprintf("%v, with version %d of the user, who has %d", o, o.version, len(versions)))
			continue
		}
		v := versions[o.version]
		from := seesOwner(operations, o, leeway)
		change := changedHere(operations, o)
		switch wants := h.keys[o.key-1].roles && !v.Roleless; {
		case change != nil:
			broken = append(broken, fmt.Sprintf("%v, with an earlier version of the user than that of this at the same replica: %v", o, change))
		case v.from > o.answer || v.until < from:
			broken = append(broken, fmt.Sprintf("%v, with a version of the user that had ended %d ms before (disabled: %t, without the role: %t)", o, (o.call-v.until)/1e6, v.Disabled, v.Roleless))
		case v.Disabled:
			broken = append(broken, fmt.Sprintf("%v, although the user was disabled", o))
		case o.has != wants:
			broken = append(broken, fmt.Sprintf("%v with the role: %t, want %t", o, o.has, wants))
		}
	}
	return broken
}

// failedForNothing finds validations that failed at once without a fault, while the owner
// did not change. A change can make the look-up of the owner fail.
func (h *keyHistory) failedForNothing(operations []*keyOperation) (broken []string) {
	for _, o := range operations {
		if h.faulty || o.kind != op.ValidateKey || o.outcome != unknown || time.Duration(o.answer-o.call) >= soon {
			continue
		}
		if !slices.ContainsFunc(operations, func(c *keyOperation) bool {
			return c.isChange() && c.user == o.user && c.call <= o.answer && c.answer >= o.call
		}) {
			broken = append(broken, fmt.Sprintf("%v, although there was no fault", o))
		}
	}
	return broken
}

// wronglyMade finds keys that were made after the sign-in had ended or the user had
// changed, and keys that were refused although neither can have happened.
func (h *keyHistory) wronglyMade(operations []*keyOperation, owners [][]version) (broken []string) {
	for _, o := range operations {
		if o.kind != op.CreateKey {
			continue
		}
		versions := owners[o.user]
		v := versions[o.version]
		switch last := o.version == len(versions)-1; {
		case o.outcome == done && v.until < o.call:
			broken = append(broken, fmt.Sprintf("%v, although the user changed after the sign-in", o))
		case o.outcome == done && h.signInEnded(operations, o, true):
			broken = append(broken, fmt.Sprintf("%v, although the sign-in had ended", o))
		case o.outcome == refused && !o.tooMany && (last || versions[o.version+1].from > o.answer) && !h.signInEnded(operations, o, false):
			broken = append(broken, fmt.Sprintf("%v, although the user did not change after the sign-in, which did not end", o))
		}
	}
	return broken
}

// signInEnded reports whether the sign-in of the operation that makes a key ended before it
// began. If surely is false, it reports whether the sign-in may have ended before the
// answer.
func (h *keyHistory) signInEnded(operations []*keyOperation, o *keyOperation, surely bool) bool {
	return slices.ContainsFunc(operations, func(c *keyOperation) bool {
		switch {
		case c == o.signIn:
			return false
		case c.kind == op.RevokeClient && !surely: // it may be that of the sign-in
		case c.user != o.user:
			return false
		case c.kind == op.RevokeUser, c.isChange():
		case c.kind != op.SignIn:
			return false
		case c.outcome == done && c.slot != o.signIn.slot && (surely || !h.devices): // the bound on devices may end the sign-in
			return false
		}
		if surely {
			return c.outcome == done && c.call > o.signIn.answer && c.answer < o.call
		}
		// A call that failed may take effect at any time. A change repeats those that failed.
		late := c.outcome == unknown || h.faulty && c.isChange()
		return (late || c.answer >= o.signIn.call) && c.call <= o.answer
	})
}

// wronglyBounded finds users who could not make a key although they had fewer keys than
// they may have.
func (h *keyHistory) wronglyBounded(operations []*keyOperation) (broken []string) {
	for _, o := range operations {
		if !o.tooMany {
			continue
		}
		n := 0
		for _, made := range operations {
			if made.kind == op.CreateKey && made != o && made.user == o.user && made.call < o.answer && h.mayBeStored(operations, made, o) {
				n++
			}
		}
		if n < h.max {
			broken = append(broken, fmt.Sprintf("%v, because of too many keys: the user may have had %d, want %d or more", o, n, h.max))
		}
	}
	return broken
}

// mayBeStored reports whether the key that was made may have been stored when o began,
// or later. A key that no client received is removed, which may fail.
func (h *keyHistory) mayBeStored(operations []*keyOperation, made, o *keyOperation) bool {
	if made.outcome != done && !h.faulty && made.answer < o.call {
		return false
	}
	return !slices.ContainsFunc(operations, func(c *keyOperation) bool {
		ends := c.kind == op.RevokeKeys && c.user == made.user || c.kind == op.RevokeKey && c.key == made.key && made.key != 0
		return ends && c.outcome == done && c.call > made.answer && c.answer < o.call
	})
}

// wronglyListed finds listed keys that are another user's, or that were not made.
func (h *keyHistory) wronglyListed(operations []*keyOperation) (broken []string) {
	owners, creates := make(map[string]int), make(map[int]*keyOperation)
	for _, k := range h.keys {
		owners[k.id] = k.user
	}
	for _, o := range operations {
		if o.kind == op.CreateKey {
			creates[o.name] = o
		}
	}
	for _, o := range operations {
		for id, name := range o.listed {
			owner, received := owners[id]
			made := creates[name]
			switch {
			case received && owner != o.user:
				broken = append(broken, fmt.Sprintf("%v, with a key of user %d", o, owner))
			case received:
			case made == nil || made.user != o.user || made.outcome == done:
				broken = append(broken, fmt.Sprintf("%v, with a key that was not made, with name %d", o, name))
			case made.answer < o.call && !h.faulty:
				broken = append(broken, fmt.Sprintf("%v, with the key of this: %v", o, made))
			}
		}
	}
	return broken
}
