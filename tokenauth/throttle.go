package tokenauth

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// ThrottleOptions are what a host may want otherwise of the limits on guessing
// passwords. The zero value is the advice.
//
// Four limits stand before the work of hashing. A sign-in that any of them
// holds up is refused with ErrThrottled, right or wrong, and counts for nothing.
// After the free failures each further one makes the next try wait: from 1
// second on, doubling. A sign-in that is under way counts as a failure until it
// has come out well, so that many at once win nothing.
type ThrottleOptions struct {
	// InsecureOff lets anybody guess as fast as the machine hashes. For load
	// tests, and for hosts that have limits of their own.
	InsecureOff bool

	// SourceFailures are free for one account from one source, which is an
	// IPv4 address or an IPv6 /64; zero means 5. The wait grows to 15 minutes.
	// From 1 to 1000. A sign-in forgets them, and a day without any does.
	SourceFailures int

	// AccountFailures are free for one account from all sources together; zero
	// means 20. The wait grows to 1 hour. From 1 to 1000. A source from which
	// the user signed in within 30 days is not held up by it, so that nobody
	// can lock an owner out.
	AccountFailures int

	// AccountCeiling is the number of failures in a row, within 100 days,
	// after which the account can be signed in to from such known sources
	// only; zero means 100 (NIST SP 800-63B §3.2.2). From AccountFailures to
	// 10,000. Service.Unthrottle forgets them.
	AccountCeiling int

	// PrefixFailures are free for one source, whatever the accounts; zero
	// means 100, and ten times as many for an IPv6 /48. The wait grows to 15
	// minutes. From 1 to 100,000. An hour without failures forgets them.
	PrefixFailures int

	// MaxCounters bounds the memory: zero means 200,000 counters, about 30 MiB
	// when all are in use. From 1000 to 100 million. Counters that hold
	// somebody up are never dropped; what comes when all do shares some that
	// are kept for that.
	MaxCounters int

	// Key has the replicas count together, in a storage that is an
	// AttemptCounter: at least 32 bytes, the same on all, and secret, since
	// people type passwords where their name belongs and the counters are
	// named by a keyed hash of that. The zero Secret means that each process
	// counts for itself.
	Key Secret

	// Replicas is how many processes share the limits while the storage that
	// Key has them count in is down: each then has its part. Zero means 1. From
	// 1 to 1000.
	Replicas int
}

func (o ThrottleOptions) withDefaults() (ThrottleOptions, error) {
	setDefault(&o.SourceFailures, 5)
	setDefault(&o.AccountFailures, 20)
	setDefault(&o.AccountCeiling, max(100, o.AccountFailures))
	setDefault(&o.PrefixFailures, 100)
	setDefault(&o.MaxCounters, 200_000)
	setDefault(&o.Replicas, 1)
	for _, n := range []struct {
		field         string
		got, min, max int
	}{
		{"SourceFailures", o.SourceFailures, 1, 1000},
		{"AccountFailures", o.AccountFailures, 1, 1000},
		{"AccountCeiling", o.AccountCeiling, o.AccountFailures, 10_000},
		{"PrefixFailures", o.PrefixFailures, 1, 100_000},
		{"MaxCounters", o.MaxCounters, 1000, 100_000_000},
		{"Replicas", o.Replicas, 1, 1000},
	} {
		if n.got < n.min || n.got > n.max {
			return o, fmt.Errorf("tokenauth: Options.Throttle.%s is %d, must be from %d to %d", n.field, n.got, n.min, n.max)
		}
	}
	if n := len(o.Key.Reveal()); o.Key != (Secret{}) && n < 32 {
		return o, fmt.Errorf("tokenauth: Options.Throttle.Key has %d bytes, must have at least 32", n)
	}
	return o, nil
}

// ErrThrottled is returned by SignIn, as a ThrottledError, for credentials that
// were not looked at: there were too many failures. It says nothing about them.
var ErrThrottled = errors.New("tokenauth: too many failed sign-ins")

// A ThrottledError is the ErrThrottled that says when to try again.
type ThrottledError struct{ RetryAfter time.Duration }

// Error does not tell the time, which depends on the account.
func (e *ThrottledError) Error() string { return ErrThrottled.Error() }

// Is reports whether target is ErrThrottled.
func (e *ThrottledError) Is(target error) bool { return target == ErrThrottled }

// A UserNameNormalizer is an Authenticator to which several spellings are one
// user name. The throttle counts by what it returns, or by the name as typed.
type UserNameNormalizer interface {
	NormalizeUserName(userName string) string
}

// A throttle limits how often passwords can be guessed.
type throttle struct {
	options ThrottleOptions
	key     Secret
	now     func() time.Time
	shared  AttemptCounter // nil if each process counts for itself
	local   *localCounters
	trouble func(error) // is told if shared fails
	down    atomic.Bool // whether it did the last time

	mu      sync.Mutex
	waiting int
	queues  map[CounterKey]*queue // for an account from a source; gone when empty
}

// A queue is where sign-ins to one account from one source wait for those that
// are under way.
type queue struct {
	underWay int
	turns    []chan struct{}
}

// maxWaiting is how many sign-ins wait for others that are under way. Each
// holds its request, and no more.
const maxWaiting = 4096

func newThrottle(s Storage, o ThrottleOptions, now func() time.Time, trouble func(error)) (*throttle, error) {
	t := &throttle{options: o, key: o.Key, now: now, trouble: trouble, local: newLocalCounters(o.MaxCounters), queues: make(map[CounterKey]*queue)}
	if o.Key == (Secret{}) {
		key := make([]byte, 32)
		rand.Read(key)
		t.key = NewSecret(string(key))
		return t, nil
	}
	counter, ok := s.(AttemptCounter)
	if !ok {
		return nil, fmt.Errorf("tokenauth: Options.Throttle.Key needs a storage in which replicas count together (an AttemptCounter), and %T is none: those of gormstore and redisstore are; a single process needs no Key", s)
	}
	t.shared = counter
	return t, nil
}

// An attempt is a sign-in that may go on. It is settled once.
type attempt struct {
	throttle *throttle
	counter  AttemptCounter
	keys     []CounterKey
}

// begin reserves an attempt, or returns a ThrottledError. If there is no room
// but for what others that are under way may give back, it waits for them.
func (t *throttle) begin(ctx context.Context, userName string, from netip.Addr, timeout time.Duration) (*attempt, error) {
	a := &attempt{throttle: t, keys: t.keys(userName, from)}
	for {
		v, err := t.reserve(ctx, a, timeout)
		switch {
		case err != nil:
			return nil, err
		case v.blocked > 0:
			t.wake(a.keys[sourceLayer], 0) // to be told the same
			return nil, &ThrottledError{RetryAfter: v.blocked}
		case !v.busy:
			t.underWay(a.keys[sourceLayer])
			return a, nil
		}
		if err := t.wait(ctx, a.keys[sourceLayer]); err != nil {
			return nil, err
		}
	}
}

var errTooManyWait = errors.New("tokenauth: too many sign-ins wait for each other")

// wait returns when it is this one's turn. That comes when one that is under
// way has been settled; if none is here, then after a while in which one of
// another source or another process may have been.
func (t *throttle) wait(ctx context.Context, key CounterKey) error {
	const elsewhere = 100 * time.Millisecond
	turn := make(chan struct{})
	t.mu.Lock()
	if t.waiting >= maxWaiting {
		t.mu.Unlock()
		return errTooManyWait
	}
	t.waiting++
	q := t.queue(key)
	q.turns = append(q.turns, turn)
	alone := q.underWay == 0
	t.mu.Unlock()

	var timeout <-chan time.Time
	if alone {
		timer := time.NewTimer(elsewhere)
		defer timer.Stop()
		timeout = timer.C
	}
	select {
	case <-turn:
		return nil
	case <-timeout:
		t.leave(key, turn)
		return nil
	case <-ctx.Done():
		t.leave(key, turn)
		t.wake(key, 0) // the turn goes to the next
		return ctx.Err()
	}
}

func (t *throttle) underWay(key CounterKey) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.queue(key).underWay++
}

// wake gives the first in the queue its turn, after so many were settled.
func (t *throttle) wake(key CounterKey, settled int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	q := t.queue(key)
	q.underWay -= settled
	if len(q.turns) > 0 {
		close(q.turns[0])
		q.turns = q.turns[1:]
		t.waiting--
	}
	t.drop(key, q)
}

func (t *throttle) leave(key CounterKey, turn chan struct{}) {
	t.mu.Lock()
	defer t.mu.Unlock()
	q := t.queue(key)
	if i := slices.Index(q.turns, turn); i >= 0 {
		q.turns = slices.Delete(q.turns, i, i+1)
		t.waiting--
	}
	t.drop(key, q)
}

// queue returns the queue of the key. The caller holds the lock.
func (t *throttle) queue(key CounterKey) *queue {
	q := t.queues[key]
	if q == nil {
		q = new(queue)
		t.queues[key] = q
	}
	return q
}

func (t *throttle) drop(key CounterKey, q *queue) {
	if q.underWay == 0 && len(q.turns) == 0 {
		delete(t.queues, key)
	}
}

// reserve counts the attempt as pending where it may go on. If that fails, the
// turn, which this one may have had, goes to the next.
func (t *throttle) reserve(ctx context.Context, a *attempt, timeout time.Duration) (v verdict, err error) {
	reserved := false
	defer func() { // also when the storage panics
		if !reserved {
			t.wake(a.keys[sourceLayer], 0)
		}
	}()
	v, err = t.reserveAnywhere(ctx, a, timeout)
	reserved = err == nil
	return v, err
}

func (t *throttle) reserveAnywhere(ctx context.Context, a *attempt, timeout time.Duration) (v verdict, err error) {
	a.counter = t.local
	if t.shared == nil {
		return t.reserveIn(ctx, a, timeout, 1)
	}
	a.counter = t.shared
	v, err = t.reserveIn(ctx, a, timeout, 1)
	if ctx.Err() != nil {
		return v, err
	}
	t.sharedIs(err)
	if err == nil {
		return v, nil
	}
	// Never unlimited: this process counts for itself, its part.
	a.counter = t.local
	return t.reserveIn(ctx, a, timeout, t.options.Replicas)
}

// sharedIs tells of trouble once, until it has ended.
func (t *throttle) sharedIs(err error) {
	if wasDown := t.down.Swap(err != nil); err != nil && !wasDown {
		t.trouble(err)
	}
}

func (t *throttle) reserveIn(ctx context.Context, a *attempt, timeout time.Duration, replicas int) (v verdict, err error) {
	now := t.now().UnixMilli()
	timed := withTimeout(ctx, timeout)
	defer timed.end()
	err = a.counter.UpdateCounters(timed, a.keys, func(c []Counter) {
		l := t.limits(replicas)
		v = l.judge(c, now)
		if v.blocked > 0 || v.busy {
			return
		}
		for i := range c {
			c[i].begin(now)
		}
	})
	return v, err
}

// An outcome is what became of an attempt.
type outcome int

const (
	undecided outcome = iota // trouble: as if it had not been made
	failed
	succeeded
)

// settle counts what came of the attempt. If that fails, the attempt stays
// pending for a while; nothing else depends on it.
func (a *attempt) settle(ctx context.Context, o outcome, timeout time.Duration) {
	t := a.throttle
	defer t.wake(a.keys[sourceLayer], 1) // also when the storage panics
	now := t.now().UnixMilli()
	timed := withTimeout(context.WithoutCancel(ctx), timeout)
	defer timed.end()
	err := a.counter.UpdateCounters(timed, a.keys, func(c []Counter) {
		for i := range c {
			c[i].end(o, layer(i), now)
		}
	})
	if err != nil {
		t.sharedIs(err)
	}
}

// forget has an account start afresh.
func (t *throttle) forget(ctx context.Context, userName string) error {
	keys := []CounterKey{t.accountKey(userName)}
	clear := func(c []Counter) { c[0] = Counter{} }
	if err := t.local.UpdateCounters(ctx, keys, clear); err != nil || t.shared == nil {
		return err
	}
	return t.shared.UpdateCounters(ctx, keys, clear)
}

// keys are those of the layers, in their order.
func (t *throttle) keys(userName string, from netip.Addr) []CounterKey {
	source, wide := prefixes(from)
	keys := []CounterKey{
		t.counterKey(sourceLayer, userName, source),
		t.accountKey(userName),
		t.counterKey(prefixLayer, "", source),
	}
	if wide.IsValid() {
		keys = append(keys, t.counterKey(wideLayer, "", wide))
	}
	return keys
}

func (t *throttle) accountKey(userName string) CounterKey {
	return t.counterKey(accountLayer, userName, netip.Prefix{})
}

func (t *throttle) counterKey(l layer, userName string, p netip.Prefix) CounterKey {
	mac := hmac.New(sha256.New, []byte(t.key.Reveal()))
	prefix, _ := p.MarshalText()
	fmt.Fprintf(mac, "%d %s ", l, prefix)
	mac.Write([]byte(userName))
	key := CounterKey(mac.Sum(nil)[:16])
	key[0] = byte(l)
	return key
}

// prefixes returns the network that counts as one source, and for IPv6 the
// wider one that one customer may have all of. An unknown address has a source
// of its own, shared by all whose address is unknown.
func prefixes(from netip.Addr) (source, wide netip.Prefix) {
	from = from.Unmap().WithZone("")
	switch {
	case from.Is4():
		source, _ = from.Prefix(32)
	case from.Is6():
		source, _ = from.Prefix(64)
		wide, _ = from.Prefix(48)
	}
	return source, wide
}
