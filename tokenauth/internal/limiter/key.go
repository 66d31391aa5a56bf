package limiter

import (
	"encoding/hex"
	"fmt"
	"net/netip"

	"github.com/bearerkit/bearerkit/tokenauth/throttle"
)

// The layers: what a counter counts for, and the first byte of its key. An
// attempt has a counter in each of them, in this order.
const (
	accountAndSource = iota
	account          // over all sources
	source           // for all accounts
	wideSource       // for all accounts; IPv6 only
)

func (l *Limiter) keys(userName string, from netip.Addr) []throttle.Key {
	narrow, wide := networks(from)
	keys := []throttle.Key{
		l.key(accountAndSource, userName, narrow),
		l.accountKey(userName),
		l.key(source, "", narrow),
	}
	if wide.IsValid() {
		keys = append(keys, l.key(wideSource, "", wide))
	}
	return keys
}

func (l *Limiter) accountKey(userName string) throttle.Key {
	return l.key(account, userName, netip.Prefix{})
}

func (l *Limiter) key(layer byte, userName string, network netip.Prefix) throttle.Key {
	mac := l.mac()
	text, _ := network.MarshalText()
	fmt.Fprintf(mac, "%d %s ", layer, text)
	mac.Write([]byte(userName))
	key := throttle.Key(mac.Sum(nil)[:16])
	key[0] = layer
	return key
}

// Account returns a keyed hash of the user name, for logs.
func (a *Attempt) Account() string {
	key := a.keys[account]
	return hex.EncodeToString(key[8:])
}

// networks returns the network that counts as one source, and for IPv6 the
// wider one that a single customer may have. All unknown addresses count as one
// source.
func networks(from netip.Addr) (narrow, wide netip.Prefix) {
	from = from.Unmap().WithZone("")
	switch {
	case from.Is4():
		narrow, _ = from.Prefix(32)
	case from.Is6():
		narrow, _ = from.Prefix(64)
		wide, _ = from.Prefix(48)
	}
	return narrow, wide
}
