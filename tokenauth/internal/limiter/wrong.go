package limiter

import (
	"encoding/binary"
	"fmt"
	"sync"
	"time"

	"github.com/bearerkit/bearerkit/tokenauth/throttle"
)

// wrongPasswords has the last wrong passwords of user names, so that a device may
// repeat an old one. It keeps 16 bits of a hash of each. The key of the hash is
// random and stays in this process, so the storage has nothing of them.
//
// A list belongs to a folded name, from one source or from all. All spellings go by
// it, or the limits would tell which of them are one account. A list also notes at
// which accounts a password was wrong: at another one it counts.
//
// Of other passwords, 3 in 65,536 have the hash of one in the list, and do not count.
type wrongPasswords struct {
	namer namer
	max   int // of each map

	mu sync.Mutex
	// lists are by folded name, from one source and from all. Those by network have
	// no passwords, but only the turns to repeat one.
	lists [3]map[throttle.Key]*wrongList
}

const (
	// maxWrong is how many passwords a list has.
	maxWrong = 3
	// repeatEvery is how often passwords of a name may be repeated without counting.
	// Of those of one source, one attempt waits for that, and others are blocked. Of
	// those of all sources, and of all names of a network, others count: who repeats
	// at many of them would have passwords hashed all the time.
	repeatEvery = time.Second
)

// A repetition says for which lists, of the source, of all and of the network, an
// attempt repeats a wrong password.
type repetition [3]bool

// pends reports whether the attempt is pending in its counter with that index. In
// those of a source it always is.
func (r repetition) pends(i int) bool { return i >= 4 || !r[i%2] }

func newWrongPasswords(max int) *wrongPasswords {
	w := &wrongPasswords{namer: newNamer(nil), max: max}
	for i := range w.lists {
		w.lists[i] = make(map[throttle.Key]*wrongList)
	}
	return w
}

// fingerprint returns 16 bits of a hash of the password. Another name has another
// one for it.
func (w *wrongPasswords) fingerprint(k *names, password string) uint16 {
	mac := w.namer.mac()
	fmt.Fprintf(mac, "%d %s%s", len(k.folded), k.folded, password)
	return binary.BigEndian.Uint16(mac.Sum(nil))
}

func (k *names) lists() [2]throttle.Key { return [2]throttle.Key{k.pair, k.name} }

// list returns the list with the key, and makes room for one if there is none. The
// caller holds the lock.
func (w *wrongPasswords) list(i int, key throttle.Key) *wrongList {
	list := w.lists[i][key]
	if list == nil {
		if len(w.lists[i]) >= w.max {
			dropLeastRepeated(w.lists[i])
		}
		list = new(wrongList)
		w.lists[i][key] = list
	}
	return list
}

// repeats returns what the attempt repeats, and for how long it has to wait because
// the source repeated a password just before. 0 means that it is the attempt's turn,
// unless it had one already, as had says. If next is not nil, the attempt is the only
// one that waits, and calls waited. Otherwise it is blocked.
func (w *wrongPasswords) repeats(k *names, had repetition, now int64) (r repetition, wait time.Duration, next *wrongList) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i, key := range k.lists() {
		list := w.lists[i][key]
		if r[i] = list != nil && list.find(k.guess) >= 0; !r[i] {
			continue
		}
		since := list.since(now)
		switch {
		case had[i]:
		case i == 0 && list.waits:
			return r, 2*repeatEvery - min(since, repeatEvery), nil
		case i == 0 && since < repeatEvery:
			list.waits = true
			return r, repeatEvery - since, list
		default:
			r[i] = list.takeTurn(now)
		}
	}
	if r[0] {
		r[2] = had[2] || w.list(2, k.network()).takeTurn(now)
	}
	return r, 0, nil
}

// waited ends the waiting of an attempt, whose turn it is then or not. The list is
// nil for an attempt that did not wait.
func (w *wrongPasswords) waited(list *wrongList, turn bool, now int64) {
	if list == nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if list.waits = false; turn {
		list.repeated, list.repeatedAt = list.repeated+1, now
	}
}

// giveBack ends the turn that an attempt had at that moment: nothing was hashed.
func (w *wrongPasswords) giveBack(k *names, at int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if list := w.lists[0][k.pair]; list != nil && list.repeatedAt == at {
		list.repeatedAt = 0
	}
}

// failed notes that the password is wrong for the account with these keys. It
// returns for which of them that counts. An attempt that began as no repetition counts
// for all: until it fails, it counts as a failure.
func (w *wrongPasswords) failed(k *names, keys []throttle.Key, r repetition) (counts [maxKeys]bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i, key := range k.lists() {
		ofAccount, ofName := w.list(i, key).add(k.guess, binary.BigEndian.Uint32(keys[i][1:]))
		counts[i], counts[i+2] = ofAccount || !r[i], ofName || !r[i]
	}
	counts[4] = counts[2] || !r[2]
	counts[5] = counts[4]
	return counts
}

// succeeded forgets the password: it is right now.
func (w *wrongPasswords) succeeded(k *names) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i, key := range k.lists() {
		list := w.lists[i][key]
		if list == nil {
			continue
		}
		if at := list.find(k.guess); at >= 0 {
			copy(list.passwords[at:], list.passwords[at+1:list.n])
			list.n--
		}
		if list.n == 0 {
			delete(w.lists[i], key)
		}
	}
}

func (w *wrongPasswords) len() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.lists[0]) + len(w.lists[1]) + len(w.lists[2])
}
