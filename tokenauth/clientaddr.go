package tokenauth

import (
	"log/slog"
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
	if warning, attr := proxyWarning(r, o); warning != "" {
		s.untrusted.Do(func() { o.Logger.LogAttrs(r.Context(), slog.LevelWarn, warning, attr) })
	}
	return clientAddr(r, o)
}

// proxyWarning returns what to log of a request with a header that names a client
// and is not used. It returns "" for any other request.
func proxyWarning(r *http.Request, o *Options) (warning string, attr slog.Attr) {
	headers := []string{"X-Forwarded-For", "X-Real-Ip", "Forwarded", o.ProxyHeader}
	i := slices.IndexFunc(headers, func(header string) bool { return r.Header.Get(header) != "" })
	switch {
	case i < 0:
	case isProxy(r, o):
		if r.Header.Get(o.ProxyHeader) == "" {
			return "tokenauth: a trusted proxy does not send Options.ProxyHeader, but another header that names the address of a client: if the proxy sets that header, name it in Options.ProxyHeader; until then the users behind it share the limits of one address", slog.String("header", headers[i])
		}
	case socketOf(r) != "":
		return "tokenauth: a header names the address of a client, and comes over a Unix socket: if only a proxy of yours connects to that, name the socket in Options.TrustedSockets; until then its users share the limits of one address", slog.String("socket", socketOf(r))
	default:
		return "tokenauth: a header names the address of a client, and comes from a peer that Options.TrustedProxies does not name: if that is a proxy of yours, its users share the limits of one address", slog.String("peer", parseAddr(r.RemoteAddr).String())
	}
	return "", slog.Attr{}
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
			if slices.Contains(o.TrustedSockets, hop) {
				continue // "unix:"
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

// isProxy reports whether the peer of a request is a trusted proxy.
func isProxy(r *http.Request, o *Options) bool {
	return isTrusted(parseAddr(r.RemoteAddr), o.TrustedProxies) ||
		len(o.TrustedSockets) > 0 && slices.Contains(o.TrustedSockets, socketOf(r))
}

// socketOf returns the name of the Unix socket that a request came over, or "". The
// server knows its own end of the connection. The peer's end has no name as a rule,
// and a middleware may have put an address in its place.
func socketOf(r *http.Request) string {
	local, ok := r.Context().Value(http.LocalAddrContextKey).(*net.UnixAddr)
	if !ok || local == nil || parseAddr(r.RemoteAddr).IsValid() {
		return ""
	}
	return local.Name
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
