package cookie_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/bearerkit/bearerkit/tokenauth/internal/cookie"
)

// Read finds each cookie that net/http finds, with the same value. It also
// counts those that net/http skips because of their value.
func FuzzReadAgreesWithNetHTTP(f *testing.F) {
	f.Add("__Host-session=tat_x", "")
	f.Add("a=b; __Host-session=tat_x;c", "__Host-session")
	f.Add("__Host-session=a; __Host-session=b", "__Host-session =c")
	f.Add(`__Host-session="tat_x"`, `__Host-session=é`)
	f.Add("$Version=1; __Host-session = tat_x ;\t__Host-session=", "=__Host-session=x")
	f.Add("__Host-session\xe2\x80\x80=x", "\xe2\x80\x80__Host-session=x")
	f.Fuzz(func(t *testing.T, one, other string) {
		if strings.ContainsAny(one+other, "\r\n") || strings.Count(one+other, ";") > 1000 {
			return // not a header, or more cookies than net/http reads
		}
		r := &http.Request{Host: "app.example.com", Header: http.Header{"Cookie": {one, other}}}
		value, n := cookie.Attributes{Name: "session"}.Read(r)
		found := r.CookiesNamed("__Host-session")
		if len(found) > n {
			t.Fatalf("%q, %q: found %d cookies, net/http finds %d", one, other, n, len(found))
		}
		if n == 0 || len(found) < n {
			return
		}
		want := found[n-1].Value
		if found[n-1].Quoted {
			want = `"` + want + `"`
		}
		if value != want {
			t.Errorf("%q, %q: the value is %q, want %q", one, other, value, want)
		}
	})
}

// Other cookies, however malformed, neither hide a cookie nor change it.
func FuzzReadIgnoresOtherCookies(f *testing.F) {
	f.Add("a=b", "c=d")
	f.Add(`a="b`, `c"=d`)
	f.Add("__Host-", ";=;,")
	f.Fuzz(func(t *testing.T, before, after string) {
		if strings.Contains(before+after, "session") {
			return
		}
		r := &http.Request{Host: "app.example.com", Header: http.Header{"Cookie": {before + ";__Host-session=tat_x;" + after}}}
		if value, n := (cookie.Attributes{Name: "session"}).Read(r); value != "tat_x" || n != 1 {
			t.Errorf("between %q and %q: read %q, %d times", before, after, value, n)
		}
	})
}
