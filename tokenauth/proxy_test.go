package tokenauth_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/fcgi"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/bearerkit/bearerkit/internal/throwaway"
	"github.com/bearerkit/bearerkit/storage/memory"
	"github.com/bearerkit/bearerkit/tokenauth"
)

// An addrRecorder is an Authenticator that rejects each sign-in and records its
// address.
type addrRecorder struct {
	mu   sync.Mutex
	from netip.Addr
}

func (l *addrRecorder) Authenticate(_ context.Context, c tokenauth.Credentials) (tokenauth.Principal, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.from = c.RemoteAddr
	return tokenauth.Principal{}, tokenauth.ErrRejected
}

// proxyLog collects the warnings about proxies that a Service logs.
type proxyLog struct {
	mu    sync.Mutex
	lines []string
}

func (l *proxyLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if line := string(p); strings.Contains(line, "a client address") {
		l.lines = append(l.lines, line)
	}
	return len(p), nil
}

func (l *proxyLog) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

// expect checks that the log has one line with all the texts, or no line if
// there are no texts.
func (l *proxyLog) expect(t *testing.T, texts ...string) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	all := strings.Join(l.lines, "")
	if len(l.lines) != min(1, len(texts)) || slices.ContainsFunc(texts, func(text string) bool { return !strings.Contains(all, text) }) {
		t.Errorf("the log has %q, want one line with %q", all, texts)
	}
}

// signInFrom sends a sign-in that is rejected, from an address of the loopback
// network. It returns the status.
func signInFrom(t *testing.T, url, address, user string, header http.Header) int {
	t.Helper()
	transport := &http.Transport{DialContext: (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(address)}}).DialContext}
	defer transport.CloseIdleConnections()
	r, err := http.NewRequestWithContext(t.Context(), "POST", url+"/Token", strings.NewReader("grant_type=password&password=x&username="+user))
	if err != nil {
		t.Fatal(err)
	}
	for name, lines := range header {
		r.Header[name] = lines
	}
	response, err := transport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	io.Copy(io.Discard, response.Body)
	return response.StatusCode
}

// expectFrom sends sign-ins from 127.0.0.2, one with each of the headers, and
// checks the address that the Authenticator gets.
func (l *addrRecorder) expectFrom(t *testing.T, url, want string, headers map[string]http.Header) {
	t.Helper()
	for name, header := range headers {
		signInFrom(t, url, "127.0.0.2", name, header)
		l.mu.Lock()
		if got := l.from.String(); got != want {
			t.Errorf("%s: the address is %s, want %s", name, got, want)
		}
		l.mu.Unlock()
	}
}

// listen returns a listener for a server behind nginx, and its URL for
// proxy_pass.
func listen(t *testing.T, network string) (net.Listener, string) {
	t.Helper()
	address := "127.0.0.1:0"
	if network == "unix" {
		address = filepath.Join(t.TempDir(), "socket")
	}
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	if network == "unix" {
		return l, "http://unix:" + address + ":"
	}
	return l, "http://" + l.Addr().String()
}

func serveOn(t *testing.T, l net.Listener, h http.Handler) {
	t.Helper()
	server := &http.Server{Handler: h}
	go server.Serve(l)
	t.Cleanup(func() { server.Close() })
}

// Behind nginx the Service gets the address of each client, by each header that
// nginx can send, whatever headers the client sends.
func TestAddressOfAClientBehindNginx(t *testing.T) {
	t.Parallel()
	loopback := []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}
	for _, test := range []struct {
		name, network, config string
		options               tokenauth.Options
		want                  string
		warns                 []string // texts of the warning
	}{
		{
			"X-Forwarded-For", "tcp", "proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;",
			tokenauth.Options{TrustedProxies: loopback}, "127.0.0.2", nil,
		},
		{
			"a Unix socket", "unix", "proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;",
			tokenauth.Options{TrustedSockets: []string{""}}, "127.0.0.2", nil,
		},
		{
			"a Unix socket that is not trusted", "unix", "proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;",
			tokenauth.Options{TrustedProxies: loopback}, "invalid IP", []string{"Options.TrustedSockets", "socket=/"},
		},
		{
			"X-Real-IP", "tcp", "proxy_set_header X-Real-IP $remote_addr;",
			tokenauth.Options{TrustedProxies: loopback, ProxyHeader: "X-Real-IP"}, "127.0.0.2", nil,
		},
		{
			"X-Real-IP over a Unix socket", "unix", "proxy_set_header X-Real-IP $remote_addr;",
			tokenauth.Options{TrustedSockets: []string{""}, ProxyHeader: "X-Real-IP"}, "127.0.0.2", nil,
		},
		{
			"Forwarded", "tcp", `proxy_set_header Forwarded 'for="$remote_addr:$remote_port";proto=$scheme';`,
			tokenauth.Options{TrustedProxies: loopback, ProxyHeader: "Forwarded"}, "127.0.0.2", nil,
		},
		{
			"Forwarded, appended", "unix", `proxy_set_header Forwarded '$http_forwarded, for=$remote_addr';`,
			tokenauth.Options{TrustedSockets: []string{""}, ProxyHeader: "Forwarded"}, "127.0.0.2", nil,
		},
		{
			"a proxy that is not trusted", "tcp", "proxy_set_header X-Real-IP $remote_addr;",
			tokenauth.Options{ProxyHeader: "X-Real-IP"}, "127.0.0.1", []string{"Options.TrustedProxies", "peer=127.0.0.1\n"},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			users, log, o := new(addrRecorder), new(proxyLog), test.options
			o.Logger = log.logger()
			l, upstream := listen(t, test.network)
			if len(o.TrustedSockets) > 0 { // the socket is named when it is created
				o.TrustedSockets = []string{l.Addr().String()}
			}
			mux := http.NewServeMux()
			newService(t, new(memory.Store), users, &o).Mount(mux)
			serveOn(t, l, mux)
			proxy := throwaway.Nginx(t, "location / { proxy_pass "+upstream+"; "+test.config+" }")
			spoofed := http.Header{
				"X-Forwarded-For": {"203.0.113.1"}, "X-Real-Ip": {"203.0.113.2"},
				"Forwarded": {`for=203.0.113.3;x="`},
			}
			users.expectFrom(t, proxy, test.want, map[string]http.Header{"plain": {}, "spoofed": spoofed})
			log.expect(t, test.warns...)
		})
	}
}

// One nginx reaches another over a Unix socket, so "unix:" is one of the hops.
// If the Service cannot use the header, it logs which option to change.
func TestAddressOfAClientBehindTwoNginx(t *testing.T) {
	t.Parallel()
	loopback := []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}
	const append, forwarded = "proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;", `
		set $for unknown;
		if ($remote_addr ~ ^[0-9.]+$) { set $for $remote_addr; }
		proxy_set_header Forwarded '$http_forwarded, for=$for';`
	for _, test := range []struct {
		name, config string
		options      tokenauth.Options
		want         string
		warns        []string
	}{
		{"trusted socket", append, tokenauth.Options{TrustedProxies: loopback, TrustedSockets: []string{"unix:"}}, "127.0.0.2", nil},
		{"untrusted socket", append, tokenauth.Options{TrustedProxies: loopback}, "127.0.0.1", []string{`add \"unix:\" to Options.TrustedSockets`, "header=X-Forwarded-For"}},
		{"Forwarded", `proxy_set_header Forwarded '$http_forwarded, for="$remote_addr"';`, tokenauth.Options{TrustedProxies: loopback, TrustedSockets: []string{"unix:"}, ProxyHeader: "Forwarded"}, "127.0.0.2", nil},
		{"Forwarded, unknown", forwarded, tokenauth.Options{TrustedProxies: loopback, TrustedSockets: []string{"unix:"}, ProxyHeader: "Forwarded"}, "127.0.0.1", []string{"an invalid entry", "header=Forwarded"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			users, log, o := new(addrRecorder), new(proxyLog), test.options
			o.Logger = log.logger()
			l, upstream := listen(t, "tcp")
			mux := http.NewServeMux()
			newService(t, new(memory.Store), users, &o).Mount(mux)
			serveOn(t, l, mux)
			socket := "unix:" + filepath.Join(t.TempDir(), "second")
			proxy := throwaway.Nginx(t, "location / { proxy_pass http://"+socket+":; "+test.config+" }",
				"server { listen "+socket+"; location / { proxy_pass "+upstream+"; "+test.config+" } }")
			users.expectFrom(t, proxy, test.want, map[string]http.Header{"plain": {}, "spoofed": {"X-Forwarded-For": {"203.0.113.1"}, "Forwarded": {"for=203.0.113.3"}}})
			log.expect(t, test.warns...)
		})
	}
}

// Over FastCGI the peer address is that of nginx. That may be a second nginx
// behind a Unix socket.
func TestAddressOfAClientBehindFastCGI(t *testing.T) {
	t.Parallel()
	for network, want := range map[string]string{"tcp": "127.0.0.2", "unix": "127.0.0.2"} {
		users := new(addrRecorder)
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		mux := http.NewServeMux()
		newService(t, new(memory.Store), users, &tokenauth.Options{TrustedSockets: []string{"unix:"}, Logger: new(proxyLog).logger()}).Mount(mux)
		go fcgi.Serve(l, mux)
		server, front := fmt.Sprintf(fastCGI, l.Addr(), ""), ""
		if network == "unix" {
			socket := "unix:" + filepath.Join(t.TempDir(), "second")
			server, front = "location / { proxy_pass http://"+socket+":; proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; }",
				"server { listen "+socket+";"+server+"}"
		}
		users.expectFrom(t, throwaway.Nginx(t, server, front), want, map[string]http.Header{network: nil})
	}
}

// Each kind of warning is logged once. A warning that a client causes does not
// suppress one that a proxy causes.
func TestProxyWarningsAreLoggedOncePerKind(t *testing.T) {
	t.Parallel()
	log := new(proxyLog)
	mux := http.NewServeMux()
	newService(t, new(memory.Store), new(addrRecorder), &tokenauth.Options{
		TrustedProxies: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}, Logger: log.logger(),
	}).Mount(mux)
	for range 2 {
		for _, test := range []struct {
			peer   string
			header http.Header
		}{
			{"192.0.2.1:80", http.Header{"X-Forwarded-For": {"198.51.100.7"}}},
			{"10.0.0.1:80", http.Header{"X-Forwarded-For": {"198.51.100.7, unknown"}}},
			{"10.0.0.1:80", http.Header{"X-Forwarded-For": {"198.51.100.7, unix:"}}},
			{"10.0.0.1:80", http.Header{"X-Real-Ip": {"198.51.100.7"}}},
			{"@", http.Header{"Forwarded": {"for=198.51.100.7"}}},                                               // over a Unix socket
			{"10.0.0.1:80", http.Header{"X-Forwarded-For": {"", "198.51.100.7"}, "X-Real-Ip": {"203.0.113.1"}}}, // no warning
			{"10.0.0.1:80", http.Header{"X-Forwarded-For": {"rubbish, 198.51.100.7"}}},                          // no warning
		} {
			r := httptest.NewRequest("POST", "/Token", strings.NewReader("grant_type=password&username=alice&password=x"))
			r.RemoteAddr, r.Header = test.peer, test.header
			if test.peer == "@" {
				r = r.WithContext(context.WithValue(r.Context(), http.LocalAddrContextKey, &net.UnixAddr{Name: "/run/service", Net: "unix"}))
			}
			mux.ServeHTTP(httptest.NewRecorder(), r)
		}
	}
	if got := strings.Join(log.lines, ""); len(log.lines) != 5 || strings.Count(got, "TrustedSockets") != 2 || strings.Count(got, "ProxyHeader,") != 1 {
		t.Errorf("the log has %d lines, want 5:\n%s", len(log.lines), got)
	}
}

// If a trusted proxy sends another header than Options.ProxyHeader, the warning
// names that header and the option.
func TestWarnsOfAnotherProxyHeader(t *testing.T) {
	t.Parallel()
	log := new(proxyLog)
	o := &tokenauth.Options{Logger: log.logger()}
	l, upstream := listen(t, "unix")
	o.TrustedSockets = []string{l.Addr().String()}
	mux := http.NewServeMux()
	newService(t, new(memory.Store), new(addrRecorder), o).Mount(mux)
	serveOn(t, l, mux)
	proxy := throwaway.Nginx(t, "location / { proxy_pass "+upstream+"; proxy_set_header X-Real-IP $remote_addr; }")
	for range 2 {
		signInFrom(t, proxy, "127.0.0.2", "alice", nil)
	}
	log.expect(t, "name it in Options.ProxyHeader;", "header=X-Real-Ip")
}

// Clients behind one Unix socket are throttled by their own addresses.
func TestClientsBehindAUnixSocketAreThrottledSeparately(t *testing.T) {
	t.Parallel()
	o := &tokenauth.Options{Logger: slog.New(slog.DiscardHandler)}
	o.Throttle.PerSource = 5
	l, upstream := listen(t, "unix")
	o.TrustedSockets = []string{l.Addr().String()}
	mux := http.NewServeMux()
	newService(t, new(memory.Store), new(addrRecorder), o).Mount(mux)
	serveOn(t, l, mux)
	proxy := throwaway.Nginx(t, "location / { proxy_pass "+upstream+"; proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; }")
	status := 0
	for i := range 10 {
		status = signInFrom(t, proxy, "127.0.0.2", url.QueryEscape("user "+string(rune('a'+i))), nil)
	}
	if status != http.StatusTooManyRequests {
		t.Errorf("the guessing client gets %d, want 429", status)
	}
	if status := signInFrom(t, proxy, "127.1.0.3", "alice", nil); status != http.StatusBadRequest {
		t.Errorf("another client gets %d, want 400", status)
	}
}
