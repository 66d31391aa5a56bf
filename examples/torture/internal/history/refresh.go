package history

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bearerkit/bearerkit/examples/torture/internal/accesstoken"
	"github.com/bearerkit/bearerkit/examples/torture/internal/op"
	"github.com/bearerkit/bearerkit/examples/torture/internal/plant"
	"github.com/bearerkit/bearerkit/examples/torture/internal/trial"
	"github.com/bearerkit/bearerkit/tokenauth"
)

// A refreshing is how the replicas of a setting refresh.
type refreshing struct {
	grace time.Duration // [tokenauth.RefreshOptions.Grace]
	// ownKeys is whether each replica has a [tokenauth.RefreshOptions.Key] of its own.
	ownKeys bool
	// off is the replica without refresh tokens, or none. With devices all have them: a
	// replica without them does not follow a sign-in that another one refreshes while it
	// ends a device, so the device may stay.
	off int
	// skewed is whether the clocks of the replicas differ, by less than 2 seconds. With
	// devices they do not, because the times of sign-ins order the devices.
	skewed  bool
	sharers int // how many concurrent histories share the replicas
	clock   clock
	plant   *plant.Plant // nil for none
	shared  *plant.State
}

const none = -1

// commonKey is the [tokenauth.RefreshOptions.Key] of all replicas.
var commonKey = tokenauth.NewSecret(strings.Repeat("torture ", 4))

// newRefreshing returns how replicas refresh. Of four consecutive kinds, one has a replica
// without refresh tokens, and one has replicas with keys of their own.
func newRefreshing(rng *rand.Rand, kind uint64, devices bool, sharers int) *refreshing {
	off := none
	if kind%4 == 0 && !devices {
		off = rng.IntN(trial.Replicas)
	}
	return &refreshing{
		grace:   time.Second + time.Duration(rng.Int64N(int64(59*time.Second))),
		ownKeys: kind%4 == 2,
		off:     off,
		skewed:  !devices,
		sharers: sharers,
	}
}

// configure sets the options of a replica.
func (r *refreshing) configure(o *tokenauth.Options, replica int) {
	o.Now = r.clock.of(0)
	if r.skewed {
		o.Now = r.clock.of(time.Duration(replica-1) * skew / 2)
	}
	if r.plant != nil && r.plant.Timeless {
		o.Now = time.Now
	}
	if replica == r.off {
		return
	}
	o.Refresh = &tokenauth.RefreshOptions{Grace: r.grace, Key: commonKey}
	if r.ownKeys {
		o.Refresh.Key = tokenauth.Secret{}
	}
}

// skew is how far the clocks of skewed replicas differ.
const skew = 1800 * time.Millisecond

// uncertain is how much longer than the grace a repetition may be answered. A Service
// allows 2 seconds for the clocks of other replicas.
func (r *refreshing) uncertain() time.Duration {
	if r.skewed {
		return 2*time.Second + skew
	}
	return 2 * time.Second
}

// A clock is the clock of a setting's replicas. It is ahead of the system's clock,
// because histories set it forward, so that a grace passes without a pause.
type clock struct{ ahead atomic.Int64 }

func (c *clock) now() time.Time { return time.Now().Add(time.Duration(c.ahead.Load())) }

// of returns the clock of a replica, which differs from c.
func (c *clock) of(skew time.Duration) func() time.Time {
	return func() time.Time { return c.now().Add(skew) }
}

// letTimePass sets the clock forward now and then: beyond the grace, within it, or by
// about as much.
func (h *history) letTimePass(rng *rand.Rand) {
	r := h.refresh
	every := 60 // calls
	if h.faithful {
		every = 100
	}
	if rng.IntN(every*r.sharers) > 0 {
		return
	}
	d := time.Duration(rng.Int64N(int64(r.grace)))
	switch rng.IntN(4) {
	case 0, 1:
		d = r.grace + r.uncertain() + time.Millisecond + time.Duration(rng.Int64N(int64(time.Second)))
	case 2:
		d = r.grace + time.Duration(rng.Int64N(int64(r.uncertain())))
	}
	r.clock.ahead.Add(int64(d))
}

// now returns the time by the clock of the replicas, in nanoseconds.
func (h *history) now() int64 {
	if h.refresh == nil {
		return time.Now().UnixNano()
	}
	return h.refresh.clock.now().UnixNano()
}

// In a mix with refresh tokens, few calls end sign-ins, so that most are refreshed
// several times. In a faithful history, even fewer do.
var (
	refreshMix = []chance{
		{6, (*history).signIn}, {54, (*history).validate}, {58, (*history).tryForged}, {61, (*history).revoke},
		{63, (*history).revokeRefresh}, {65, (*history).revokeUser}, {67, (*history).changeUser}, {100, (*history).tryRefresh},
	}
	faithfulMix = []chance{
		{1, (*history).signIn}, {51, (*history).validate}, {53, (*history).tryForged}, {54, (*history).revokeUser},
		{100, (*history).tryRefresh},
	}
	deviceRefreshMix = []chance{
		{14, (*history).signIn}, {54, (*history).validate}, {58, (*history).list}, {60, (*history).tryForged},
		{63, (*history).revoke}, {65, (*history).revokeRefresh}, {69, (*history).revokeDevice}, {71, (*history).revokeOthers},
		{72, (*history).revokeClient}, {73, (*history).revokeUser}, {74, (*history).suspendUser}, {100, (*history).tryRefresh},
	}
)

// oldest is how many rotations ago a presented refresh token was used, at most.
const oldest = 12

// tryRefresh refreshes: with the current refresh token, with the same one at several
// replicas at the same time, with one that was used before, or with a made-up one.
func (h *history) tryRefresh(ctx context.Context, rng *rand.Rand, o *operation) {
	pairs := h.pairsOf(o.slot)
	if len(pairs) == 0 {
		h.signIn(ctx, rng, o)
		return
	}
	back := func(n int) int { return pairs[max(0, len(pairs)-1-n)] }
	recent := 84
	if h.faithful {
		recent = 76 // a reuse would end most sign-ins before they are refreshed ten times
	}
	switch n := rng.IntN(100); {
	case n < 60:
		last := h.refreshUntilKnown(ctx, rng, o, back(0))
		if last.outcome == refused && rng.IntN(4) > 0 {
			h.signIn(ctx, rng, &operation{worker: o.worker, replica: rng.IntN(len(h.replicas)), slot: o.slot})
		}
	case n < 72:
		var tabs sync.WaitGroup
		for tab := range 2 + rng.IntN(2) {
			here := *o
			here.worker = (2+tab)*(h.workers+1) + o.worker
			rng := rand.New(rand.NewPCG(rng.Uint64(), 4))
			here.replica = rng.IntN(len(h.replicas))
			tabs.Go(func() { h.refreshUntilKnown(ctx, rng, &here, back(0)) })
		}
		tabs.Wait()
	case n < recent:
		h.refreshUntilKnown(ctx, rng, o, back(1+rng.IntN(2)))
	case n < recent+5:
		h.refreshUntilKnown(ctx, rng, o, back(1+rng.IntN(oldest)))
	case n < 94:
		h.refreshUntilKnown(ctx, rng, o, back(oldest-rng.IntN(3)))
	default:
		h.tryMadeUp(ctx, rng, o, back(0))
	}
}

// pairsOf returns the numbers of the tokens of a slot that were issued with a refresh
// token.
func (h *history) pairsOf(s slot) (pairs []int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for i, t := range h.tokens {
		if t.slot == s && t.signIn != 0 {
			pairs = append(pairs, i+1)
		}
	}
	return pairs
}

// mostTries is how often a client repeats a refresh whose outcome is unknown.
const mostTries = 4

// refreshUntilKnown presents the refresh token of a pair. If the outcome is unknown, it
// presents the same one again, as a client does. It returns the last call.
func (h *history) refreshUntilKnown(ctx context.Context, rng *rand.Rand, o *operation, pair int) *operation {
	same := *o
	for try := 1; ; try++ {
		h.refreshOnce(ctx, o, pair)
		if o.outcome != unknown || try == mostTries {
			return o
		}
		again := same
		again.replica = rng.IntN(len(h.replicas))
		o = &again
	}
}

// refreshOnce presents the refresh token of a pair once, at a replica that has refresh
// tokens.
func (h *history) refreshOnce(ctx context.Context, o *operation, pair int) {
	if o.replica == h.refresh.off {
		o.replica = (o.replica + 1) % len(h.replicas)
	}
	t := h.nth(pair, o)
	o.token, o.presented, o.signIn, o.refresh = 0, pair, t.signIn, h.refresh
	ctx = context.WithValue(ctx, againKey{}, &o.again)
	h.do(o, op.Refresh, func(auth *tokenauth.Service) error {
		issued, err := auth.Refresh(ctx, h.presents(t, t.refresh))
		if err == nil {
			o.stored = issued.Token
			o.token = h.keepPair(issuedToken{issued.AccessToken.Reveal(), issued.Token, o.slot, issued.RefreshToken.Reveal(), t.signIn})
			h.recognize(o, issued.Token)
		}
		return err
	})
}

// presents returns the credentials of a client with the refresh token. A planted bug
// begins when the grace is certain to be over.
func (h *history) presents(t issuedToken, refreshToken string) tokenauth.Credentials {
	if p := h.refresh.plant; p != nil && p.Presents != nil {
		refreshToken = p.Presents(h.refresh.shared, refreshToken, h.refresh.clock.now(), h.refresh.grace+h.refresh.uncertain())
	}
	return tokenauth.Credentials{RefreshToken: tokenauth.NewSecret(refreshToken), ClientID: t.stored.ClientID}
}

// keepPair records a pair that a refresh returned, unless another one returned it
// before. It returns the number of the pair.
func (h *history) keepPair(t issuedToken) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	for i := range h.tokens {
		if known := &h.tokens[i]; known.stored.Digest == t.stored.Digest {
			if known.refresh != t.refresh || known.slot != t.slot {
				h.broken = append(h.broken, fmt.Sprintf("a refresh of %v returned the access token %d with another refresh token", t.slot, i+1))
			}
			return i + 1
		}
	}
	h.tokens = append(h.tokens, t)
	return len(h.tokens)
}

// tryMadeUp presents a refresh token that no service issued, for the slot of a real one.
// It must be refused, and end nothing: otherwise the other calls for the slot have no
// order.
func (h *history) tryMadeUp(ctx context.Context, rng *rand.Rand, o *operation, pair int) {
	if o.replica == h.refresh.off {
		return
	}
	t := h.nth(pair, o)
	text := ""
	switch rng.IntN(4) {
	case 0:
		var other operation
		text = accesstoken.MoveTo(t.refresh, h.nth(h.anyPair(rng), &other).refresh)
		if other.slot == o.slot {
			return
		}
	case 1:
		text = t.text // the access token
	default:
		text = accesstoken.MakeUp(rng, t.refresh)
	}
	if _, err := h.replicas[o.replica].Refresh(ctx, h.presents(t, text)); err == nil {
		h.violate("a made-up refresh token of %v was accepted at replica %d", o.slot, o.replica)
	}
	if _, err := h.replicas[o.replica].Validate(ctx, t.refresh); err == nil {
		h.violate("a refresh token of %v was accepted as an access token at replica %d", o.slot, o.replica)
	}
}

// anyPair returns the number of a pair of any slot. There is one.
func (h *history) anyPair(rng *rand.Rand) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	for {
		if i := rng.IntN(len(h.tokens)); h.tokens[i].signIn != 0 {
			return i + 1
		}
	}
}

// revokeRefresh revokes a refresh token, current or used. So it ends the sign-in.
func (h *history) revokeRefresh(ctx context.Context, rng *rand.Rand, o *operation) {
	t, ok := h.pick(rng, o)
	if !ok || t.signIn == 0 || o.replica == h.refresh.off {
		return
	}
	o.presented, o.token, o.signIn = o.token, 0, t.signIn
	h.do(o, op.RevokeRefresh, func(auth *tokenauth.Service) error { return auth.Revoke(ctx, t.refresh) })
}

// maxRepeats is how often the refresh with one refresh token is repeated at most.
const maxRepeats = 3

// prepareRefreshes completes the refreshes of a history for the model, and checks two
// rules. These do not depend on an order of the calls, so the model is faster without
// them:
//
//   - One refresh token gives one pair, however often it is used.
//   - At most maxRepeats repetitions of a refresh are answered. The model allows a
//     refusal for this reason if maxRepeats repetitions may have been answered before.
func (h *history) prepareRefreshes(operations []*operation) (broken []string) {
	next := make(map[int]int) // the pair that replaced each pair
	for i, t := range h.tokens {
		if t.signIn == 0 || t.signIn == i+1 {
			continue
		}
		_, before := h.issuedAs(tokenauth.Token{Digest: t.stored.Replaced})
		switch {
		case before == unreceived || h.tokens[before-1].signIn != t.signIn:
			broken = append(broken, fmt.Sprintf("%v: pair %d replaced no known pair of its sign-in", t.slot, i+1))
		case next[before] != 0:
			broken = append(broken, fmt.Sprintf("%v: pairs %d and %d both replaced pair %d", t.slot, next[before], i+1, before))
		}
		next[before] = i + 1
	}
	uses := make(map[int][]*operation) // of each refresh token
	signedIn := make(map[int]int64)    // when each sign-in began
	var changes []*operation
	for _, o := range operations {
		switch o.kind {
		case op.Refresh:
			uses[o.presented] = append(uses[o.presented], o)
		case op.SignIn:
			signedIn[o.signIn] = o.call
		case op.Disable, op.Enable:
			changes = append(changes, o)
		}
	}
	for pair, all := range uses {
		answered := 0
		for _, o := range all {
			if o.replaces = next[pair]; o.replaces == 0 {
				o.replaces = unreceived
			}
			if o.outcome == done {
				answered++
			}
			o.spent = o.answeredBefore(all) > maxRepeats
			o.changed = slices.ContainsFunc(changes, func(c *operation) bool {
				return c.slot.user == o.slot.user && c.call <= o.answer && c.answer >= signedIn[o.signIn]
			})
		}
		if answered > 1+maxRepeats {
			broken = append(broken, fmt.Sprintf("%v: the refresh token of pair %d was answered %d times", all[0].slot, pair, answered))
		}
	}
	return broken
}

// answeredBefore returns how often the storage may have recorded a use of the refresh
// token before the refresh. All are the refreshes with that token.
func (o *operation) answeredBefore(all []*operation) int {
	n := o.again
	for _, other := range all {
		if other == o || other.call > o.answer {
			continue
		}
		n += other.again
		if other.outcome != refused || other.late {
			n++
		}
	}
	return n
}
