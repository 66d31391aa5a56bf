package limiter

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"hash"
	"net/netip"

	"github.com/bearerkit/bearerkit/tokenauth/internal/fold"
	"github.com/bearerkit/bearerkit/tokenauth/internal/source"
	"github.com/bearerkit/bearerkit/tokenauth/throttle"
)

// The layers: what a counter counts for, and the first byte of its key. An
// attempt has one or two counters in each of the first two.
const (
	accountAndSource = iota
	account          // over all sources
	fromSource       // for all accounts
	fromWide         // for all accounts; IPv6 only
)

// A Source is where a sign-in comes from.
type Source struct {
	Addr netip.Addr
	// CrossSite sign-ins, which a browser marked as coming from another site,
	// count apart from others of the same address.
	CrossSite bool
}

// A namer names counters by a keyed hash. It does not print the key.
type namer struct{ mac func() hash.Hash }

// newNamer returns a namer with the key, or with a random one.
func newNamer(key []byte) namer {
	if key == nil {
		key = make([]byte, 32)
		rand.Read(key) // never fails: it would end the process
	}
	return namer{func() hash.Hash { return hmac.New(sha256.New, key) }}
}

// What stands behind a key: a folded user name, the ID of an account, a folded
// name that no account has, and the name as it was typed.
const (
	ofName    = ""
	ofAccount = "account"
	ofNobody  = "nobody"
	asTyped   = "typed"
)

// names are the keys of an attempt.
type names struct {
	namer
	from         Source
	narrow, wide netip.Prefix
	folded       string

	pair, name         throttle.Key // by the folded name, from the source and from all
	source, wideSource throttle.Key // the second is zero for IPv4
	typedPair, typed   throttle.Key // by the name as typed

	guess uint16 // the fingerprint of the password
}

func (n namer) names(userName string, from Source) *names {
	narrow, wide := source.Networks(from.Addr)
	k := &names{namer: n, from: from, narrow: narrow, wide: wide, folded: fold.Name(userName)}
	k.pair, k.name = k.pairOf(ofName, k.folded), n.accountKey(ofName, k.folded)
	k.typedPair, k.typed = k.pairOf(asTyped, userName), n.accountKey(asTyped, userName)
	k.source = k.key(fromSource, ofName, narrow, from.CrossSite, "")
	if wide.IsValid() {
		k.wideSource = k.key(fromWide, ofName, wide, from.CrossSite, "")
	}
	return k
}

// network is the key of the network that has turns of its own.
func (k *names) network() throttle.Key {
	if k.wide.IsValid() {
		return k.wideSource
	}
	return k.source
}

func (k *names) pairOf(of, value string) throttle.Key {
	return k.key(accountAndSource, of, k.narrow, k.from.CrossSite, value)
}

// byName returns the keys of the counters of an attempt that is known by its user
// name only: spellings of one folded name may be several accounts.
func (k *names) byName() []throttle.Key { return k.with(k.typedPair, k.typed) }

// byAccount returns the keys of the counters of an attempt on the account with
// that ID, or on a name that no account has. The latter has as many counters, so
// that both take the same work. The counters of the name stay among them: without
// these, two spellings that share their tries would be told from two that do not.
func (k *names) byAccount(id string, found bool) []throttle.Key {
	of := ofAccount
	if !found {
		of, id = ofNobody, k.folded
	}
	return k.with(k.pairOf(of, id), k.accountKey(of, id))
}

// with returns the keys of an account, from the source and from all, with those of
// the folded name and of the source behind them.
func (k *names) with(pair, account throttle.Key) []throttle.Key {
	keys := []throttle.Key{pair, account, k.pair, k.name, k.source}
	if k.wide.IsValid() {
		keys = append(keys, k.wideSource)
	}
	return keys
}

func (n namer) accountKey(of, value string) throttle.Key {
	return n.key(account, of, netip.Prefix{}, false, value)
}

// key hashes what the counter counts for. The first part has no space, so no two
// counters have the same text. Without a marker it is as in earlier versions, whose
// counters stay valid.
func (n namer) key(layer byte, of string, network netip.Prefix, crossSite bool, value string) throttle.Key {
	marker := ""
	if of != ofName {
		marker = "/" + of
	}
	if crossSite {
		marker += "/cross-site"
	}
	mac := n.mac()
	text, _ := network.MarshalText()
	fmt.Fprintf(mac, "%d%s %s ", layer, marker, text)
	mac.Write([]byte(value))
	key := throttle.Key(mac.Sum(nil)[:16])
	key[0] = layer
	return key
}
