package tokenauth

import (
	"container/heap"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// streams knows the open streams, and ends those whose token ended
// ([Requirement.Stream]).
type streams struct {
	interval time.Duration // Options.StreamInterval
	always   bool          // whether to check at each interval also while the feed is alive
	livesOn  bool          // whether a use or a refresh may make a token live on
	timeout  time.Duration // Options.Timeout
	atOnce   int           // how many tokens to check at a time
	feed     *changeFeed   // nil if the storage is not a Watcher
	now      func() time.Time
	logger   *slog.Logger

	wanted  atomic.Bool   // whether a guard opens streams
	wake    chan struct{} // its capacity is one
	failing outage        // of checks

	mu    sync.Mutex
	runs  int                         // calls of run in progress
	users map[UserKey][]*streamsToken // the tokens that have streams
	owned map[UserKey][]*streamsToken // those of them that are API keys, by their owners
	due   dueTokens                   // those of them that are not being checked
	alive bool                        // whether the feed was alive at the last look
}

// A streamsToken is a token with open streams.
type streamsToken struct {
	token   *Token // as it was last read; shared
	first   *stream
	due     time.Time // when to check it
	index   int       // in streams.due, or -1 while it is being checked
	owner   UserKey   // of an API key; otherwise zero
	again   time.Time // when to check it after the check in progress; zero if nothing changed
	expired time.Time // when sweep found the token expired, if it may live on
	ended   bool
	failing atomic.Bool // the last check failed
}

// A stream is a request that ends with its token.
type stream struct {
	end            context.CancelCauseFunc
	of             *streamsToken
	roles          [][]string // of an API key, which needs a role of each list
	previous, next *stream
}

// dueTokens is a heap of the tokens, in the order in which they are due.
type dueTokens []*streamsToken

func (d dueTokens) Len() int           { return len(d) }
func (d dueTokens) Less(i, j int) bool { return d[i].due.Before(d[j].due) }
func (d dueTokens) Swap(i, j int) {
	d[i], d[j] = d[j], d[i]
	d[i].index, d[j].index = i, j
}
func (d *dueTokens) Push(t any) {
	t.(*streamsToken).index = len(*d)
	*d = append(*d, t.(*streamsToken))
}
func (d *dueTokens) Pop() any {
	last := len(*d) - 1
	t := (*d)[last]
	(*d)[last] = nil
	*d = (*d)[:last]
	t.index = -1
	return t
}

const (
	// streamChecks is how many tokens of open streams are checked at a time.
	// Look-ups that wait at the same time share a statement, if the storage is a
	// BatchFinder.
	streamChecks = 64
	// streamChecksAlone is the same for any other storage, where each look-up
	// may take a connection.
	streamChecksAlone = 4
)

// newStreams returns a streams. The argument batches says whether the storage is
// a [BatchFinder].
func newStreams(o *Options, f *changeFeed, batches bool) *streams {
	s := &streams{
		interval: o.StreamInterval,
		always:   o.LiveCheck != nil,
		livesOn:  o.tokensLiveOn(),
		timeout:  o.Timeout,
		atOnce:   streamChecksAlone,
		feed:     f,
		now:      o.Now,
		logger:   o.Logger,
		wake:     make(chan struct{}, 1),
		failing:  outage{doing: "checking the tokens of open streams", effect: "streams whose token ended may stay open"},
	}
	if batches {
		s.atOnce = streamChecks
	}
	if f != nil {
		f.users, f.all = append(f.users, s.changed), append(f.all, s.allChanged)
	}
	return s
}

var (
	errRunIsMissing = errors.New("streams need Service.Run, which is not running")
	errRunEnded     = fmt.Errorf("%w: Service.Run ended", ErrUnavailable)
)

// open returns the request with a context that ends when the token ends, and a
// func that ends the context when the handler has returned. It returns an error
// if Run is not running. The token is checked at once, in the
// background, because it may have ended since it was validated.
func (o *streams) open(r *http.Request, t *Token) (*http.Request, func(), error) {
	ctx, end := context.WithCancelCause(r.Context())
	st := &stream{end: end}
	if t.Key != "" {
		st.roles = requiredOf(r.Context(), &t.Digest)
	}
	if !o.add(st, t) {
		end(nil)
		return nil, nil, errRunIsMissing
	}
	context.AfterFunc(ctx, func() { o.remove(st) })
	if r = r.WithContext(ctx); t.Key != "" {
		r = requiring(r, t.Digest, nil, st)
	}
	return r, func() { end(nil) }, nil
}

// require notes that a guard behind the one that opened the stream of an API key needs one
// of the roles, too. The key may have lost them since it was validated, so it is checked
// at once.
func (o *streams) require(st *stream, roles []string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	st.roles = append(st.roles, roles)
	if !st.of.ended {
		o.bring(st.of, time.Now())
		o.wakeUp()
	}
}

func (o *streams) add(st *stream, t *Token) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.runs == 0 {
		return false
	}
	of := o.tokenOf(t)
	st.of, st.next = of, of.first
	if of.first != nil {
		of.first.previous = st
	}
	of.first = st
	o.bring(of, time.Now())
	o.wakeUp()
	return true
}

// tokenOf returns the entry of the token. The caller holds the lock.
func (o *streams) tokenOf(t *Token) *streamsToken {
	tokens := o.users[t.Slot.User]
	if i := slices.IndexFunc(tokens, func(s *streamsToken) bool { return equal(&s.token.Digest, &t.Digest) }); i >= 0 {
		return tokens[i]
	}
	of := &streamsToken{token: t, due: time.Now()}
	heap.Push(&o.due, of)
	if o.users == nil {
		o.users = make(map[UserKey][]*streamsToken)
	}
	o.users[t.Slot.User] = append(tokens, of)
	if t.Key != "" {
		of.owner = UserKeyOf(t.Principal.UserID)
		if o.owned == nil {
			o.owned = make(map[UserKey][]*streamsToken)
		}
		o.owned[of.owner] = append(o.owned[of.owner], of)
	}
	return of
}

// remove forgets a stream. The context of its request has ended.
func (o *streams) remove(st *stream) {
	o.mu.Lock()
	defer o.mu.Unlock()
	of := st.of
	if of.ended {
		return
	}
	switch {
	case st.previous != nil:
		st.previous.next = st.next
	default:
		of.first = st.next
	}
	if st.next != nil {
		st.next.previous = st.previous
	}
	if of.first == nil {
		o.forget(of)
	}
}

// forget removes a token. The caller holds the lock.
func (o *streams) forget(of *streamsToken) {
	of.ended = true
	o.works(of)
	if of.index >= 0 {
		heap.Remove(&o.due, of.index)
	}
	forgetIn(o.users, of.token.Slot.User, of)
	if o.owned != nil {
		forgetIn(o.owned, of.owner, of)
	}
	if len(o.users) == 0 {
		o.users, o.owned, o.due = nil, nil, nil // a map and a slice keep the memory of the entries that they had
	}
}

func forgetIn(users map[UserKey][]*streamsToken, u UserKey, of *streamsToken) {
	if tokens := users[u]; len(tokens) > 1 {
		users[u] = slices.DeleteFunc(tokens, func(t *streamsToken) bool { return t == of })
	} else {
		delete(users, u)
	}
}

// works notes that the token's last check no longer counts as failed.
func (o *streams) works(of *streamsToken) {
	if of.failing.Swap(false) {
		o.failing.failing.Add(-1)
	}
}

// end ends the streams of a token.
func (o *streams) end(of *streamsToken, cause error) {
	o.mu.Lock()
	st := of.first
	if !of.ended {
		o.forget(of)
	}
	of.first = nil
	o.mu.Unlock()
	for ; st != nil; st = st.next {
		st.end(cause)
	}
}

// bring makes a token due at a time, unless it is due earlier. The caller holds
// the lock.
func (o *streams) bring(of *streamsToken, at time.Time) {
	switch {
	case of.index < 0: // the check in progress may read the state from before the change
		if of.again.IsZero() || at.Before(of.again) {
			of.again = at
		}
	case at.Before(of.due):
		of.due = at
		heap.Fix(&o.due, of.index)
	}
}

// changed makes the tokens of a user due, because one of them may have ended. They
// are checked before the others that are due.
func (o *streams) changed(u UserKey) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if tokens, owned := o.users[u], o.owned[u]; len(tokens)+len(owned) > 0 {
		first := time.Now().Add(-streamRest)
		for _, of := range tokens {
			o.bring(of, first)
		}
		for _, of := range owned {
			o.bring(of, first)
		}
		o.wakeUp()
	}
}

// allChanged makes all tokens due, because any of them may have ended.
func (o *streams) allChanged() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.spread(time.Second)
}

// spread makes all tokens due within a time. So that the storage can also do
// other work, it spreads 10,000 of them or more over the whole time. Fewer take
// less. The caller holds the lock.
func (o *streams) spread(within time.Duration) {
	n := 0
	for _, tokens := range o.users {
		n += len(tokens)
	}
	if n == 0 {
		return
	}
	step, at := within/time.Duration(max(n, 10_000)), time.Now()
	for _, tokens := range o.users {
		for _, of := range tokens {
			o.bring(of, at)
			at = at.Add(step)
		}
	}
	o.wakeUp()
}

func (o *streams) wakeUp() {
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// latest returns when the token must be checked again at the latest, as a reading
// of [time.Now]. That is when it expires. If uses may make the token live on,
// latest returns a time halfway before. So the later expiry is known in time, even
// if the storage fails at the earlier one.
func (o *streams) latest(t *Token) time.Time {
	left := t.ExpiresAt.Sub(o.now())
	if o.livesOn && t.Lifetime != 0 && left > 2*streamSweep {
		left /= 2
	}
	return time.Now().Add(left)
}
