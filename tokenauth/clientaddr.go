package tokenauth

import (
	"net/http"
	"net/netip"
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

// clientAddr returns the address that a request comes from: the peer's, unless
// the peer is a trusted proxy; then the rightmost one in X-Forwarded-For that
// is not. What stands further left may have been written by the client. If an
// entry on the way is no address, the header is not believed at all.
func clientAddr(r *http.Request, trusted []netip.Prefix) netip.Addr {
	peer := parseAddr(r.RemoteAddr)
	if !isTrusted(peer, trusted) {
		return peer
	}
	addr := peer
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for i := len(hops) - 1; i >= 0; i-- {
		addr = parseAddr(strings.TrimSpace(hops[i]))
		if !addr.IsValid() {
			return peer
		}
		if !isTrusted(addr, trusted) {
			break
		}
	}
	return addr
}

// parseAddr reads an address with or without a port, in one spelling: without
// a zone, and IPv4 as itself.
func parseAddr(s string) netip.Addr {
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
