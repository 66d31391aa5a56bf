package history

import (
	"slices"
	"testing"
	"time"

	"github.com/bearerkit/bearerkit/examples/torture/internal/op"
	"github.com/bearerkit/bearerkit/tokenauth"
)

// In these tests a sign-in issued pair 1, and was refreshed once a minute: pair 1 was
// replaced by pair 2, and so on. The grace is 10 seconds.
const lastPair = 7

func minute(n int) int64 { return int64(n) * int64(time.Minute) }

// refreshedSlot returns the register in minute lastPair-1, when the last pair was issued
// at replica 0.
func refreshedSlot() register {
	r := register{token: 1, signIn: 1}
	for n := 1; n < lastPair; n++ {
		r = r.rotated(&operation{presented: n, replaces: n + 1, from: minute(n), to: minute(n)})
	}
	return r
}

func TestModelStepsOfRefreshes(t *testing.T) {
	t.Parallel()
	const latest = lastPair - 1
	from := refreshedSlot()
	after := func(d time.Duration) int64 { return minute(latest) + int64(d) }
	// refresh returns a refresh some time after the last rotation, at replica 1.
	refresh := func(presented int, d time.Duration, answer outcome) operation {
		return operation{
			kind: op.Refresh, presented: presented, signIn: 1, replica: 1, outcome: answer, token: lastPair, replaces: presented + 1,
			from: after(d), to: after(d), refresh: &refreshing{grace: 10 * time.Second, off: none},
		}
	}
	with := func(o operation, change func(*operation)) operation {
		change(&o)
		return o
	}
	// brisk is a slot whose rotations were all in the last second.
	brisk := from
	for i := range brisk.used {
		brisk.used[i].from, brisk.used[i].to = after(-time.Second), after(-time.Second)
	}
	const second, gray = time.Second, 11 * time.Second
	current := refresh(lastPair, second, done)
	current.token = lastPair + 1
	next := from.rotated(&current)
	empty := register{}
	for _, test := range []struct {
		name string
		from register
		o    operation
		to   []register
	}{
		{"the current token replaces the pair", from, current, []register{next}},
		{"a disabled user gets no pair", register{token: 1, signIn: 1, disabled: true}, with(refresh(1, 0, done), func(o *operation) { o.token = 2 }), nil},
		{"the current token is not refused", from, refresh(lastPair, second, refused), nil},
		{"the current token of a changed user is refused", from, with(refresh(lastPair, second, refused), func(o *operation) { o.changed = true }), []register{from}},
		{"a failed refresh may have replaced the pair", from, refresh(lastPair, second, unknown), []register{from, next}},
		{"the refresh token of an ended sign-in is refused", empty, refresh(latest, second, refused), []register{empty}},
		{"the refresh token of an ended sign-in is not valid", empty, refresh(lastPair, second, done), nil},
		{"that of an earlier sign-in ends nothing", register{token: 9, signIn: 9}, refresh(latest, time.Hour, refused), []register{{token: 9, signIn: 9}}},
		{"a sign-in without refresh tokens ends it", register{token: 9}, refresh(lastPair, second, done), nil},
		{"a repetition returns the current pair", from, refresh(latest, second, done), []register{from}},
		{"a repetition returns no other pair", from, with(refresh(latest, second, done), func(o *operation) { o.token = latest }), nil},
		{"a repetition is not refused", from, refresh(latest, second, refused), nil},
		{"a repetition too many is refused", from, with(refresh(latest, second, refused), func(o *operation) { o.spent = true }), []register{from}},
		{"a repetition at a replica with another key is refused", from, with(refresh(latest, second, refused), func(o *operation) { o.refresh.ownKeys = true }), []register{from}},
		{"a repetition at a replica with another key is not answered", from, with(refresh(latest, second, done), func(o *operation) { o.refresh.ownKeys = true }), nil},
		{"shortly after the grace the clocks decide", from, refresh(latest, gray, refused), []register{from, empty}},
		{"shortly after the grace one clock decides", from, with(refresh(latest, gray, refused), func(o *operation) { o.replica = 0 }), []register{empty}},
		{"a used token is not valid after the grace", from, refresh(latest, time.Minute, done), nil},
		{"a used token ends the sign-in after the grace", from, refresh(latest, time.Minute, refused), []register{empty}},
		{"a token used long ago ends the sign-in", from, refresh(1, time.Minute, refused), []register{empty}},
		{"a token four rotations ago, within the grace", brisk, refresh(lastPair-4, 0, done), []register{brisk}},
		{"a token five rotations ago, within the grace, ends nothing", brisk, refresh(lastPair-5, 0, refused), []register{brisk}},
		{"a token five rotations ago, within the grace, is not valid", brisk, refresh(lastPair-5, 0, done), nil},
		{"a token five rotations ago, after the grace, ends the sign-in", brisk, refresh(lastPair-5, time.Minute, refused), []register{empty}},
		{"a failed use after the grace may have ended the sign-in", from, refresh(latest, time.Minute, unknown), []register{from, empty}},
		{"a refused refresh may have issued a pair first", from, with(refresh(lastPair, second, refused), func(o *operation) { o.first, o.late = true, true }), []register{from, next}},
		{"and then ended it", next, with(refresh(lastPair, second, refused), func(o *operation) { o.late = true }), []register{next, empty}},
		{"a revocation of a used refresh token ends the sign-in", from, operation{kind: op.RevokeRefresh, presented: 1, signIn: 1}, []register{empty}},
		{"a revocation of another sign-in's refresh token changes nothing", from, operation{kind: op.RevokeRefresh, presented: 9, signIn: 9}, []register{from}},
		{"a revocation of others keeps the sign-in of an earlier token", from, operation{kind: op.RevokeOthers, token: 1, signIn: 1}, []register{from}},
		{"a revocation of the user ends the refresh token", from, operation{kind: op.RevokeUser}, []register{empty}},
	} {
		if got := step(test.from, &test.o); !slices.Equal(got, test.to) {
			t.Errorf("%s: step returned %v, want %v", test.name, got, test.to)
		}
	}
}

func TestPrepareRefreshesFindsTwoPairsForOneToken(t *testing.T) {
	t.Parallel()
	pair := func(n, replaced byte) issuedToken {
		return issuedToken{signIn: 1, stored: tokenauth.Token{Digest: tokenauth.Digest{n}, Replaced: tokenauth.Digest{replaced}}}
	}
	use := func(call int64, answer outcome) *operation {
		return &operation{kind: op.Refresh, presented: 1, signIn: 1, call: call, answer: call + 1, outcome: answer}
	}
	for _, test := range []struct {
		name   string
		tokens []issuedToken
		uses   []outcome
		broken int
		spent  bool // whether the last use may be a repetition too many
	}{
		{"one pair", []issuedToken{pair(1, 0), pair(2, 1), pair(3, 2)}, []outcome{done}, 0, false},
		{"two pairs", []issuedToken{pair(1, 0), pair(2, 1), pair(3, 1)}, []outcome{done, done}, 1, false},
		{"a pair that replaced another sign-in's", []issuedToken{pair(1, 0), pair(2, 9)}, []outcome{done}, 1, false},
		{"three repetitions, then a refusal", []issuedToken{pair(1, 0), pair(2, 1)}, []outcome{done, done, done, done, refused}, 0, true},
		{"two repetitions, then a refusal", []issuedToken{pair(1, 0), pair(2, 1)}, []outcome{done, done, done, refused}, 0, false},
		{"a failure may be a repetition", []issuedToken{pair(1, 0), pair(2, 1)}, []outcome{done, unknown, done, done, refused}, 0, true},
		{"four repetitions", []issuedToken{pair(1, 0), pair(2, 1)}, []outcome{done, done, done, done, done}, 1, true},
	} {
		h := &history{tokens: test.tokens}
		var operations []*operation
		for i, answer := range test.uses {
			operations = append(operations, use(int64(10*i), answer))
		}
		broken := h.prepareRefreshes(operations)
		if last := operations[len(operations)-1]; len(broken) != test.broken || last.spent != test.spent {
			t.Errorf("%s: got the violations %q, spent: %t; want %d, %t", test.name, broken, last.spent, test.broken, test.spent)
		}
	}
}

// A sign-in that is refreshed while a sign-in on another device ends it, ends with its
// newest token.
func TestSignInMayEndARefreshedTokenBeyondTheBound(t *testing.T) {
	t.Parallel()
	h := newDeviceHistory()
	one, two, three := signInAt(h, 1, 1), signInAt(h, 2, 2), signInAt(h, 40, 3)
	again := signInAt(h, 4, 1) // pair 4 replaced pair 1
	again.kind, again.presented, again.replaces, again.call, again.answer = op.Refresh, 1, 4, at(39), at(42)
	h.tokens = make([]issuedToken, 4)
	for _, o := range []*operation{one, again} {
		o.signIn = 1
		h.tokens[o.token-1].signIn = 1
	}
	three.token = 3
	for _, test := range []struct {
		name  string
		began int64
		ends  bool
	}{
		{"refreshed while it ends", 39, true},
		{"refreshed later", 50, false},
	} {
		again.call, again.answer = at(test.began), at(test.began+1)
		ends := h.endings([]*operation{one, two, three, again})[three][one.slot]
		if !ends[1] || ends[4] != test.ends {
			t.Errorf("%s: the sign-in may end the tokens %v, want token 4 among them: %t", test.name, ends, test.ends)
		}
	}
}
