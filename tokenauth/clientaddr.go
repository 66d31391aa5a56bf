package tokenauth

import (
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// sourceOf is clientAddr for a sign-in, which the throttle counts by it. It
// warns, once, of a header that is not used: then all users behind a proxy are one
// source. A client can cause the warning, which therefore says "if".
func (s *Service) sourceOf(r *http.Request) netip.Addr {
	o := &s.options
	if warning, header := proxyWarning(r, o); warning != "" {
		s.untrusted.Do(func() {
			o.Logger.WarnContext(r.Context(), warning, "peer", r.RemoteAddr, "header", header)
		})
	}
	return clientAddr(r, o)
}

// proxyWarning returns what to say of a request with a header that names a client
// and is not used, and the header. It returns "" for any other request.
func proxyWarning(r *http.Request, o *Options) (warning, header string) {
	trusted := isProxy(r, o)
	if trusted && r.Header.Get(o.ProxyHeader) != "" {
		return "", ""
	}
	for _, header = range []string{o.ProxyHeader, "X-Forwarded-For", "X-Real-Ip", "Forwarded"} {
		switch {
		case r.Header.Get(header) == "":
		case trusted:
			return "tokenauth: a trusted proxy does not send Options.ProxyHeader, but another header that names the address of a client: if the proxy sets that header, name it in Options.ProxyHeader; until then the users behind it share the limits of one address", header
		case isUnixSocket(r):
			return "tokenauth: a header names the address of a client, and comes over a Unix socket: if that is a proxy of yours, set Options.TrustUnixSocket; until then its users share the limits of one address", header
		default:
			return "tokenauth: a header names the address of a client, and comes from a peer that Options.TrustedProxies does not name: if that is a proxy of yours, its users share the limits of one address", header
		}
	}
	return "", ""
}

// maxHops bounds how many proxies a request may have passed.
const maxHops = 64

// clientAddr returns the address that a request comes from: the peer's, unless
// the peer is a trusted proxy; then the rightmost one in Options.ProxyHeader that
// is not. The client may have written the entries further left: they are not
// read. The header is not used at all if an entry on the way is not an address,
// or if there are more than maxHops. No other header is read: a proxy passes on
// those that it does not know, so a client could write one.
func clientAddr(r *http.Request, o *Options) netip.Addr {
	peer := parseAddr(r.RemoteAddr)
	if !isProxy(r, o) {
		return peer
	}
	cut := cutLast
	if o.ProxyHeader == forwardedHeader {
		cut = cutLastForwarded
	}
	addr, hops := peer, 0
	for _, line := range slices.Backward(r.Header[o.ProxyHeader]) {
		for more := true; more; hops++ {
			var hop string
			line, hop, more = cut(line)
			if hops == maxHops {
				return peer
			}
			if hop == unixPeer && o.TrustUnixSocket {
				continue
			}
			addr = parseAddr(hop)
			switch {
			case !addr.IsValid():
				return peer
			case !isTrusted(addr, o.TrustedProxies):
				return addr
			}
		}
	}
	return addr
}

// unixPeer is what nginx calls a peer that came over a Unix socket.
const unixPeer = "unix:"

// isProxy reports whether the peer of a request is a trusted proxy.
func isProxy(r *http.Request, o *Options) bool {
	return isTrusted(parseAddr(r.RemoteAddr), o.TrustedProxies) || o.TrustUnixSocket && isUnixSocket(r)
}

// isUnixSocket reports whether a request came over a Unix socket. The server knows
// its own end of the connection. Where nobody says what that is, the peer tells: it
// has no name, or that of a socket, which begins with '@' if it is abstract.
func isUnixSocket(r *http.Request) bool {
	if parseAddr(r.RemoteAddr).IsValid() {
		return false
	}
	if local, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr); ok {
		return local.Network() == "unix"
	}
	return r.RemoteAddr == "" || r.RemoteAddr[0] == '@' || r.RemoteAddr[0] == '/'
}

// cutLast cuts the last entry off a list, and reports whether there are more.
func cutLast(list string) (rest, last string, more bool) {
	i := strings.LastIndexByte(list, ',')
	return list[:max(i, 0)], strings.TrimSpace(list[i+1:]), i >= 0
}

// maxAddr is the maximum length of an address: of IPv6 with a zone and a port.
const maxAddr = 100

// parseAddr reads an address with or without a port, in one spelling: without
// a zone, and IPv4 as itself. IPv6 may be in brackets. A longer text than maxAddr
// is not an address.
func parseAddr(s string) netip.Addr {
	if len(s) > maxAddr {
		return netip.Addr{}
	}
	if withPort, err := netip.ParseAddrPort(s); err == nil {
		return withPort.Addr().Unmap().WithZone("")
	}
	if inner, ok := strings.CutPrefix(s, "["); ok {
		if s, ok = strings.CutSuffix(inner, "]"); !ok || !strings.Contains(s, ":") {
			return netip.Addr{}
		}
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
