package history

import (
	"slices"
	"testing"
	"time"

	"github.com/bearerkit/bearerkit/examples/torture/internal/op"
	"github.com/bearerkit/bearerkit/tokenauth"
)

// millisecond n of the histories of these tests.
func at(n int64) int64 { return n * int64(time.Millisecond) }

// signInAt returns a sign-in of user 0 at client 0 that was done within a millisecond.
// Its token has the same number as the millisecond.
func signInAt(h *history, n int64, device int) *operation {
	return &operation{
		kind: op.SignIn, slot: slot{device: device}, token: int(n), call: at(n), answer: at(n + 1),
		stored: tokenauth.Token{Digest: tokenauth.Digest{byte(n)}, IssuedAt: h.began.Add(time.Duration(at(n))), Slot: tokenauth.Slot{Client: tokenauth.ClientKey{byte(device)}}},
	}
}

func newDeviceHistory() *history {
	return &history{plan: plan{users: 1, clients: 1}, max: 2, began: time.Unix(1000, 0)}
}

// A sign-in may end a token only if the user may have had h.max newer ones at the
// client.
func TestSignInMayEndOnlyTokensBeyondTheBound(t *testing.T) {
	t.Parallel()
	h := newDeviceHistory()
	one, two, three := signInAt(h, 10, 1), signInAt(h, 20, 2), signInAt(h, 30, 3)
	ended := func(o operation) *operation {
		o.call, o.answer = at(25), at(26)
		return &o
	}
	other := signInAt(h, 20, 2)
	other.slot.client = 1
	failed := *two
	failed.outcome = unknown
	for _, test := range []struct {
		name   string
		before []*operation
		ends   []int // tokens that the sign-in "three" may end
	}{
		{"within the bound", []*operation{one}, nil},
		{"the oldest of three", []*operation{one, two}, []int{10}},
		{"in the same slot", []*operation{one, signInAt(h, 20, 3)}, nil},
		{"at another client", []*operation{one, other}, nil},
		{"one was revoked before", []*operation{one, two, ended(operation{kind: op.Revoke, token: 20, slot: two.slot})}, nil},
		{"one was refused before", []*operation{one, two, ended(operation{kind: op.Validate, outcome: refused, token: 20, slot: two.slot})}, nil},
		{"all but the oldest were revoked before", []*operation{one, two, ended(operation{kind: op.RevokeOthers, token: 10, slot: slot{0, all, all}})}, nil},
		{"a revocation failed before", []*operation{one, two, ended(operation{kind: op.Revoke, outcome: unknown, token: 20, slot: two.slot})}, []int{10}},
		{"a failed sign-in may have stored a token", []*operation{one, &failed}, []int{10}},
	} {
		operations := append(slices.Clone(test.before), three)
		var ends []int
		for _, tokens := range h.endings(operations)[three] {
			for token := range tokens {
				if token != unreceived {
					ends = append(ends, token)
				}
			}
		}
		if !slices.Equal(ends, test.ends) {
			t.Errorf("%s: the sign-in may end the tokens %v, want %v", test.name, ends, test.ends)
		}
	}
}

func TestTokensBeyondTheBoundAreFound(t *testing.T) {
	t.Parallel()
	h := newDeviceHistory()
	var listed []tokenauth.Token
	for n := range int64(3) {
		o := signInAt(h, 10*n+10, int(n))
		h.keep(issuedToken{stored: o.stored, slot: o.slot})
		listed = append(listed, o.stored)
	}
	if h.judgeBound(&operation{kind: op.List, listed: listed[1:]}); len(h.broken) != 0 {
		t.Errorf("for two tokens got the violations %q, want none", h.broken)
	}
	if h.judgeBound(&operation{kind: op.List, listed: listed}); len(h.broken) != 1 {
		t.Errorf("for three tokens got the violations %q, want one", h.broken)
	}
}

func TestSignInAloneEndsTheTokenUsedLongestAgo(t *testing.T) {
	t.Parallel()
	h := newDeviceHistory()
	one, two, three := signInAt(h, 10, 1).stored, signInAt(h, 20, 2).stored, signInAt(h, 30, 3)
	elsewhere := signInAt(h, 5, 4).stored
	elsewhere.ClientID = "another"
	used := one
	used.LastSeen = h.began.Add(25 * time.Millisecond)
	for _, test := range []struct {
		name          string
		before, after []tokenauth.Token
		broken        int
	}{
		{"the oldest ends", []tokenauth.Token{one, two, elsewhere}, []tokenauth.Token{two, three.stored, elsewhere}, 0},
		{"the newest ends", []tokenauth.Token{one, two}, []tokenauth.Token{one, two}, 1},
		{"another ends", []tokenauth.Token{one, two}, []tokenauth.Token{one, three.stored}, 1},
		{"none ends", []tokenauth.Token{one, two}, []tokenauth.Token{one, two, three.stored}, 1},
		{"too many end", []tokenauth.Token{one, two}, []tokenauth.Token{three.stored}, 1},
		{"that of another client ends", []tokenauth.Token{one, elsewhere}, []tokenauth.Token{one, three.stored}, 1},
		{"one was used since", []tokenauth.Token{used, two}, []tokenauth.Token{used, three.stored}, 0},
	} {
		h.broken = nil
		h.judgeAlone(&operation{listed: test.before}, three, &operation{listed: test.after})
		if len(h.broken) != test.broken {
			t.Errorf("%s: got the violations %q, want %d", test.name, h.broken, test.broken)
		}
	}
}

// If its first token does not look newer than the others, a sign-in stores another one.
// Then its user may have changed.
func TestRefusedSignInMayStoreTwoTokens(t *testing.T) {
	t.Parallel()
	for _, late := range []bool{true, false} {
		h := newDeviceHistory()
		unreceivedToken := func(n byte) tokenauth.Token {
			return tokenauth.Token{Digest: tokenauth.Digest{n}, Principal: tokenauth.Principal{UserID: h.user(0)}, ClientID: h.clientID(0), Device: deviceIDs[3]}
		}
		everything := slot{client: all, device: all}
		list := func(call int64, tokens ...tokenauth.Token) *operation {
			return &operation{kind: op.List, slot: everything, call: at(call), answer: at(call + 1), listed: tokens}
		}
		one, two := signInAt(h, 30, 1), signInAt(h, 31, 2)
		for _, o := range []*operation{one, two} {
			o.token = h.keep(issuedToken{stored: o.stored, slot: o.slot})
		}
		v := h.check([]*operation{
			one, two,
			{kind: op.SignIn, slot: slot{device: 3}, outcome: refused, late: late, call: at(29), answer: at(60)},
			list(35, one.stored, two.stored, unreceivedToken(1)),
			{kind: op.RevokeUser, slot: everything, call: at(40), answer: at(41)},
			list(45, unreceivedToken(2)),
			list(70),
		}, 0)
		if late != (len(v.broken) == 0) {
			t.Errorf("user changed meanwhile: %t; got the violations %q, want some: %t", late, v.broken, !late)
		}
	}
}
