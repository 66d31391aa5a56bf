package tokenauth

import (
	"cmp"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// sourceOf is clientAddr for a sign-in, which the throttle counts by it. It warns,
// once of each kind, of a header that is not used: then all users behind a proxy are
// one source. A client can cause the warning, which therefore says "if".
func (s *Service) sourceOf(r *http.Request) netip.Addr {
	o := &s.options
	if warning, attr := proxyWarning(r, o); warning != "" {
		if _, warned := s.proxyWarnings.LoadOrStore(warning, true); !warned {
			o.Logger.LogAttrs(r.Context(), slog.LevelWarn, warning, attr)
		}
	}
	return clientAddr(r, o)
}

// proxyWarning returns what to log of a request with a header that names a client
// and is not used. It returns "" for any other request.
func proxyWarning(r *http.Request, o *Options) (warning string, attr slog.Attr) {
	of := slog.String("header", o.ProxyHeader)
	trusted := isProxy(r, o)
	if trusted && isSet(r, o.ProxyHeader) {
		switch _, unread := readProxies(r, o); unread {
		case "":
			return "", of
		case unixPeer:
			return "tokenauth: a trusted proxy names the address of a client as that of a Unix socket: if a proxy of yours connects to it over one, add \"unix:\" to Options.TrustedSockets; until then the users behind it share the limits of one address", of
		default:
			return "tokenauth: a trusted proxy names the address of a client by a text that is no address, or names more than 64: if that is a proxy of yours, have it append the address of its peer; until then the users behind it share the limits of one address", of
		}
	}
	i := slices.IndexFunc(clientHeaders, func(header string) bool { return isSet(r, header) })
	switch socket := socketOf(r); {
	case i < 0 && !isSet(r, o.ProxyHeader):
		return "", of
	case trusted:
		return "tokenauth: a trusted proxy does not send Options.ProxyHeader, but another header that names the address of a client: if the proxy sets that header, name it in Options.ProxyHeader; until then the users behind it share the limits of one address", slog.String("header", clientHeaders[i])
	case socket != "":
		return "tokenauth: a header names the address of a client, and comes over a Unix socket: if only a proxy of yours connects to that, name the socket in Options.TrustedSockets; until then its users share the limits of one address", slog.String("socket", socket)
	default:
		return "tokenauth: a header names the address of a client, and comes from a peer that Options.TrustedProxies does not name: if that is a proxy of yours, its users share the limits of one address", slog.String("peer", parseAddr(r.RemoteAddr).String())
	}
}

// clientHeaders are those in which proxies name the address of a client.
var clientHeaders = []string{"X-Forwarded-For", "X-Real-Ip", forwardedHeader}

// isSet reports whether a header has a value. Of several lines, which a client and
// its proxies wrote, the first may be empty.
func isSet(r *http.Request, header string) bool {
	return slices.ContainsFunc(r.Header[header], func(line string) bool { return line != "" })
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
	if !isProxy(r, o) {
		return parseAddr(r.RemoteAddr)
	}
	addr, _ := readProxies(r, o)
	return addr
}

// readProxies is clientAddr behind a trusted proxy. It also returns the entry for
// which the header is not used, or "-" if that is empty; "" if it is used.
func readProxies(r *http.Request, o *Options) (addr netip.Addr, unread string) {
	peer := parseAddr(r.RemoteAddr)
	cut := cutLast
	if o.ProxyHeader == forwardedHeader {
		cut = cutLastForwarded
	}
	addr, hops := peer, 0
	for _, line := range slices.Backward(r.Header[o.ProxyHeader]) {
		for more := true; more; hops++ {
			var hop string
			line, hop, more = cut(line)
			if hops < maxHops && slices.Contains(o.TrustedSockets, hop) {
				continue // "unix:"
			}
			next := parseAddr(hop)
			if hops == maxHops || !next.IsValid() {
				return peer, cmp.Or(hop, "-")
			}
			addr = next
			if !isTrusted(addr, o.TrustedProxies) {
				return addr, ""
			}
		}
	}
	return addr, ""
}

// unixPeer is what nginx calls a peer that came over a Unix socket.
const unixPeer = "unix:"

// isProxy reports whether the peer of a request is a trusted proxy.
func isProxy(r *http.Request, o *Options) bool {
	return isTrusted(parseAddr(r.RemoteAddr), o.TrustedProxies) ||
		len(o.TrustedSockets) > 0 && slices.Contains(o.TrustedSockets, socketOf(r))
}

// socketOf returns the name of the Unix socket that a request came over, or "". The
// server knows its own end of the connection. The peer's end has no name as a rule,
// and a middleware may have put an address in its place. By FastCGI, nginx says
// "unix:" of a peer of its own.
func socketOf(r *http.Request) string {
	if parseAddr(r.RemoteAddr).IsValid() {
		return ""
	}
	if local, ok := r.Context().Value(http.LocalAddrContextKey).(*net.UnixAddr); ok && local != nil {
		return local.Name
	}
	if strings.HasPrefix(strings.TrimPrefix(r.RemoteAddr, "["), unixPeer) { // net/http/fcgi adds a port
		return unixPeer
	}
	return ""
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
