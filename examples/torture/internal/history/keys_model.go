package history

import (
	"fmt"
	"slices"

	"github.com/anishathalye/porcupine"

	"github.com/bearerkit/bearerkit/examples/torture/internal/op"
)

// A keyRegister is the model's state of an API key. Name is the number of its name, or 0
// if the key was not made yet or has ended.
type keyRegister struct{ name int }

// A keyStep is an operation on a key, or a part of one.
type keyStep struct {
	*keyOperation
	found bool // the part of a change of a key that finds the key
	name  int  // the number of the name of the key in a list, or of its new name
}

// keyModel states the promise about one key: it lives from Create until it is revoked.
// Sign-ins and changes of the user are not steps of this model, because they keep the key.
// The roles of the owner are another promise ([keyHistory.misjudged]).
var keyModel = (&porcupine.NondeterministicModel{
	Init: func() []any { return []any{keyRegister{}} },
	Step: func(state, input, _ any) []any {
		var next []any
		for _, r := range keySteps(state.(keyRegister), input.(keyStep)) {
			next = append(next, r)
		}
		return next
	},
	DescribeOperation: func(input, _ any) string {
		s := input.(keyStep)
		if s.found {
			return "the key is found: " + s.String()
		}
		return s.String()
	},
	DescribeState: func(state any) string {
		if n := state.(keyRegister).name; n != 0 {
			return fmt.Sprintf("valid, name %d", n)
		}
		return "none"
	},
}).ToModel()

// keySteps returns the possible registers after the operation. It returns none if the
// operation's outcome is impossible.
func keySteps(r keyRegister, s keyStep) []keyRegister {
	is := func(possible bool) []keyRegister {
		if possible {
			return []keyRegister{r}
		}
		return nil
	}
	var next keyRegister
	switch {
	case s.found:
		return is(r.name != 0)
	case s.outcome == refused:
		return is(r.name == 0)
	case s.kind == op.ValidateKey:
		return is(r.name != 0)
	case s.kind == op.ListKeys:
		return is(r.name == s.name)
	case s.kind == op.CreateKey:
		next.name = s.name
	case s.kind == op.RenameKey && r.name != 0:
		next.name = s.name
	}
	if s.outcome == unknown {
		return []keyRegister{r, next}
	}
	return []keyRegister{next}
}

// stepsOf returns the operations on a key as the checker needs them, and a description
// of each validation that contradicts what the host did to the owner. A revocation and a
// change of the name have two parts: they find the key, and then change it. A validation
// may see a state that is older by the leeway, unless the same replica has refused or
// ended the key since.
func (h *keyHistory) stepsOf(operations []*keyOperation, owners [][]version, key int, leeway int64) (steps []porcupine.Operation) {
	k := h.keys[key-1]
	add := func(s keyStep, call int64) {
		p := porcupine.Operation{ClientId: s.worker, Input: s, Call: call, Return: s.answer}
		if s.outcome == unknown {
			p.Return = never
		}
		steps = append(steps, p)
	}
	for _, o := range operations {
		ofAll := o.user == k.user && (o.kind == op.RevokeKeys || o.kind == op.ListKeys)
		if o.key != key && !ofAll {
			continue
		}
		s := keyStep{o, false, o.name}
		switch o.kind {
		case op.ListKeys:
			if o.outcome == done {
				s.name = o.listed[k.id]
				add(s, o.call)
			}
		case op.ValidateKey:
			switch {
			case o.outcome == done:
				add(s, seesKey(operations, owners, o, leeway))
			case o.outcome == refused && !mayBeDisabled(owners[o.user], o):
				add(s, o.call)
			}
		case op.RevokeKey, op.RenameKey:
			if o.outcome == done && !o.byText {
				found := s
				found.found = true
				add(found, o.call)
			}
			add(s, o.call)
		default:
			add(s, o.call)
		}
	}
	return steps
}

// seesKey returns the time of the earliest state of the key that a validation may see:
// that of the call, or one that is earlier by the leeway. But the replica must see what
// it did or saw itself before.
func seesKey(operations []*keyOperation, owners [][]version, o *keyOperation, leeway int64) int64 {
	from := o.call - leeway
	for _, c := range operations {
		if c.replica != o.replica || c.answer >= o.call || c.outcome == unknown {
			continue
		}
		switch {
		case c.kind == op.RevokeKey && c.key == o.key && c.outcome == done, c.kind == op.RevokeKeys && c.user == o.user:
			from = max(from, c.answer+1)
		case c.kind == op.ValidateKey && c.key == o.key && c.outcome == refused:
			if from = max(from, c.call); !mayBeDisabled(owners[o.user], c) {
				from = max(from, c.answer+1)
			}
		}
	}
	return from
}

// seesOwner is seesKey for the owner of the key. A replica that refused another key of
// the owner, which had not ended, has seen that the owner was disabled.
func seesOwner(operations []*keyOperation, o *keyOperation, leeway int64) int64 {
	from := o.call - leeway
	for _, c := range operations {
		if c.replica != o.replica || c.user != o.user || c.answer >= o.call || c.call <= from {
			continue
		}
		refusal := c.kind == op.ValidateKey && c.outcome == refused && (c.key == o.key || !mayHaveEnded(operations, c))
		revocation := (c.kind == op.RevokeUser || c.isChange()) && c.outcome == done
		if refusal || revocation {
			from = c.call
		}
	}
	return from
}

// mayHaveEnded reports whether the key of the call may have ended before its answer.
func mayHaveEnded(operations []*keyOperation, o *keyOperation) bool {
	return slices.ContainsFunc(operations, func(c *keyOperation) bool {
		ends := c.kind == op.RevokeKey && c.key == o.key || c.kind == op.RevokeKeys && c.user == o.user
		return ends && c.outcome != refused && c.call <= o.answer
	})
}

// changedHere returns a later change of the owner that the replica of the validation had
// done itself before, or nil.
func changedHere(operations []*keyOperation, o *keyOperation) *keyOperation {
	for _, c := range operations {
		if c.isChange() && c.replica == o.replica && c.user == o.user && c.outcome == done && c.answer < o.call && c.version > o.version {
			return c
		}
	}
	return nil
}
