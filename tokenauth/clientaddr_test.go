package tokenauth

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

var testProxies = []netip.Prefix{
	netip.MustParsePrefix("10.0.0.0/8"),
	netip.MustParsePrefix("fd00::/8"),
	netip.MustParsePrefix("fe80::/10"),
}

// proxyOptions returns the options of a host behind testProxies.
func proxyOptions(header string, sockets ...string) *Options {
	o, err := (&Options{TrustedProxies: testProxies, ProxyHeader: header, TrustedSockets: sockets}).withDefaults()
	if err != nil {
		panic(err)
	}
	return &o
}

func TestClientAddrTrustsOnlyNamedProxies(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, peer string
		forwarded  []string
		want       string
	}{
		{"no proxy", "192.0.2.1:1234", nil, "192.0.2.1"},
		{"the header of an untrusted peer is ignored", "192.0.2.1:1234", []string{"198.51.100.7"}, "192.0.2.1"},
		{"a proxy that sends no header", "10.0.0.1:1234", nil, "10.0.0.1"},
		{"a proxy that sends an empty line", "10.0.0.1:1234", []string{""}, "10.0.0.1"},
		{"one proxy", "10.0.0.1:1234", []string{"198.51.100.7"}, "198.51.100.7"},
		{"an address further left, which the client may have written", "10.0.0.1:1234", []string{"203.0.113.9, 198.51.100.7"}, "198.51.100.7"},
		{"a client that names a proxy's address", "10.0.0.1:1234", []string{"203.0.113.9, 10.9.9.9, 198.51.100.7"}, "198.51.100.7"},
		{"two proxies", "10.0.0.1:1234", []string{"198.51.100.7, 10.0.0.2"}, "198.51.100.7"},
		{"two lines are one list", "10.0.0.1:1234", []string{"203.0.113.9, 198.51.100.7", "10.0.0.2"}, "198.51.100.7"},
		{"only proxies", "10.0.0.1:1234", []string{"10.0.0.3, 10.0.0.2"}, "10.0.0.3"},
		{"no spaces", "10.0.0.1:1234", []string{"198.51.100.7,10.0.0.2"}, "198.51.100.7"},
		{"tabs", "10.0.0.1:1234", []string{"198.51.100.7\t,\t10.0.0.2"}, "198.51.100.7"},
		{"invalid address at the right", "10.0.0.1:1234", []string{"198.51.100.7, unknown"}, "10.0.0.1"},
		{"invalid address behind a proxy", "10.0.0.1:1234", []string{"unknown, 10.0.0.2"}, "10.0.0.1"},
		{"invalid address further left is not read", "10.0.0.1:1234", []string{"<script>, 198.51.100.7"}, "198.51.100.7"},
		{"a trailing comma", "10.0.0.1:1234", []string{"198.51.100.7,"}, "10.0.0.1"},
		{"a hop with a port", "10.0.0.1:1234", []string{"198.51.100.7:4711"}, "198.51.100.7"},
		{"IPv6", "[2001:db8::1]:443", nil, "2001:db8::1"},
		{"IPv6 hop", "[fd00::1]:443", []string{"2001:DB8:0:0::7"}, "2001:db8::7"},
		{"IPv6 hop with a port", "[fd00::1]:443", []string{"[2001:db8::7]:80"}, "2001:db8::7"},
		{"mapped peer is IPv4", "[::ffff:192.0.2.1]:80", nil, "192.0.2.1"},
		{"mapped proxy is trusted as IPv4", "[::ffff:10.0.0.1]:80", []string{"::ffff:198.51.100.7"}, "198.51.100.7"},
		{"a zone is dropped", "[fe80::1%eth0]:80", []string{"fe80::2%eth1"}, "fe80::2"},
		{"a peer without port", "192.0.2.1", nil, "192.0.2.1"},
		{"many proxies", "10.0.0.1:1234", []string{"198.51.100.7" + strings.Repeat(",10.0.0.2", 63)}, "198.51.100.7"},
		{"too many proxies", "10.0.0.1:1234", []string{"198.51.100.7" + strings.Repeat(",10.0.0.2", 64)}, "10.0.0.1"},
		{"too many proxies, a line each", "10.0.0.1:1234", append([]string{"198.51.100.7"}, slices.Repeat([]string{"10.0.0.2"}, 64)...), "10.0.0.1"},
		{"a long list further left", "10.0.0.1:1234", []string{strings.Repeat("10.0.0.2,", 1000) + "198.51.100.7"}, "198.51.100.7"},
		{"an address that is too long", "10.0.0.1:1234", []string{"fe80::2%" + strings.Repeat("x", 100)}, "10.0.0.1"},
		{"brackets without a port", "10.0.0.1:1234", []string{"[2001:db8::7]"}, "2001:db8::7"},
		{"brackets around IPv4", "10.0.0.1:1234", []string{"[198.51.100.7]"}, "10.0.0.1"},
		{"a bracket that is not closed", "10.0.0.1:1234", []string{"[2001:db8::7"}, "10.0.0.1"},
		{"a hop over a Unix socket that is not trusted", "10.0.0.1:1234", []string{"198.51.100.7, unix:"}, "10.0.0.1"},
		{"a Unix socket", "@", []string{"198.51.100.7"}, "invalid IP"},
		{"no peer", "", []string{"198.51.100.7"}, "invalid IP"},
	}
	for _, test := range tests {
		r := &http.Request{RemoteAddr: test.peer, Header: http.Header{}}
		if test.forwarded != nil {
			r.Header["X-Forwarded-For"] = test.forwarded
		}
		if got := clientAddr(r, proxyOptions("")); got.String() != test.want {
			t.Errorf("%s: client address %v, want %s", test.name, got, test.want)
		}
	}
}

func TestNoProxyIsTrustedByDefault(t *testing.T) {
	t.Parallel()
	for _, peer := range []string{"10.0.0.1:1", "127.0.0.1:1", "[::1]:1"} {
		r := &http.Request{RemoteAddr: peer, Header: http.Header{
			"X-Forwarded-For": {"198.51.100.7"}, "X-Real-Ip": {"198.51.100.7"}, "Forwarded": {"for=198.51.100.7"},
		}}
		if got := clientAddr(r, new(Options)); got != netip.MustParseAddrPort(peer).Addr() {
			t.Errorf("the client address behind peer %s is %v, want the peer's", peer, got)
		}
	}
}

func TestClientAddrOverTrustedSocket(t *testing.T) {
	t.Parallel()
	o := proxyOptions("", "/run/service.sock", "@service", "unix:")
	for _, test := range []struct {
		local           net.Addr
		peer, forwarded string
		want            string
	}{
		{&net.UnixAddr{Name: "/run/service.sock"}, "@", "198.51.100.7", "198.51.100.7"},
		{&net.UnixAddr{Name: "@service"}, "@", "198.51.100.7", "198.51.100.7"},
		{&net.UnixAddr{Name: "@service"}, "@client", "198.51.100.7", "198.51.100.7"},
		{&net.UnixAddr{Name: "@service"}, "/run/client.sock", "198.51.100.7", "198.51.100.7"},
		{&net.UnixAddr{Name: "@service"}, "", "198.51.100.7", "198.51.100.7"},
		{&net.UnixAddr{Name: "@service"}, "@", "203.0.113.9, 198.51.100.7, 10.0.0.2", "198.51.100.7"},
		{&net.UnixAddr{Name: "@service"}, "@", "203.0.113.9, 198.51.100.7, unix:", "198.51.100.7"},
		{&net.UnixAddr{Name: "@service"}, "@", "unix:", "invalid IP"},
		{&net.UnixAddr{Name: "@service"}, "@", "rubbish", "invalid IP"},
		{&net.UnixAddr{Name: "@service"}, "@", "", "invalid IP"},
		{&net.UnixAddr{Name: "/run/other.sock"}, "@", "198.51.100.7", "invalid IP"},
		{&net.UnixAddr{Name: ""}, "@", "198.51.100.7", "invalid IP"},
		{&net.UnixAddr{Name: "@service"}, "192.0.2.1:1", "198.51.100.7", "192.0.2.1"}, // RemoteAddr set by a middleware
		{&net.TCPAddr{}, "10.0.0.1:1", "198.51.100.7, unix:", "198.51.100.7"},
		{&net.TCPAddr{}, "192.0.2.1:1", "198.51.100.7", "192.0.2.1"},
		{&net.TCPAddr{}, "@service", "198.51.100.7", "invalid IP"}, // RemoteAddr set by a middleware
		{nil, "@service", "198.51.100.7", "invalid IP"},
		{nil, "", "198.51.100.7", "invalid IP"},
	} {
		r := &http.Request{RemoteAddr: test.peer, Header: http.Header{"X-Forwarded-For": {test.forwarded}}}
		r = r.WithContext(context.WithValue(t.Context(), http.LocalAddrContextKey, test.local))
		if got := clientAddr(r, o); got.String() != test.want {
			t.Errorf("listener %v, peer %q, header %q: client address %v, want %s", test.local, test.peer, test.forwarded, got, test.want)
		}
	}
}

// The client address is the peer's, or that of a hop with only trusted proxies
// between it and this server.
func FuzzClientAddr(f *testing.F) {
	f.Add("192.0.2.1:1234", "198.51.100.7")
	f.Add("10.0.0.1:1234", "203.0.113.9, 198.51.100.7, 10.0.0.2")
	f.Add("10.0.0.1:1234", "10.0.0.3,10.0.0.2")
	f.Add("10.0.0.1:1234", "198.51.100.7, unknown, 10.0.0.2")
	f.Add("[fe80::1%eth0]:80", "::ffff:198.51.100.7%x, [fd00::1]:9")
	f.Fuzz(func(t *testing.T, remote, forwarded string) {
		r := &http.Request{RemoteAddr: remote, Header: http.Header{"X-Forwarded-For": {forwarded}}}
		got := clientAddr(r, proxyOptions(""))
		if got.Zone() != "" || got.Is4In6() {
			t.Errorf("%v has a zone, or is an IPv4-mapped address", got)
		}
		peer := parseAddr(remote)
		trusted := func(a netip.Addr) bool {
			return slices.ContainsFunc(testProxies, func(p netip.Prefix) bool { return p.Contains(a) })
		}
		if got == peer {
			return
		}
		if !trusted(peer) {
			t.Fatalf("took %[2]v from the header of peer %[1]v, which is not a proxy", peer, got)
		}
		hops := strings.Split(forwarded, ",")
		for i, hop := range slices.Backward(hops) {
			addr := parseAddr(strings.TrimSpace(hop))
			switch {
			case len(hops)-i > maxHops:
				t.Fatalf("took %v, which is left of %d hops", got, maxHops)
			case !addr.IsValid():
				t.Fatalf("took %v, which is left of the invalid hop %q", got, hop)
			case !trusted(addr) || i == 0:
				if addr != got {
					t.Fatalf("client address %v, want %v", got, addr)
				}
				return
			}
		}
	})
}
