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
	model     *porcupine.Model             // of that history
}

// patience is the maximum time to check a history of one slot.
const patience = 20 * time.Second

// check checks a history against the model. With a leeway of zero the history must be
// linearizable. Otherwise a validation may see a state that is older by the leeway.
// But a replica that refused or ended a token must not accept it again.
func (h *history) check(operations []*operation, leeway time.Duration) (v verdict) {
	v.broken = append(v.broken, h.broken...)
	v.broken = append(v.broken, h.prepareRefreshes(operations)...)
	v.broken = append(v.broken, rejectedForNothing(operations)...)
	if leeway > 0 {
		v.broken = append(v.broken, revived(operations)...)
	}
	v.broken = append(v.broken, h.wronglyListed(operations)...)
	endings := h.endings(operations)
	for _, s := range h.slots() {
		result, info := porcupine.CheckOperationsVerbose(model, h.historyOf(operations, endings, s, int64(leeway)), patience)
		switch result {
		case porcupine.Illegal:
			v.broken = append(v.broken, fmt.Sprintf("%v: not linearizable", s))
			v.model, v.info = &model, &info
		case porcupine.Unknown:
			v.undecided = true
		}
	}
	return v
}

// slots returns all slots of the history.
func (h *history) slots() (slots []slot) {
	devices := 1
	if h.max > 0 {
		devices = len(deviceIDs)
	}
	for user := range h.users {
		for client := range h.clients {
			for device := range devices {
				slots = append(slots, slot{user, client, device})
			}
		}
	}
	return slots
}

// historyOf returns the operations on a slot, as the checker needs them. A list is one
// of them. These have parts, which take effect at different instants:
//
//   - a sign-in that may have ended a token of the slot beyond the bound, or may have
//     stored two tokens, one after the other
//   - a RevokeDevice, because two of them may find the same token
//   - a refresh that heard that nothing was stored, although it was: it judged its refresh
//     token again, and others may have got the pair, and refreshed it, in between
//   - a refused refresh whose user was changed meanwhile, for the same reason
func (h *history) historyOf(operations []*operation, endings map[*operation]endings, s slot, leeway int64) (part []porcupine.Operation) {
	add := func(o operation) { // a part of an operation
		p := o.forChecker(leeway)
		p.ClientId += h.workers + 1 // it overlaps the operation itself
		part = append(part, p)
	}
	for _, o := range operations {
		piece := *o
		if piece.ending = endings[o][s]; piece.ending != nil {
			add(piece)
		}
		switch {
		case o.slot != s:
		case o.kind == op.RevokeDevice && o.outcome == done:
			piece.found = true
			add(piece)
		case o.kind == op.Refresh && (o.outcome == refused && o.mayStore() || o.again > 0):
			piece.first = true
			add(piece)
		case piece.ending[unreceived]: // a sign-in that may have stored two tokens
			piece.ending = map[int]bool{unreceived: true}
			add(piece)
			piece.ending, piece.first = nil, true
			add(piece)
		}
		switch {
		case !o.slot.covers(s):
		case (o.kind == op.Validate || o.kind == op.List) && o.outcome == unknown: // a call without a result proves nothing
		case o.kind == op.List:
			here := *o
			for _, t := range o.listed {
				if at, n := h.issuedAs(t); at == s {
					here.token = n
				}
			}
			part = append(part, here.forChecker(leeway))
		default:
			part = append(part, o.forChecker(leeway))
		}
	}
	return part
}

// wronglyListed finds listed tokens that are not the user's, and two in one slot.
func (h *history) wronglyListed(operations []*operation) (broken []string) {
	known := h.slots()
	for _, o := range operations {
		if o.kind != op.List {
			continue
		}
		seen := make(map[slot]bool)
		for _, t := range o.listed {
			s, _ := h.issuedAs(t)
			if seen[s] || !o.slot.covers(s) || !slices.Contains(known, s) {
				broken = append(broken, fmt.Sprintf("%v, with a second token of a slot, or one of another user, client or device: %v", o, s))
			}
			seen[s] = true
		}
	}
	return broken
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
		if end := endedHere(operations, o); end != nil {
			broken = append(broken, fmt.Sprintf("%v, after this at the same replica: %v", o, end))
		}
	}
	return broken
}

// endedHere returns the operation that refused or ended the token at the validation's
// replica, or nil. It began after the token was issued, and was done before the
// validation.
func endedHere(operations []*operation, o *operation) *operation {
	issue := issueOf(operations, o.token)
	for _, c := range operations {
		if c.replica == o.replica && c.call > issue.answer && c.answer < o.call && c.ends(issue) {
			return c
		}
	}
	return nil
}

// issueOf returns the first sign-in or refresh that returned the token.
func issueOf(operations []*operation, token int) (first *operation) {
	for _, o := range operations {
		issued := (o.kind == op.SignIn || o.kind == op.Refresh) && o.outcome == done && o.token == token
		if issued && (first == nil || o.answer < first.answer) {
			first = o
		}
	}
	return first
}
