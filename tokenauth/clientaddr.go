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

// sourceOf returns the client address of a sign-in, for the throttle. If a
// header names a client address but the Service ignores the header, sourceOf
// logs a warning, once for each kind of warning. If the host's own proxy sent
// the header, all users behind the proxy share the limits of one address. The
// warnings say "if", because any client can send such a header, too.
func (s *Service) sourceOf(r *http.Request) netip.Addr {
	o := &s.options
	if warning, attr := proxyWarning(r, o); warning != "" {
		if _, warned := s.proxyWarnings.LoadOrStore(warning, true); !warned {
			o.Logger.LogAttrs(r.Context(), slog.LevelWarn, warning, attr)
		}
	}
	return clientAddr(r, o)
}

// proxyWarning returns the warning to log for a request with a header that
// names a client address but is ignored. It returns "" for any other request.
func proxyWarning(r *http.Request, o *Options) (warning string, attr slog.Attr) {
	of := slog.String("header", o.ProxyHeader)
	trusted := isProxy(r, o)
	if trusted && isSet(r, o.ProxyHeader) {
		switch _, unread := readProxies(r, o); unread {
		case "":
			return "", of
		case unixPeer:
			return "tokenauth: a trusted proxy sent \"unix:\" in place of a client address: if another of your proxies connects to that proxy over a Unix socket, add \"unix:\" to Options.TrustedSockets; until then all users behind the proxy share the limits of one address", of
		default:
			return "tokenauth: a trusted proxy sent an invalid entry in place of a client address, or more than 64 entries: if your own proxy wrote the entry, configure the proxy to append the address of its peer; until then all users behind the proxy share the limits of one address", of
		}
	}
	i := slices.IndexFunc(clientHeaders, func(header string) bool { return isSet(r, header) })
	switch socket := socketOf(r); {
	case i < 0 && !isSet(r, o.ProxyHeader):
		return "", of
	case trusted:
		return "tokenauth: a trusted proxy did not send Options.ProxyHeader, but another header with a client address: if the proxy sets that header, name it in Options.ProxyHeader; until then all users behind the proxy share the limits of one address", slog.String("header", clientHeaders[i])
	case socket != "":
		return "tokenauth: ignored a client address in a header, because the request came over a Unix socket that is not in Options.TrustedSockets: if only your own proxy connects to the socket, add the socket there; until then all users behind the proxy share the limits of one address", slog.String("socket", socket)
	default:
		return "tokenauth: ignored a client address in a header, because the request came from a peer that is not in Options.TrustedProxies: if the peer is your own proxy, add its address there; until then all users behind the proxy share the limits of one address", slog.String("peer", parseAddr(r.RemoteAddr).String())
	}
}

// clientHeaders are the headers in which common proxies send the client's
// address.
var clientHeaders = []string{"X-Forwarded-For", "X-Real-Ip", forwardedHeader}

// isSet reports whether any line of the header has a value. There may be
// several lines, because the client and each proxy may have written one. Some
// lines may be empty.
func isSet(r *http.Request, header string) bool {
	return slices.ContainsFunc(r.Header[header], func(line string) bool { return line != "" })
}

// maxHops is the maximum number of proxies that a request may have passed
// through.
const maxHops = 64

// clientAddr returns the address that a request comes from. This is the address
// of the peer, unless the peer is a trusted proxy. Behind a trusted proxy, it
// is the rightmost address in [Options.ProxyHeader] that does not belong to a
// trusted proxy. If all addresses belong to trusted proxies, it is the leftmost
// address.
//
// clientAddr reads the header from right to left and stops at the client's
// address, because the client may have written the entries to the left of that
// address. If it reads an entry that is not an address, or more than maxHops
// entries, it returns the peer's address. It reads no other header: a proxy
// passes on headers that it does not know, so a client could put any address
// into them.
func clientAddr(r *http.Request, o *Options) netip.Addr {
	if !isProxy(r, o) {
		return parseAddr(r.RemoteAddr)
	}
	addr, _ := readProxies(r, o)
	return addr
}

// readProxies returns the result of clientAddr for a request from a trusted
// proxy. If it must ignore the header, unread is the entry that it cannot use,
// or "-" if that entry is empty. Otherwise unread is "".
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
				continue // a trusted proxy, which connected over a Unix socket
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

// unixPeer is what nginx writes as the address of a peer that connected over a
// Unix socket.
const unixPeer = "unix:"

// isProxy reports whether the peer of a request is a trusted proxy
// ([Options.TrustedProxies], [Options.TrustedSockets]).
func isProxy(r *http.Request, o *Options) bool {
	return isTrusted(parseAddr(r.RemoteAddr), o.TrustedProxies) ||
		len(o.TrustedSockets) > 0 && slices.Contains(o.TrustedSockets, socketOf(r))
}

// socketOf returns the name of the Unix socket over which a request came. It
// returns "" if the request has an IP address as its peer, even if middleware
// set that address. The name belongs to the server's end of the connection,
// because the client's end usually has no name. Over FastCGI, nginx sends the
// address of its own peer, which is "unix:" if that peer connected over a Unix
// socket.
func socketOf(r *http.Request) string {
	if parseAddr(r.RemoteAddr).IsValid() {
		return ""
	}
	if local, ok := r.Context().Value(http.LocalAddrContextKey).(*net.UnixAddr); ok && local != nil {
		return local.Name
	}
	if strings.HasPrefix(strings.TrimPrefix(r.RemoteAddr, "["), unixPeer) { // net/http/fcgi adds brackets and a port
		return unixPeer
	}
	return ""
}

// cutLast cuts the last entry off a comma-separated list. It reports whether
// more entries are left.
func cutLast(list string) (rest, last string, more bool) {
	i := strings.LastIndexByte(list, ',')
	return list[:max(i, 0)], strings.TrimSpace(list[i+1:]), i >= 0
}

// maxAddr is the maximum length in bytes of an address that parseAddr accepts.
// Even an IPv6 address with a zone and a port is shorter.
const maxAddr = 100

// parseAddr parses an IP address, with or without a port. An IPv6 address may
// be in brackets. parseAddr removes the zone, and converts IPv4-mapped IPv6 to
// IPv4. It returns the zero [netip.Addr] for invalid text and for text longer
// than maxAddr.
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
