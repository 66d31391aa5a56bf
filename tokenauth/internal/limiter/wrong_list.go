package limiter

import (
	"slices"
	"time"

	"github.com/bearerkit/bearerkit/tokenauth/throttle"
)

// A wrongList has the last wrong passwords of a name, the newest first.
type wrongList struct {
	passwords  [maxWrong]wrongPassword
	n          int
	repeated   int   // how often a password was repeated
	repeatedAt int64 // the last time, in Unix milliseconds
	waits      bool  // an attempt waits for its turn to repeat one
}

type wrongPassword struct {
	fingerprint uint16
	n           uint8
	at          [4]uint32 // parts of the keys of accounts for which it was wrong
}

// since returns how long ago a password was repeated. If the clock was set
// back, it returns repeatEvery, so that no attempt waits longer.
func (l *wrongList) since(now int64) time.Duration {
	if l.repeatedAt > now {
		return repeatEvery
	}
	return time.Duration(now-l.repeatedAt) * time.Millisecond
}

// takeTurn reports whether a password may be repeated now, and records that it
// is.
func (l *wrongList) takeTurn(now int64) bool {
	if l.since(now) < repeatEvery {
		return false
	}
	l.repeated, l.repeatedAt = l.repeated+1, now
	return true
}

// find returns the index of the password, or -1.
func (l *wrongList) find(fingerprint uint16) int {
	return slices.IndexFunc(l.passwords[:l.n], func(p wrongPassword) bool { return p.fingerprint == fingerprint })
}

// add puts the password first. It reports whether the password is new for the
// account, and whether it is new for the name. For each account, a password is
// new for the name at least as often as for the account. So the counters of the
// name, which all spellings share, reach their limits first. An entry records
// up to four accounts; for others the password is always new.
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

// dropLeastRepeated drops, from a sample, the list with the fewest repetitions,
// and of these the one that was repeated first. So names that are tried once do
// not evict the list of a device that repeats its password.
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
