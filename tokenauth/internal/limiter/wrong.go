package limiter

import (
	"encoding/binary"
	"fmt"
	"sync"
	"time"

	"github.com/bearerkit/bearerkit/tokenauth/throttle"
)

// wrongPasswords remembers the last wrong passwords of user names, so that a
// device that repeats an old password does not lock out its user. It keeps 16
// bits of a hash of each. The key of the hash is random and never leaves this
// process, so the storage has no part of a password.
//
// A list belongs to a folded name, from one source or from all. All spellings
// share it: otherwise the limits would reveal which spellings are one account.
// A list also records for which accounts a password was wrong. At another
// account, it counts as a failure.
//
// Of other passwords, 3 in 65,536 have the same 16 bits as one in the list.
// These do not count as failures.
type wrongPasswords struct {
	namer namer
	max   int // the maximum size of each map

	mu sync.Mutex
	// lists are by folded name from one source, by folded name from all
	// sources, and by network. Those by network have no passwords, only the
	// turns to repeat one.
	lists [3]map[throttle.Key]*wrongList
}

const (
	// maxWrong is the maximum number of passwords in a list.
	maxWrong = 3
	// repeatEvery is how often wrong passwords of a name may be repeated
	// without counting as failures. From one source, one more attempt waits for
	// the next turn, and others are blocked. Over all sources, and over all
	// names of a network, further repeats count as failures: otherwise an
	// attacker could have the same passwords hashed all the time.
	repeatEvery = time.Second
)

// A repetition reports for which lists an [Attempt] repeats a wrong password:
// those of the source, of all sources, and of the network.
type repetition [3]bool

// pends reports whether the attempt is pending in its counter with index i. In
// the counters of a source it always is.
func (r repetition) pends(i int) bool { return i >= 4 || !r[i%2] }

func newWrongPasswords(max int) *wrongPasswords {
	w := &wrongPasswords{namer: newNamer(nil), max: max}
	for i := range w.lists {
		w.lists[i] = make(map[throttle.Key]*wrongList)
	}
	return w
}

// fingerprint returns 16 bits of a hash of the folded name and the password.
func (w *wrongPasswords) fingerprint(k *names, password string) uint16 {
	mac := w.namer.mac()
	fmt.Fprintf(mac, "%d %s%s", len(k.folded), k.folded, password)
	return binary.BigEndian.Uint16(mac.Sum(nil))
}

func (k *names) lists() [2]throttle.Key { return [2]throttle.Key{k.pair, k.name} }

// list returns the list with the key. It adds one if there is none, and drops
// another if the map is full. The caller must hold w.mu.
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

// repeats returns which lists the attempt repeats a password of. The result
// wait is positive if the source repeated a password less than repeatEvery ago.
// Then the attempt must wait for that time, and call waited, if next is not
// nil. If next is nil, another attempt waits already, and this one is blocked.
// The argument had reports the turns that the attempt has already had.
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

// waited ends the wait of an attempt. The argument turn reports whether it now
// has its turn. The list is nil if the attempt did not wait.
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

// giveBack undoes the turn to repeat a password that an attempt took at this
// time, because no password was hashed.
func (w *wrongPasswords) giveBack(k *names, at int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if list := w.lists[0][k.pair]; list != nil && list.repeatedAt == at {
		list.repeatedAt = 0
	}
}

// failed records that the password is wrong for the account with these keys. It
// returns the keys for which that counts as a failure. An attempt that began as
// no repetition counts for all keys: while pending, it already counted against
// their limits.
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

// succeeded removes the password from the lists: it is now the right one.
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
