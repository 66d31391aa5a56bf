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

// The layers of counters. The layer is the first byte of a [throttle.Key]. An
// attempt has one or two counters in each of the first two layers.
const (
	accountAndSource = iota
	account          // from all sources
	fromSource       // for all accounts
	fromWide         // for all accounts; IPv6 only
)

// A Source is where a sign-in comes from.
type Source struct {
	Addr netip.Addr
	// CrossSite means that a browser marked the request as coming from another
	// site. Such sign-ins are counted apart from others of the same address.
	CrossSite bool
}

// A namer derives each [throttle.Key] by a keyed hash. It keeps the key of the
// hash in a func, so that fmt cannot print it.
type namer struct{ mac func() hash.Hash }

// newNamer returns a namer with the given key, or with a random one if it is
// nil.
func newNamer(key []byte) namer {
	if key == nil {
		key = make([]byte, 32)
		rand.Read(key) // never returns an error: on failure it ends the process
	}
	return namer{func() hash.Hash { return hmac.New(sha256.New, key) }}
}

// The input of a key: a folded user name, the ID of an account, a folded
// name that no account has, or the name as typed.
const (
	ofName    = ""
	ofAccount = "account"
	ofNobody  = "nobody"
	asTyped   = "typed"
)

// names has each [throttle.Key] of an attempt. A folded name is the same for
// all spellings that a database may treat as one name.
type names struct {
	namer
	from         Source
	narrow, wide netip.Prefix
	folded       string

	pair, name         throttle.Key // of the folded name, from this source and from all sources
	source, wideSource throttle.Key // of the address or /64, and of the /48; wideSource is zero for IPv4
	typedPair, typed   throttle.Key // of the name as typed, from this source and from all sources

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

// network returns the [throttle.Key] of the network that takes turns with
// others: an IPv4 address or an IPv6 /48.
func (k *names) network() throttle.Key {
	if k.wide.IsValid() {
		return k.wideSource
	}
	return k.source
}

func (k *names) pairOf(of, value string) throttle.Key {
	return k.key(accountAndSource, of, k.narrow, k.from.CrossSite, value)
}

// byName returns the keys of the counters of an attempt whose account is not
// known yet. Spellings of one folded name may belong to several accounts, so it
// includes the name as typed.
func (k *names) byName() []throttle.Key { return k.with(k.typedPair, k.typed) }

// byAccount returns the keys of the counters of an attempt for an account, or
// for a name that no account has. Both have the same number of counters, so
// that they take the same work. They include the counters of the folded name.
// Without these, waits would reveal which spellings belong to one account.
func (k *names) byAccount(id string, found bool) []throttle.Key {
	of := ofAccount
	if !found {
		of, id = ofNobody, k.folded
	}
	return k.with(k.pairOf(of, id), k.accountKey(of, id))
}

// with returns the keys of an account, from this source and from all, followed
// by those of the folded name and of the source.
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

// key returns the [throttle.Key] for what a counter counts. The part before the
// first space contains no space, so different inputs have different texts. Keys
// without a marker are the same as in earlier versions, so their counters stay
// valid.
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
