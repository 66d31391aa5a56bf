package limiter

import (
	"sync"
	"time"

	"github.com/bearerkit/bearerkit/tokenauth/throttle"
)

// A memory remembers what the counters last showed: which keys are blocked and
// for how long, and which sources are known to which names. So this process can
// refuse most attempts over a limit without looking up the account or reading
// the counters again.
type memory struct {
	mu      sync.Mutex
	blocked map[throttle.Key]*block
	known   map[throttle.Key]struct{} // the names.pair keys of known sources
	helped  map[throttle.Key]struct{} // the names.name keys of accounts that were reset and have tries left
	max     int                       // the maximum size of each map
}

// A block is the period in which attempts with a key are blocked. Times are in
// Unix milliseconds.
type block struct {
	since, until int64
	began        int64                     // when the current askEvery interval began
	asked        map[throttle.Key]struct{} // the networks that read the counters in this interval
}

const (
	// recall is how long this process relies on a block of one name from one
	// source. After that, an attempt reads the counters again, because another
	// process may have reset them.
	recall = 5 * time.Second
	// askEvery is the interval in which one network may read the counters once,
	// despite a block that it shares with other sources or names (see
	// ofOthers). A known source is exempt from such a block, but only the
	// account's counters show that it is known. So the network may look.
	askEvery = 100 * time.Millisecond
	// maxAskers is the maximum number of networks that may read the counters
	// despite the same block in one askEvery interval.
	maxAskers = 10
)

func newMemory(max int) *memory {
	return &memory{blocked: make(map[throttle.Key]*block), known: make(map[throttle.Key]struct{}), helped: make(map[throttle.Key]struct{}), max: max}
}

// refuses returns how long the attempt is blocked, as far as this process
// knows, or 0 if the attempt may read the counters. It may permit the attempt
// to read them despite a block (see askEvery). The result asksNow is true if
// the attempt has this permission. The caller passes it as the argument asks in
// the attempt's next call.
func (m *memory) refuses(k *names, asks bool, now int64) (longest time.Duration, asksNow bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, key := range k.ofPair() {
		if b := m.get(key, now); b != nil && now < b.since+recall.Milliseconds() {
			longest = max(longest, b.left(now))
		}
	}
	if longest > 0 {
		return longest, false
	}
	if asks || m.exempt(k) {
		return 0, asks
	}
	for _, key := range k.ofOthers() {
		b := m.get(key, now)
		if b == nil {
			continue
		}
		if b.ask(k.network(), now) {
			return 0, true
		}
		longest = max(longest, b.left(now))
	}
	return longest, false
}

// left returns how long the attempt is blocked, as far as this process knows.
// Unlike refuses, it lets no attempt read the counters despite a block.
func (m *memory) left(k *names, now int64) (longest time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	keys := k.ofPair()
	if !m.exempt(k) {
		keys = append(keys, k.ofOthers()...)
	}
	for _, key := range keys {
		if b := m.get(key, now); b != nil {
			longest = max(longest, b.left(now))
		}
	}
	return longest
}

// ofPair returns the keys of the counters of this user name from this source.
func (k *names) ofPair() []throttle.Key { return []throttle.Key{k.typedPair, k.pair} }

// ofOthers returns the keys of the counters that the attempt shares with
// sign-ins from other sources or under other names.
func (k *names) ofOthers() []throttle.Key {
	return []throttle.Key{k.typed, k.name, k.source, k.wideSource}
}

// knows reports whether, as far as this process knows, the limits of the source
// do not apply to the name.
func (m *memory) knows(k *names) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.exempt(k)
}

func (m *memory) exempt(k *names) bool {
	_, known := m.known[k.pair]
	_, helped := m.helped[k.name]
	return known || helped
}

// ask reports whether an attempt from the network may read the counters now,
// despite the block. If so, it records the network.
func (b *block) ask(network throttle.Key, now int64) bool {
	if since := now - b.began; since < 0 || since >= askEvery.Milliseconds() {
		clear(b.asked)
		b.began = now
	}
	if _, asked := b.asked[network]; asked || len(b.asked) >= maxAskers {
		return false
	}
	b.asked[network] = struct{}{}
	return true
}

func (b *block) left(now int64) time.Duration { return time.Duration(b.until-now) * time.Millisecond }

// get returns the block of the key, or nil if there is none or it has ended. It
// ignores a block that begins in the future: the clock was set back after the
// block was recorded.
func (m *memory) get(key throttle.Key, now int64) *block {
	b := m.blocked[key]
	if b == nil || now < b.since || now >= b.until {
		return nil
	}
	return b
}

// note remembers the verdict that the counters with these keys gave. A block on
// the counters of the folded name applies to every spelling of the name. A block
// on an account's counters is stored under the name as typed only, because
// another spelling may belong to another account.
func (m *memory) note(k *names, keys []throttle.Key, v *verdict, now int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if v.known {
		m.keep(m.known, k.pair)
	}
	switch {
	case v.helped:
		m.keep(m.helped, k.name)
	case v.used:
		delete(m.helped, k.name)
	}
	if longest := v.longest(); longest > 0 {
		m.block(k, k.typedPair, longest, now)
	}
	for i, key := range keys {
		if key == k.pair || key == k.name {
			m.set(k, key, v.each[i], v.known, now)
		}
	}
	for layer, key := range [...]throttle.Key{account: k.typed, fromSource: k.source, fromWide: k.wideSource} {
		if key != (throttle.Key{}) {
			m.set(k, key, v.blocked[layer], v.known || v.helped && layer >= fromSource, now)
		}
	}
}

// set records that the key is blocked for the duration wait or, if wait is
// zero, that it is not blocked. If known is true, a wait of zero leaves an
// earlier block in place, because most limits were not checked.
func (m *memory) set(k *names, key throttle.Key, wait time.Duration, known bool, now int64) {
	switch {
	case wait > 0:
		m.block(k, key, wait, now)
	case !known:
		delete(m.blocked, key)
	}
}

// keep adds the key to a set of at most m.max keys.
func (m *memory) keep(set map[throttle.Key]struct{}, key throttle.Key) {
	if len(set) >= m.max {
		dropAny(set)
	}
	set[key] = struct{}{}
}

func (m *memory) block(k *names, key throttle.Key, wait time.Duration, now int64) {
	b := m.blocked[key]
	if b == nil {
		if len(m.blocked) >= m.max {
			dropAny(m.blocked)
		}
		b = &block{asked: make(map[throttle.Key]struct{})}
		m.blocked[key] = b
	}
	b.since, b.until = now, now+wait.Milliseconds()
	b.ask(k.network(), now)
}

// succeeded records that the [Source] is known to the name, and drops the
// name's blocks.
func (m *memory) succeeded(k *names) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.keep(m.known, k.pair)
	delete(m.helped, k.name)
	for _, key := range []throttle.Key{k.typedPair, k.pair, k.typed, k.name} {
		delete(m.blocked, key)
	}
}

// forget drops all blocks, and records that [Limiter.Reset] was called for the
// folded names with these keys. It drops all blocks because it cannot tell
// which belong to the account: some keys are hashes of a name and a source, and
// Reset does not know the sources.
func (m *memory) forget(helped []throttle.Key) {
	m.mu.Lock()
	defer m.mu.Unlock()
	clear(m.blocked)
	for _, name := range helped {
		m.keep(m.helped, name)
	}
}

func dropAny[V any](from map[throttle.Key]V) {
	for key := range from {
		delete(from, key)
		return
	}
}
