package history

import (
	"slices"
	"testing"
	"time"

	"github.com/bearerkit/bearerkit/examples/torture/internal/host"
	"github.com/bearerkit/bearerkit/examples/torture/internal/op"
)

func TestKeyModelSteps(t *testing.T) {
	t.Parallel()
	none, one, two := keyRegister{}, keyRegister{1}, keyRegister{2}
	for _, test := range []struct {
		name  string
		from  keyRegister
		kind  op.Kind
		is    outcome
		found bool
		named int
		to    []keyRegister
	}{
		{"a key is made", none, op.CreateKey, done, false, 1, []keyRegister{one}},
		{"a key is valid", one, op.ValidateKey, done, false, 0, []keyRegister{one}},
		{"a key is not refused", one, op.ValidateKey, refused, false, 0, nil},
		{"an ended key is refused", none, op.ValidateKey, refused, false, 0, []keyRegister{none}},
		{"an ended key is not valid", none, op.ValidateKey, done, false, 0, nil},
		{"a revocation ends the key", one, op.RevokeKey, done, false, 0, []keyRegister{none}},
		{"a revocation found the key", one, op.RevokeKey, done, true, 0, []keyRegister{one}},
		{"a revocation does not find an ended key", none, op.RevokeKey, done, true, 0, nil},
		{"a refused revocation finds no key", none, op.RevokeKey, refused, false, 0, []keyRegister{none}},
		{"a revocation of a key is not refused", one, op.RevokeKey, refused, false, 0, nil},
		{"a failed revocation may have ended the key", one, op.RevokeKey, unknown, false, 0, []keyRegister{one, none}},
		{"a revocation of all keys ends the key", one, op.RevokeKeys, done, false, 0, []keyRegister{none}},
		{"a new name is kept", one, op.RenameKey, done, false, 2, []keyRegister{two}},
		{"a new name brings no key back", none, op.RenameKey, done, false, 2, []keyRegister{none}},
		{"a failed change may have changed the name", one, op.RenameKey, unknown, false, 2, []keyRegister{one, two}},
		{"a list has the name", two, op.ListKeys, done, false, 2, []keyRegister{two}},
		{"a list has no other name", two, op.ListKeys, done, false, 1, nil},
		{"a list leaves out no key", two, op.ListKeys, done, false, 0, nil},
		{"a list has no ended key", none, op.ListKeys, done, false, 1, nil},
	} {
		s := keyStep{&keyOperation{kind: test.kind, outcome: test.is}, test.found, test.named}
		if got := keySteps(test.from, s); !slices.Equal(got, test.to) {
			t.Errorf("%s: got %v, want %v", test.name, got, test.to)
		}
	}
}

// keyHistoryOf returns a history of user 0, who has key 1.
func keyHistoryOf() *keyHistory {
	return &keyHistory{plan: plan{users: 1}, max: 2, keys: []madeKey{{id: "key_1", roles: true}}}
}

// keyCall returns a call of replica 0 about key 1, which was done within a millisecond.
func keyCall(k op.Kind, n int64, is outcome) *keyOperation {
	return &keyOperation{kind: k, key: 1, outcome: is, call: at(n), answer: at(n + 1)}
}

// change n of the user is done at millisecond 10n by replica 1.
func keyChange(k op.Kind, n int, a host.Account) *keyOperation {
	o := keyCall(k, int64(10*n), done)
	o.key, o.replica, o.version, o.account = 0, 1, n, a
	return o
}

func validKey(n int64, replica, version int, has bool) *keyOperation {
	o := keyCall(op.ValidateKey, n, done)
	o.replica, o.version, o.has = replica, version, has
	return o
}

func TestKeyHistories(t *testing.T) {
	t.Parallel()
	signIn := func(n int64, device byte, is outcome) *keyOperation {
		o := keyCall(op.SignIn, n, is)
		o.key, o.replica = 0, 1
		if is == done {
			o.slot.Client[0] = device
		}
		return o
	}
	made := func() *keyOperation {
		o := keyCall(op.CreateKey, 1, done)
		o.name, o.signIn = 1, signIn(-5, 1, done)
		return o
	}
	all := func(k op.Kind, n int64, replica int) *keyOperation {
		o := keyCall(k, n, done)
		o.key, o.replica = 0, replica
		return o
	}
	shut := func(n int) *keyOperation { return keyChange(op.Disable, n, host.Account{Disabled: true}) }
	open := func(n int) *keyOperation { return keyChange(op.Enable, n, host.Account{}) }
	taken := func(n int) *keyOperation { return keyChange(op.TakeRole, n, host.Account{Roleless: true}) }
	password := func(n int) *keyOperation { return keyChange(op.SetPassword, n, host.Account{}) }
	refusal := func(n int64) *keyOperation { return keyCall(op.ValidateKey, n, refused) }
	later := func(n int64, version int, is outcome, tooMany bool) *keyOperation {
		o := keyCall(op.CreateKey, n, is)
		o.key, o.name, o.version, o.tooMany = 0, int(n), version, tooMany
		o.signIn = signIn(int64(10*version)+2, 1, done) // after the change
		return o
	}
	list := func(n int64, id string, name int) *keyOperation {
		o := all(op.ListKeys, n, 0)
		o.listed = map[string]int{id: name}
		return o
	}
	const lag = 8 // milliseconds
	for _, test := range []struct {
		name           string
		then           []*keyOperation
		strict, cached int // violations
	}{
		{"a key is valid", []*keyOperation{validKey(5, 0, 0, true)}, 0, 0},
		{"a password change spares keys", []*keyOperation{password(1), validKey(15, 0, 1, true)}, 0, 0},
		{"a password change ends a key", []*keyOperation{password(1), refusal(15)}, 1, 1},
		{"a revocation of the user ends a key", []*keyOperation{all(op.RevokeUser, 5, 0), refusal(15)}, 1, 1},
		{"a disabled user's key is refused", []*keyOperation{shut(1), refusal(15)}, 0, 0},
		{"a disabled user's key is valid", []*keyOperation{shut(1), validKey(15, 0, 0, true)}, 1, 0},
		{"a disabled user's key is valid for too long", []*keyOperation{shut(1), validKey(25, 0, 0, true)}, 1, 1},
		{"a disabled user's key is valid at the replica that ended the sign-ins", []*keyOperation{shut(1), validKey(13, 1, 0, true)}, 1, 1},
		{"a disabled user's key is valid after its refusal", []*keyOperation{shut(1), refusal(12), validKey(15, 0, 0, true)}, 1, 1},
		{"an enabled user's key is valid", []*keyOperation{shut(1), refusal(15), open(2), validKey(25, 0, 2, true)}, 0, 0},
		{"an enabled user's key is refused", []*keyOperation{shut(1), open(2), refusal(25)}, 1, 1},
		{"during the change, both are right", []*keyOperation{shut(1), refusal(10), validKey(10, 2, 0, true)}, 0, 0},
		{"a role is lost", []*keyOperation{taken(1), validKey(15, 0, 1, false)}, 0, 0},
		{"a role is kept", []*keyOperation{taken(1), validKey(15, 0, 0, true)}, 1, 0},
		{"a role is kept for too long", []*keyOperation{taken(1), validKey(25, 0, 0, true)}, 1, 1},
		{"a key has another role than its owner", []*keyOperation{validKey(5, 0, 0, false)}, 1, 1},
		{"a revoked key is valid", []*keyOperation{keyCall(op.RevokeKey, 5, done), validKey(10, 1, 0, true)}, 1, 0},
		{"a revoked key is valid for too long", []*keyOperation{keyCall(op.RevokeKey, 5, done), validKey(20, 1, 0, true)}, 1, 1},
		{"a revoked key is valid at the same replica", []*keyOperation{keyCall(op.RevokeKey, 5, done), validKey(7, 0, 0, true)}, 1, 1},
		{"a revoked key is valid after its refusal", []*keyOperation{all(op.RevokeKeys, 5, 1), refusal(7), validKey(9, 0, 0, true)}, 1, 1},
		{"a failed revocation", []*keyOperation{keyCall(op.RevokeKey, 5, unknown), validKey(7, 0, 0, true), refusal(15)}, 0, 0},
		{"a user who changed makes a key", []*keyOperation{password(1), later(15, 0, done, false)}, 1, 1},
		{"a user who changes makes a key", []*keyOperation{password(1), later(10, 0, done, false)}, 0, 0},
		{"a user who changed makes no key", []*keyOperation{password(1), later(15, 0, refused, false)}, 0, 0},
		{"a user who did not change makes no key", []*keyOperation{password(1), later(15, 1, refused, false)}, 1, 1},
		{"a sign-in that was revoked makes a key", []*keyOperation{all(op.RevokeUser, 5, 1), later(15, 0, done, false)}, 1, 1},
		{"a sign-in that was revoked makes no key", []*keyOperation{all(op.RevokeUser, 5, 1), later(15, 0, refused, false)}, 0, 0},
		{"a sign-in that is being revoked makes a key", []*keyOperation{all(op.RevokeUser, 15, 1), later(15, 0, done, false)}, 0, 0},
		{"a sign-in that is being revoked makes no key", []*keyOperation{all(op.RevokeUser, 15, 1), later(15, 0, refused, false)}, 0, 0},
		{"a sign-in from after a revocation makes no key", []*keyOperation{all(op.RevokeUser, 0, 1), later(15, 0, refused, false)}, 1, 1},
		{"a sign-in that was replaced makes a key", []*keyOperation{signIn(5, 1, done), later(15, 0, done, false)}, 1, 1},
		{"a sign-in that was replaced makes no key", []*keyOperation{signIn(5, 1, done), later(15, 0, refused, false)}, 0, 0},
		{"a sign-in beside another one makes a key", []*keyOperation{signIn(5, 2, done), later(15, 0, done, false)}, 0, 0},
		{"a sign-in beside another one makes no key", []*keyOperation{signIn(5, 2, done), later(15, 0, refused, false)}, 1, 1},
		{"a sign-in that may have been replaced makes a key", []*keyOperation{signIn(5, 1, unknown), later(15, 0, done, false)}, 0, 0},
		{"a sign-in that may have been replaced makes no key", []*keyOperation{signIn(5, 1, unknown), later(15, 0, refused, false)}, 0, 0},
		{"a sign-in that may be replaced late makes no key", []*keyOperation{signIn(-3, 1, unknown), later(15, 0, refused, false)}, 0, 0},
		{"a sign-in whose client was revoked makes no key", []*keyOperation{all(op.RevokeClient, 5, 1), later(15, 0, refused, false)}, 0, 0},
		{"a user with one key has too many", []*keyOperation{later(15, 0, refused, true)}, 1, 1},
		{"a user with two keys has too many", []*keyOperation{later(5, 0, done, false), later(15, 0, refused, true)}, 0, 0},
		{"a list", []*keyOperation{list(5, "key_1", 1)}, 0, 0},
		{"a list has a refused key", []*keyOperation{password(1), later(15, 0, refused, false), list(20, "key_2", 15)}, 2, 2}, // key 1 is missing
		{"a list has a key that is being refused", []*keyOperation{all(op.RevokeKeys, 3, 0), password(1), later(15, 0, refused, false), list(15, "key_2", 15)}, 0, 0},
	} {
		for leeway, want := range map[int64]int{0: test.strict, at(lag): test.cached} {
			h := keyHistoryOf()
			operations := append([]*keyOperation{made()}, test.then...)
			if v := h.check(operations, leeway); len(v.broken) != want {
				t.Errorf("%s, with a leeway of %v: got the violations %q, want %d", test.name, time.Duration(leeway), v.broken, want)
			}
		}
	}
}
