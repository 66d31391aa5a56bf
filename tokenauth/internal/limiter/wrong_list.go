package limiter

import (
	"slices"
	"time"

	"github.com/bearerkit/bearerkit/tokenauth/throttle"
)

// A wrongList has the last passwords first.
type wrongList struct {
	passwords  [maxWrong]wrongPassword
	n          int
	repeated   int   // how often one was repeated
	repeatedAt int64 // when, in Unix milliseconds
	waits      bool  // an attempt waits for its turn to repeat one
}

type wrongPassword struct {
	fingerprint uint16
	n           uint8
	at          [4]uint32 // parts of the keys of the accounts where it was wrong
}

// since is how long ago a password was repeated. A clock that was set back makes
// nobody wait longer.
func (l *wrongList) since(now int64) time.Duration {
	if l.repeatedAt > now {
		return repeatEvery
	}
	return time.Duration(now-l.repeatedAt) * time.Millisecond
}

// takeTurn reports whether a password may be repeated, and notes that it is.
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

// add puts the password first. It reports whether it is new for the account, and
// whether it is new at all. The second is so at least as often, whatever the order:
// the counters of the name, which all spellings have, decide before those of an
// account do.
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

// dropLeastRepeated drops, of a sample, the list of which least was repeated, and
// of those the one that was repeated first. So names that are tried once do not
// crowd out the one that a device repeats.
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
