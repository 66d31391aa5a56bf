package tokenauth

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// sourceOf is clientAddr for a sign-in, which the throttle counts by it. It
// warns, once, of a header that is not believed: behind a proxy that
// TrustedProxies does not name all users are one source.
func (s *Service) sourceOf(r *http.Request) netip.Addr {
	if peer := parseAddr(r.RemoteAddr); r.Header.Get("X-Forwarded-For") != "" && !isTrusted(peer, s.options.TrustedProxies) {
		s.untrusted.Do(func() {
			s.options.Logger.WarnContext(r.Context(), "tokenauth: a header names the address of a client, and comes from a peer that Options.TrustedProxies does not name: if that is a proxy of yours, its users share the limits of one address", "peer", peer.String())
		})
	}
	return clientAddr(r, s.options.TrustedProxies)
}

// maxHops bounds how many proxies a request may have passed.
const maxHops = 64

// clientAddr returns the address that a request comes from: the peer's, unless
// the peer is a trusted proxy; then the rightmost one in X-Forwarded-For that
// is not. The client may have written the entries further left: they are not
// read. The header is not believed at all if an entry on the way is not an
// address, or if there are more than maxHops.
func clientAddr(r *http.Request, trusted []netip.Prefix) netip.Addr {
	peer := parseAddr(r.RemoteAddr)
	if !isTrusted(peer, trusted) {
		return peer
	}
	addr, hops := peer, 0
	for _, line := range slices.Backward(r.Header["X-Forwarded-For"]) {
		for more := true; more; hops++ {
			var hop string
			line, hop, more = cutLast(line)
			addr = parseAddr(hop)
			switch {
			case !addr.IsValid() || hops == maxHops:
				return peer
			case !isTrusted(addr, trusted):
				return addr
			}
		}
	}
	return addr
}

// cutLast cuts the last entry off a list, and reports whether there are more.
func cutLast(list string) (rest, last string, more bool) {
	i := strings.LastIndexByte(list, ',')
	return list[:max(i, 0)], strings.TrimSpace(list[i+1:]), i >= 0
}

// maxAddr is the maximum length of an address: of IPv6 with a zone and a port.
const maxAddr = 100

// parseAddr reads an address with or without a port, in one spelling: without
// a zone, and IPv4 as itself. A longer text than maxAddr is not an address.
func parseAddr(s string) netip.Addr {
	if len(s) > maxAddr {
		return netip.Addr{}
	}
	if withPort, err := netip.ParseAddrPort(s); err == nil {
		return withPort.Addr().Unmap().WithZone("")
	}
	addr, err := netip.ParseAddr(s)
	if err != nil {
		return netip.Addr{}
	}
	return addr.Unmap().WithZone("")
}

func isTrusted(addr netip.Addr, trusted []netip.Prefix) bool {
	for _, prefix := range trusted {
		if prefix.Contains(addr) {
			return true
		}
	}
	return false
}
