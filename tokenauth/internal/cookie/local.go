package cookie

import (
	"net"
	"net/http"
	"net/netip"
	"strings"
)

// isLocal reports whether a browser on this machine sent the request over plain
// HTTP, as during development. The request must not have come through a proxy:
// nginx, for example, sends its own "Host: 127.0.0.1:8080" by default, also for
// requests that it received over TLS.
func isLocal(r *http.Request) bool {
	if r.TLS != nil || !isLoopback(r.Host) {
		return false
	}
	for name := range r.Header {
		if name == "Forwarded" || strings.HasPrefix(name, "X-Forwarded-") {
			return false
		}
	}
	for _, origin := range r.Header["Origin"] {
		if !strings.HasPrefix(origin, "http://") {
			return false
		}
	}
	return true
}

// isLoopback reports whether the host, which may have a port, is a name (RFC
// 6761 §6.3) or an address of this machine.
func isLoopback(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.ToLower(strings.Trim(host, "[]"))
	if addr, err := netip.ParseAddr(host); err == nil {
		return addr.IsLoopback()
	}
	return host == "localhost" || strings.HasSuffix(host, ".localhost")
}
