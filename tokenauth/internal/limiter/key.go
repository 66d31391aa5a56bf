package limiter

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"hash"
	"net/netip"

	"github.com/bearerkit/bearerkit/tokenauth/internal/source"
	"github.com/bearerkit/bearerkit/tokenauth/throttle"
)

// The layers: what a counter counts for, and the first byte of its key. An
// attempt has a counter in each of them, in this order.
const (
	accountAndSource = iota
	account          // over all sources
	fromSource       // for all accounts
	wideSource       // for all accounts; IPv6 only
)

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

func (n namer) keys(userName string, from netip.Addr) []throttle.Key {
	narrow, wide := source.Networks(from)
	keys := []throttle.Key{
		n.key(accountAndSource, userName, narrow),
		n.accountKey(userName),
		n.key(fromSource, "", narrow),
	}
	if wide.IsValid() {
		keys = append(keys, n.key(wideSource, "", wide))
	}
	return keys
}

func (n namer) accountKey(userName string) throttle.Key {
	return n.key(account, userName, netip.Prefix{})
}

func (n namer) key(layer byte, userName string, network netip.Prefix) throttle.Key {
	mac := n.mac()
	text, _ := network.MarshalText()
	fmt.Fprintf(mac, "%d %s ", layer, text)
	mac.Write([]byte(userName))
	key := throttle.Key(mac.Sum(nil)[:16])
	key[0] = layer
	return key
}
