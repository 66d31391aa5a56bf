package history

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/bearerkit/bearerkit/examples/torture/internal/host"
	"github.com/bearerkit/bearerkit/examples/torture/internal/op"
	"github.com/bearerkit/bearerkit/tokenauth"
)

// deviceIDs are the devices of a history with devices. The last client and device 1
// have the same text as the first client and device 2, if the ID of the device just
// follows the ID of the client.
var deviceIDs = []string{"", "a", "2a", "b", "c"}

// bulkTimeout limits a call of [tokenauth.Service.RevokeClient], which the Service itself
// does not limit.
const bulkTimeout = 500 * time.Millisecond

// clientID returns the ID of client n. A history with devices has clients of its own,
// because it ends all tokens of a client.
func (h *history) clientID(n int) string {
	if h.max == 0 {
		return host.Client(n)
	}
	return h.name + " client" + []string{"", "2"}[n]
}

// deviceMix is the mix of calls in a history with devices.
var deviceMix = []chance{
	{32, (*history).signIn}, {74, (*history).validate}, {79, (*history).list}, {82, (*history).tryForged},
	{88, (*history).revoke}, {94, (*history).revokeDevice}, {96, (*history).revokeOthers},
	{97, (*history).revokeClient}, {99, (*history).revokeUser}, {100, (*history).suspendUser},
}

// suspendUser disables the user for a moment, so that most sign-ins are on several
// devices.
func (h *history) suspendUser(ctx context.Context, rng *rand.Rand, o *operation) {
	again := *o
	h.changeUser(ctx, rng, o)
	h.changeUser(ctx, rng, &again)
}

func (h *history) list(ctx context.Context, _ *rand.Rand, o *operation) {
	o.slot.client, o.slot.device = all, all
	h.do(o, op.List, func(auth *tokenauth.Service) (err error) {
		o.listed, err = auth.Tokens(ctx, h.user(o.slot.user))
		return err
	})
}

func (h *history) revokeDevice(ctx context.Context, rng *rand.Rand, o *operation) {
	t, ok := h.pick(rng, o)
	if !ok {
		return
	}
	o.token = 0 // whatever the slot holds
	h.do(o, op.RevokeDevice, func(auth *tokenauth.Service) error {
		return auth.RevokeDevice(ctx, h.user(o.slot.user), t.stored.SlotID())
	})
}

func (h *history) revokeOthers(ctx context.Context, rng *rand.Rand, o *operation) {
	t, ok := h.pick(rng, o)
	if !ok {
		return
	}
	o.slot.client, o.slot.device, o.signIn = all, all, t.signIn
	except := []tokenauth.Token{t.stored}
	if h.endsKept {
		except = nil
	}
	h.do(o, op.RevokeOthers, func(auth *tokenauth.Service) error {
		return auth.RevokeUser(ctx, h.user(o.slot.user), except...)
	})
}

func (h *history) revokeClient(ctx context.Context, _ *rand.Rand, o *operation) {
	o.slot.user, o.slot.device = all, all
	ctx, cancel := context.WithTimeout(ctx, bulkTimeout)
	defer cancel()
	h.do(o, op.RevokeClient, func(auth *tokenauth.Service) error {
		return auth.RevokeClient(ctx, h.clientID(o.slot.client))
	})
}

// rest checks the bound while no other call is in progress.
func (h *history) rest(ctx context.Context, rng *rand.Rand) {
	at := func(s slot) *operation {
		return &operation{worker: h.workers, replica: rng.IntN(len(h.replicas)), slot: s}
	}
	tokens := func(user int) (*operation, bool) {
		o := at(slot{user: user})
		h.list(ctx, rng, o)
		return o, o.outcome == done
	}
	for user := range h.users {
		if before, ok := tokens(user); ok {
			h.judgeBound(before)
			alone := at(slot{user, rng.IntN(h.clients), rng.IntN(len(deviceIDs))})
			h.signIn(ctx, rng, alone)
			if after, ok := tokens(user); ok && alone.outcome == done {
				h.judgeBound(after)
				h.judgeAlone(before, alone, after)
			}
		}
	}
	// These must agree with the lists.
	for _, n := range h.unended() {
		o := at(slot{})
		t := h.nth(n, o)
		h.validateToken(ctx, o, t)
	}
}

// judgeBound checks that the list has at most h.max tokens of each client, not counting
// those of failed sign-ins. Tokens of clients are counted only if no sign-in is in
// progress. A sign-in that was done has listed all tokens that others had stored before
// it did so. Thus the last one of them has ended all beyond the bound.
func (h *history) judgeBound(list *operation) {
	count := make([]int, h.clients)
	for _, t := range list.listed {
		if s, n := h.issuedAs(t); n > 0 {
			count[s.client]++
		}
	}
	for client, n := range count {
		if n > h.max {
			h.violate("user %d client %d: %d tokens are valid after all sign-ins have returned, want at most %d", list.slot.user, client, n, h.max)
		}
	}
}

// judgeAlone checks which tokens a sign-in ended while no other call was in progress:
// the one before in its slot, and those used longest ago beyond the bound.
func (h *history) judgeAlone(before, signIn, after *operation) {
	if h.failed(signIn.slot.user) {
		return // a failed call may take effect later
	}
	want := []tokenauth.Token{signIn.stored}
	var others []tokenauth.Token
	for _, t := range before.listed {
		switch {
		case t.ClientID != signIn.stored.ClientID:
			others = append(others, t)
		case t.Slot != signIn.stored.Slot:
			want = append(want, t)
		}
	}
	slices.SortFunc(want, func(a, b tokenauth.Token) int { return -compareAge(&a, &b) })
	want = append(want[:min(h.max, len(want))], others...)
	if !sameTokens(want, after.listed) {
		h.violate("%v, alone, left %d tokens, want %d: those used last, and all of other clients", signIn, len(after.listed), len(want))
	}
}

// compareAge compares tokens by when they were last used. It returns a positive number
// if a was used later.
func compareAge(a, b *tokenauth.Token) int {
	used := func(t *tokenauth.Token) time.Time {
		if t.LastSeen.After(t.IssuedAt) {
			return t.LastSeen
		}
		return t.IssuedAt
	}
	return cmp.Or(used(a).Compare(used(b)), a.IssuedAt.Compare(b.IssuedAt), bytes.Compare(a.Slot.Client[:], b.Slot.Client[:]))
}

func sameTokens(a, b []tokenauth.Token) bool {
	digests := func(tokens []tokenauth.Token) (all []string) {
		for _, t := range tokens {
			all = append(all, t.Digest.String())
		}
		slices.Sort(all)
		return all
	}
	return slices.Equal(digests(a), digests(b))
}

// failed reports whether a change of the user's tokens had an unknown outcome.
func (h *history) failed(user int) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.ContainsFunc(h.operations, func(o *operation) bool {
		return o.outcome == unknown && o.kind != op.Validate && o.kind != op.List && (o.slot.user == user || o.slot.user == all)
	})
}

// unended returns the numbers of the tokens that were valid at the last rest, or issued
// later.
func (h *history) unended() []int {
	h.mu.Lock()
	defer h.mu.Unlock()
	ended := make(map[int]bool)
	for _, o := range h.operations {
		if o.kind == op.Validate && o.outcome == refused {
			ended[o.token] = true
		}
	}
	var numbers []int
	for n := range h.tokens {
		if !ended[n+1] {
			numbers = append(numbers, n+1)
		}
	}
	return numbers
}

// issuedAs returns the slot and the number of a listed token. The number is unreceived
// if no client received the token. The slot is not one of h if the token is foreign.
func (h *history) issuedAs(t tokenauth.Token) (s slot, n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for i, issued := range h.tokens {
		if issued.stored.Digest == t.Digest {
			return issued.slot, i + 1
		}
	}
	place := func(n int, name func(int) string, is string) int {
		for i := range n {
			if name(i) == is {
				return i
			}
		}
		return all
	}
	return slot{
		place(h.users, h.user, t.Principal.UserID),
		place(h.clients, h.clientID, t.ClientID),
		slices.Index(deviceIDs, t.Device),
	}, unreceived
}

// endings holds the tokens that a sign-in may have ended in each slot.
type endings map[slot]map[int]bool

// endings returns, for each slot of the sign-in's client, the tokens that the sign-in
// may have ended because they were beyond the bound. At some moment during the
// sign-in, there must have been h.max newer tokens of the user at the client. Tokens of
// failed sign-ins may be among those that end.
//
// A sign-in that is refreshed while it ends is followed: so the later tokens of its
// refreshes end, too, however new they are.
//
// It returns more than that only where the history does not tell when a token ended.
func (h *history) endings(operations []*operation) map[*operation]endings {
	all := make(map[*operation]endings)
	if h.max == 0 {
		return all
	}
	issues := issuesOf(operations)
	for _, signIn := range issues {
		if signIn.kind != op.SignIn {
			continue
		}
		ends := make(endings)
		add := func(s slot, token int) {
			if ends[s] == nil {
				ends[s] = make(map[int]bool)
			}
			ends[s][token] = true
		}
		for _, old := range issues {
			switch {
			case !sameClient(old.slot, signIn.slot) || old.call > signIn.answer:
			case old.outcome != done:
				add(old.slot, unreceived)
			case h.newerThan(old, signIn, issues) >= h.max:
				add(old.slot, old.token)
			}
		}
		if first := h.firstOf(signIn); h.newerThan(first, signIn, issues) >= h.max {
			add(signIn.slot, unreceived)
		}
		for _, later := range issues {
			if later.kind == op.Refresh && later.outcome == done && later.call <= signIn.answer && h.hasOf(ends[later.slot], later.signIn) {
				add(later.slot, later.token)
			}
		}
		all[signIn.operation] = ends
	}
	return all
}

// hasOf reports whether one of the tokens belongs to the sign-in.
func (h *history) hasOf(tokens map[int]bool, signIn int) bool {
	for n := range tokens {
		if n > 0 && h.tokens[n-1].signIn == signIn {
			return true
		}
	}
	return false
}

// An issue is a sign-in or a refresh that may have stored a token. Gone is when it is
// certain that the token has ended.
type issue struct {
	*operation
	gone int64
}

// issuesOf returns the issues of a history. The issue of a refresh is a copy. It begins
// with the first refresh that may have stored the token, and ends with the first that
// returned it.
func issuesOf(operations []*operation) (issues []*issue) {
	began := make(map[int]int64) // the first refresh with the refresh token of each pair
	for _, o := range operations {
		if o.kind != op.Refresh {
			continue
		}
		if first, ok := began[o.presented]; !ok || o.call < first {
			began[o.presented] = o.call
		}
	}
	seen := make(map[int]bool)
	for _, o := range operations {
		switch {
		case !o.mayStore():
		case o.kind == op.SignIn:
			issues = append(issues, &issue{o, goneAt(operations, o)})
		case o.kind != op.Refresh:
		case o.outcome == done && !seen[o.token]:
			seen[o.token] = true
			first := *issueOf(operations, o.token)
			gone := goneAt(operations, &first)
			for _, other := range operations {
				if other.kind == op.Refresh && other.replaces == first.token {
					first.call = min(first.call, began[other.presented])
				}
			}
			issues = append(issues, &issue{&first, gone})
		case o.outcome != done && o.replaces == unreceived:
			issues = append(issues, &issue{o, never})
		}
	}
	return issues
}

// newerThan returns how many other slots may hold newer tokens than the old one during
// the sign-in.
func (h *history) newerThan(old, signIn *issue, issues []*issue) int {
	newer := make(map[slot]bool)
	for _, i := range issues {
		if i.slot != old.slot && sameClient(i.slot, old.slot) && i.call <= signIn.answer && i.gone >= signIn.call && mayBeNewer(i.operation, old.operation) {
			newer[i.slot] = true
		}
	}
	return len(newer)
}

// firstOf returns the sign-in with the earliest time that the first of its tokens can
// have, if it stored two.
func (h *history) firstOf(signIn *issue) *issue {
	first := *signIn.operation
	first.outcome = done
	began := h.began.Add(time.Duration(first.call))
	if h.refresh != nil {
		began = time.Unix(0, first.from)
	}
	first.stored = tokenauth.Token{IssuedAt: began.Truncate(time.Millisecond)}
	return &issue{&first, never}
}

func sameClient(a, b slot) bool { return a.user == b.user && a.client == b.client }

// mayBeNewer reports whether the token that a stored may be newer than that of b, which
// was done.
func mayBeNewer(a, b *operation) bool {
	if a.outcome == done {
		return compareAge(&a.stored, &b.stored) > 0
	}
	return a.answer+int64(time.Millisecond) >= b.call
}

// goneAt returns when it is certain that the token of the sign-in has ended: the answer
// of the first operation that ended it and began after the sign-in.
func goneAt(operations []*operation, signIn *operation) int64 {
	gone := never
	for _, o := range operations {
		if signIn.outcome == done && o.ends(signIn) && o.call > signIn.answer {
			gone = min(gone, o.answer)
		}
	}
	return gone
}

// ends reports whether the token of an earlier sign-in or refresh is certain to be
// invalid after the operation.
func (o *operation) ends(signIn *operation) bool {
	switch {
	case o.kind == op.Validate:
		return o.outcome == refused && o.token == signIn.token
	case o.outcome != done || !o.slot.covers(signIn.slot):
		return false
	case o.kind == op.Revoke:
		return o.token == signIn.token
	case o.kind == op.RevokeOthers:
		return o.token != signIn.token && (o.signIn == 0 || o.signIn != signIn.signIn)
	case o.kind == op.RevokeRefresh:
		return o.signIn == signIn.signIn
	case o.kind == op.Refresh: // the token that it returned was the current one
		return o.token != signIn.token
	}
	return o.kind == op.SignIn || o.kind == op.RevokeDevice || o.kind == op.RevokeUser || o.kind == op.RevokeClient
}

// violate records a violation.
func (h *history) violate(format string, args ...any) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.broken = append(h.broken, fmt.Sprintf(format, args...))
}
