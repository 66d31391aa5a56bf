package limiter

import (
	"slices"
	"time"

	"github.com/bearerkit/bearerkit/tokenauth/throttle"
)

// A wrongList has the last wrong passwords that were tried for a folded name,
// the newest first. The list of a network has no passwords, only the time of
// its last repetition.
type wrongList struct {
	passwords  [maxWrong]wrongPassword
	n          int   // the number of passwords
	repeated   int   // how often one of the passwords was repeated
	repeatedAt int64 // the time of the last repetition, in Unix milliseconds
	waits      bool  // whether an attempt waits for its turn to repeat a password
}

type wrongPassword struct {
	fingerprint uint16
	n           uint8     // the number of used elements in the array at
	at          [4]uint32 // the accounts for which the password was wrong, as 4 bytes of their keys
}

// since returns how long ago a password of the list was repeated. If the clock
// was set back, it returns repeatEvery, so that no attempt waits longer than
// repeatEvery.
func (l *wrongList) since(now int64) time.Duration {
	if l.repeatedAt > now {
		return repeatEvery
	}
	return time.Duration(now-l.repeatedAt) * time.Millisecond
}

// takeTurn reports whether a password of the list may be repeated now. If so,
// it records the repetition.
func (l *wrongList) takeTurn(now int64) bool {
	if l.since(now) < repeatEvery {
		return false
	}
	l.repeated, l.repeatedAt = l.repeated+1, now
	return true
}

// find returns the index of the password with this fingerprint, or -1.
func (l *wrongList) find(fingerprint uint16) int {
	return slices.IndexFunc(l.passwords[:l.n], func(p wrongPassword) bool { return p.fingerprint == fingerprint })
}

// add puts the password first in the list. It reports whether the password is
// new for the account, and whether it is new for the folded name. A password
// that is new for the account is also new for the name, or was new for the name
// when it was tried for another account. So the counters of the name, which all
// spellings share, reach their limits first.
//
// The list records up to four accounts for each password. For any further
// account, the password is new each time.
func (l *wrongList) add(fingerprint uint16, account uint32) (ofAccount, ofName bool) {
	i := l.find(fingerprint)
	p := wrongPassword{fingerprint: fingerprint}
	if ofName = i < 0; ofName {
		l.n = min(l.n+1, maxWrong)
		i = l.n - 1
	} else {
		p = l.passwords[i]
	}
	if ofAccount = !slices.Contains(p.at[:p.n], account); ofAccount && int(p.n) < len(p.at) {
		p.at[p.n] = account
		p.n++
	}
	copy(l.passwords[1:i+1], l.passwords[:i])
	l.passwords[0] = p
	return ofAccount, ofName
}

// dropLeastRepeated drops one list of a sample: the one with the fewest
// repetitions. If several have equally few, it drops the one whose last
// repetition is the oldest. So the lists of names that are tried once do not
// evict the list of a device that repeats its password.
func dropLeastRepeated(lists map[throttle.Key]*wrongList) {
	var least throttle.Key
	var of *wrongList
	looked := 0
	for key, list := range lists {
		if of == nil || list.repeated < of.repeated || list.repeated == of.repeated && list.repeatedAt < of.repeatedAt {
			least, of = key, list
		}
		if looked++; looked == sample {
			break
		}
	}
	delete(lists, least)
}
