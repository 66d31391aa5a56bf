package tokenauth

import (
	"net/http"
	"slices"
	"testing"
)

func TestClientAddrReadsForwarded(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name  string
		lines []string
		want  string
	}{
		{"none", nil, "10.0.0.1"},
		{"an address", []string{"for=198.51.100.7"}, "198.51.100.7"},
		{"other parameters, in any case", []string{`proto=https;For="198.51.100.7:4711";by=_us`}, "198.51.100.7"},
		{"IPv6 with a port", []string{`for="[2001:db8::1]:4711"`}, "2001:db8::1"},
		{"IPv6", []string{`for="[2001:DB8::1]"`}, "2001:db8::1"},
		{"a mapped address is IPv4", []string{`for="[::ffff:198.51.100.7]"`}, "198.51.100.7"},
		{"an obfuscated port", []string{`for="198.51.100.7:_port"`}, "198.51.100.7"},
		{"an escape", []string{`for="198.51.10\0.7"`}, "198.51.100.7"},
		{"white space and empty parameters", []string{"for=203.0.113.9 \t,\t ; for=198.51.100.7 ; ;proto=http; "}, "198.51.100.7"},
		{"two proxies", []string{"for=203.0.113.9, for=198.51.100.7, for=10.0.0.2"}, "198.51.100.7"},
		{"two lines are one list", []string{"for=203.0.113.9, for=198.51.100.7", "for=10.0.0.2"}, "198.51.100.7"},
		{"a comma in quotes", []string{`for=203.0.113.9, for=198.51.100.7;host="a,for=203.0.113.9"`}, "198.51.100.7"},
		{"a quote in quotes", []string{`for=203.0.113.9, for=198.51.100.7;host="\",for=203.0.113.9;x=\\"`}, "198.51.100.7"},
		{"unknown", []string{"for=203.0.113.9, for=unknown"}, "10.0.0.1"},
		{"an obfuscated name", []string{"for=203.0.113.9, for=_hidden"}, "10.0.0.1"},
		{"an obfuscated name with a port", []string{`for=203.0.113.9, for="_hidden:_port"`}, "10.0.0.1"},
		{"no address", []string{"for=203.0.113.9, proto=https"}, "10.0.0.1"},
		{"two addresses in one element", []string{"for=203.0.113.9;for=198.51.100.7"}, "10.0.0.1"},
		{"an address without a name", []string{"198.51.100.7"}, "10.0.0.1"},
		{"an empty element", []string{"for=198.51.100.7,"}, "10.0.0.1"},
		{"a space in a value", []string{"for=198.51.100.7 x"}, "10.0.0.1"},
		{"text after a quoted string", []string{`for="198.51.100.7"x`}, "10.0.0.1"},
		{"a closing quote without an opening one", []string{`for=198.51.100.7"`}, "10.0.0.1"},
		// The first element is written by the client, the last one by the
		// proxy.
		{"an open quote", []string{`for=203.0.113.9;x=", for=198.51.100.7`}, "198.51.100.7"},
		{"an open quote and a backslash", []string{`for=203.0.113.9;x="\, for="198.51.100.7"`}, "198.51.100.7"},
		{"a quote that closes in the proxy's host parameter", []string{`for=203.0.113.9;x=", for=198.51.100.7;host=";for=203.0.113.9;y="`}, "198.51.100.7"},
		{"a quote in the host that the proxy does not escape", []string{`for=198.51.100.7;host="";for=203.0.113.9;y=""`}, "10.0.0.1"},
		{"rubbish", []string{`=;"";,,\, for=198.51.100.7`}, "198.51.100.7"},
	} {
		r := &http.Request{RemoteAddr: "10.0.0.1:1234", Header: http.Header{
			"Forwarded": test.lines, "X-Forwarded-For": {"203.0.113.10"}, "X-Real-Ip": {"203.0.113.11"},
		}}
		if got := clientAddr(r, proxyOptions("forwarded")); got.String() != test.want {
			t.Errorf("%s: client address %v, want %s", test.name, got, test.want)
		}
	}
}

// The result is the address that the proxy appends, whatever the client sends.
func FuzzForwarded(f *testing.F) {
	f.Add(`for=203.0.113.9;x="`, false)
	f.Add(`for=203.0.113.9;x="\`, true)
	f.Add(`for=203.0.113.9, for="[2001:db8::1]:4711"`, true)
	f.Fuzz(func(t *testing.T, client string, quoted bool) {
		appended := `for=198.51.100.7;proto=https`
		if quoted {
			appended = `proto=https;for="198.51.100.7:80";host="a\"b,c"`
		}
		for _, lines := range [][]string{{client + ", " + appended}, {client, appended}} {
			r := &http.Request{RemoteAddr: "10.0.0.1:1234", Header: http.Header{"Forwarded": lines}}
			if got := clientAddr(r, proxyOptions("Forwarded")); got.String() != "198.51.100.7" {
				t.Errorf("client address %v, want 198.51.100.7, for %q", got, lines)
			}
		}
		r := &http.Request{RemoteAddr: "10.0.0.1:1234", Header: http.Header{"Forwarded": slices.Repeat([]string{client}, 2)}}
		if got := clientAddr(r, proxyOptions("Forwarded")); got.Zone() != "" || got.Is4In6() || !got.IsValid() {
			t.Errorf("client address %v for %q has a zone, is IPv4-mapped or invalid", got, client)
		}
	})
}
