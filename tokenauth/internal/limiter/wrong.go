package limiter

import (
	"encoding/binary"
	"fmt"
	"sync"
	"time"

	"github.com/bearerkit/bearerkit/tokenauth/throttle"
)

// wrongPasswords remembers the last wrong passwords that were tried for each
// user name, so that a device that repeats an old password does not lock out
// its user. It keeps only a fingerprint of each password: 16 bits of a keyed
// hash. The key is random and never leaves this process, so the storage has no
// part of a password.
//
// Each list belongs to a folded name (see [fold.Name]): a name has one list for
// each source, and one for all sources together. All spellings of a name share
// its lists. Otherwise the limits would reveal which spellings belong to one
// account.
//
// Several accounts may have the same folded name. So a list also records for
// which accounts each password was wrong. If the password is tried for a
// further account, it counts as a failure for that account.
//
// A list has at most three fingerprints. So 3 in 65,536 new guesses look like
// repeated passwords, and do not count as failures.
type wrongPasswords struct {
	namer namer
	max   int // the maximum size of each map

	mu sync.Mutex
	// lists[0] has a list for each folded name and source, lists[1] has one for
	// each folded name, and lists[2] has one for each network. The lists of
	// networks have no passwords. They only limit how often a network may
	// repeat a wrong password (see repeatEvery).
	lists [3]map[throttle.Key]*wrongList
}

const (
	// maxWrong is the maximum number of passwords in a list.
	maxWrong = 3
	// repeatEvery is how often a wrong password may be repeated without
	// counting as a failure. It applies to each kind of list: to a name from
	// one source, to a name from all sources, and to all names from one
	// network.
	//
	// If one source repeats passwords for a name more often, one attempt waits
	// for its turn, and the other attempts are blocked. If all sources together
	// repeat passwords for a name more often, the surplus counts as failures.
	// The same applies if one network repeats passwords for any names more
	// often. Otherwise an attacker could make the service hash the same
	// passwords all the time.
	repeatEvery = time.Second
)

// A repetition reports for which lists an [Attempt] repeats a wrong password
// that does not count: those of the source, of all sources, and of the network.
// The indices are those of wrongPasswords.lists.
type repetition [3]bool

// pends reports whether the attempt is pending in the counter with index i, in
// the order of names.with. An attempt that repeats a wrong password is not
// pending in the counters of the account and the name. Every attempt is pending
// in the counters of the source, which begin at index 4.
func (r repetition) pends(i int) bool { return i >= 4 || !r[i%2] }

func newWrongPasswords(max int) *wrongPasswords {
	w := &wrongPasswords{namer: newNamer(nil), max: max}
	for i := range w.lists {
		w.lists[i] = make(map[throttle.Key]*wrongList)
	}
	return w
}

// fingerprint returns 16 bits of a keyed hash of the folded name and the
// password.
func (w *wrongPasswords) fingerprint(k *names, password string) uint16 {
	mac := w.namer.mac()
	fmt.Fprintf(mac, "%d %s%s", len(k.folded), k.folded, password)
	return binary.BigEndian.Uint16(mac.Sum(nil))
}

func (k *names) lists() [2]throttle.Key { return [2]throttle.Key{k.pair, k.name} }

// list returns w.lists[i][key]. If it is missing, list adds an empty one, and
// first drops the list whose passwords were repeated least if the map is full.
// The caller must hold w.mu.
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

// repeats reports for which lists the attempt repeats a password without
// counting as a failure. In each of these lists, it takes a turn for the
// attempt.
//
// If wait is positive, the source repeated a password of this name less than
// repeatEvery ago, or another attempt from the source waits to repeat one. If
// next is not nil, the attempt must wait that long and then pass next to the
// method w.waited. If next is nil, another attempt already waits, and this
// attempt is blocked that long.
//
// The parameter named had reports in which lists the attempt already took its
// turn.
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

// waited records that the attempt for which w.repeats returned this list no
// longer waits. The parameter turn is true if the attempt has its turn now, and
// false if it gave up. If the list is nil, waited does nothing.
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

// giveBack frees the turn to repeat a password, which the attempt took at the
// given time. The attempt did not use the turn, because it hashed no password.
func (w *wrongPasswords) giveBack(k *names, at int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if list := w.lists[0][k.pair]; list != nil && list.repeatedAt == at {
		list.repeatedAt = 0
	}
}

// failed records that the password is wrong for the account with these keys. It
// reports for each key whether the attempt counts as a failure in that key's
// counter. If the attempt repeated no wrong password when it was counted as
// pending, the failure counts for all keys, because the pending attempt already
// counted against their limits.
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

// succeeded removes the password from the lists, because it is now the right
// one.
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
