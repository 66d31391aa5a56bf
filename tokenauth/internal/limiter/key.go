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

// The layers: the kinds of counters. The layer is the first byte of a
// [throttle.Key]. An attempt has two counters in each of the first two layers:
// one for the folded name, and one for the account or the name as typed.
const (
	accountAndSource = iota // an account, or a name, from one source
	account                 // an account, or a name, from all sources
	fromSource              // an IPv4 address or IPv6 /64, for all accounts
	fromWide                // an IPv6 /48, for all accounts
	codes                   // wrong one-time codes of an account since a right one
	codesOfYear             // wrong one-time codes of an account in a year
	layers                  // the number of layers
)

// A Source is where a sign-in comes from.
type Source struct {
	Addr netip.Addr
	// CrossSite means that a browser marked the request as coming from another
	// site. Such sign-ins are counted separately from other sign-ins from the
	// same address.
	CrossSite bool
}

// A namer makes each [throttle.Key] with a keyed hash. It keeps the hash's key
// inside a func, so that fmt cannot print it.
type namer struct{ mac func() hash.Hash }

// newNamer returns a namer with the given key. If the key is nil, it makes a
// random one.
func newNamer(key []byte) namer {
	if key == nil {
		key = make([]byte, 32)
		rand.Read(key) // never returns an error: on failure it ends the process
	}
	return namer{func() hash.Hash { return hmac.New(sha256.New, key) }}
}

// The kinds of names and IDs from which a [throttle.Key] is made. Each kind
// gives different keys for the same text.
const (
	ofName    = ""        // a folded user name
	ofAccount = "account" // the ID of an account
	ofNobody  = "nobody"  // a folded name that no account has
	asTyped   = "typed"   // a user name as typed
)

// names has the keys of an attempt, except the keys of its account, which
// byAccount makes. The keys identify counters, blocks, lines and wrong lists.
// The folded name comes from [fold.Name].
type names struct {
	namer
	from         Source
	narrow, wide netip.Prefix
	folded       string

	pair, name         throttle.Key // the folded name, from this source and from all sources
	source, wideSource throttle.Key // the address or /64, and the /48; wideSource is zero for IPv4
	typedPair, typed   throttle.Key // the name as typed, from this source and from all sources

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

// network returns the key of the network in whose line the attempt waits: an
// IPv4 address or an IPv6 /48.
func (k *names) network() throttle.Key {
	if k.wide.IsValid() {
		return k.wideSource
	}
	return k.source
}

func (k *names) pairOf(of, value string) throttle.Key {
	return k.key(accountAndSource, of, k.narrow, k.from.CrossSite, value)
}

// byName returns the counter keys of an attempt whose account is not known yet.
// Several accounts may share a folded name, so the name as typed has counters
// of its own.
func (k *names) byName() []throttle.Key { return k.with(k.typedPair, k.typed) }

// byAccount returns the counter keys of an attempt for the account with this
// ID. If found is false, it returns the keys for a name that no account has.
// The number of keys is the same in both cases, so that both take the same
// time.
//
// The keys include those of the folded name. Without the folded name's
// counters, the waits would reveal which spellings belong to one account.
func (k *names) byAccount(id string, found bool) []throttle.Key {
	of := ofAccount
	if !found {
		of, id = ofNobody, k.folded
	}
	return k.with(k.pairOf(of, id), k.accountKey(of, id))
}

// with returns all counter keys of an attempt. Other methods rely on their
// order:
//
//   - pair and account: an account or a name, from this source and from all
//     sources,
//   - the folded name, from this source and from all sources,
//   - the source, and for IPv6 its /48.
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

// key hashes a description of what a counter counts: the layer with an optional
// marker, the network and the value, separated by spaces. Only the value can
// contain a space, so different arguments have different descriptions. A
// description without a marker is the same as in earlier versions, so counters
// that those versions stored stay valid.
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
