package abuse_test

import (
	"net/http"
	"net/http/httptest"
	"strconv"
	"testing"

	"github.com/bearerkit/bearerkit/tokenauth"
	"github.com/bearerkit/bearerkit/tokenauth/place"
)

// withPlaces lets requests have the token in a cookie and in other places.
func withPlaces(s *setup) {
	s.Places = []place.Place{
		place.Scheme("Bearer"), place.WebSocket{}, place.Cookie{Name: "session"}, place.Cookie{Name: "wide", Domain: "example.com"}, place.InsecureQuery("t"),
	}
}

const descriptionSeveral = "The request has several access tokens."

var (
	fromElsewhere = denial{403, "invalid_request", "The request comes from another site.", "", messageDenied}
	several       = denied(400, "invalid_request", descriptionSeveral, descriptionSeveral)
)

// Chapter W of the catalogue: tokens in cookies and in other places.
var webPages = []situation{
	{
		id: "W01", what: "a page of another site that makes a browser send the user's cookie", with: withPlaces,
		run: func(t *testing.T, h *abuseHost) {
			for _, name := range []string{"__Host-session", "__Secure-wide"} {
				cookie := []string{"Cookie", name + "=" + h.token}
				for _, from := range [][]string{
					{"Sec-Fetch-Site", "cross-site"},
					{"Sec-Fetch-Site", "same-site"},
					{"Sec-Fetch-Site", "cross-site", "Origin", h.url},
					{"Origin", "https://evil.example"},
					{"Origin", "null"},
				} {
					for _, path := range []string{"/me", "/staff", "/admin", "/app", "/open"} {
						for _, method := range []string{"POST", "PUT", "PATCH", "DELETE"} {
							h.denies(t, fromElsewhere, 0, method, path, "", append(cookie, from...)...)
						}
						h.denies(t, fromElsewhere, 0, "GET", path, "", append(append(cookie, from...), "Connection", "Upgrade", "Upgrade", "websocket")...)
					}
					h.admits(t, "GET", "/me", append(cookie, from...)...)
				}
				h.admits(t, "POST", "/me", append(cookie, "Sec-Fetch-Site", "same-origin")...)
				h.admits(t, "POST", "/me", append(cookie, "Origin", h.url)...)
				h.admits(t, "POST", "/me", cookie...) // not a browser
			}
		},
	},
	{
		id: "W02", what: "a header and a cookie with tokens of different users", with: withPlaces,
		run: func(t *testing.T, h *abuseHost) {
			reader, err := h.auth.Issue(t.Context(), tokenauth.Principal{UserID: "2", UserName: "reader", Roles: []string{"Reader"}}, nil)
			if err != nil {
				t.Fatal(err)
			}
			cookie := []string{"Cookie", "__Host-session=" + h.token}
			h.admits(t, "GET", "/admin", cookie...)
			h.denies(t, roleMissing, 1, "GET", "/admin", "", append(cookie, bearer(reader.AccessToken.Reveal())...)...)
			h.denies(t, roleMissing, 1, "GET", "/admin", "", append(cookie, "Sec-WebSocket-Protocol", "bearer."+reader.AccessToken.Reveal())...)
			h.denies(t, invalidToken, 0, "GET", "/admin", "", append(cookie, bearer("x")...)...)
			h.denies(t, invalidToken, 0, "GET", "/admin", "", append(cookie, "Sec-WebSocket-Protocol", "feed, bearer.x")...)
			h.denies(t, several, 0, "GET", "/admin", "", append(cookie, "Sec-WebSocket-Protocol", "bearer.x, bearer.y")...)
			h.denies(t, anonymous, 0, "GET", "/admin", "", append(cookie, "Authorization", "Basic eDp5")...)
			h.denies(t, anonymous, 0, "GET", "/admin", "", append(cookie, "Authorization", "")...)
			h.denies(t, invalidToken, 0, "GET", "/admin?t="+h.token, "", "Cookie", "__Host-session=x")
		},
	},
	{
		id: "W03", what: "another host below the same domain that sets a cookie for all of them", with: withPlaces,
		run: func(t *testing.T, h *abuseHost) {
			const host = "app.example.com"
			for _, name := range []string{"session", "__Secure-session", "__host-session", "__Host-Session", "\u2000__Host-session", "wide", "__Host-wide"} {
				h.serves(t, "401", host, name+"="+h.token)
				h.serves(t, "admin", host, name+"=x; __Host-session="+h.token+"; "+name+"=y")
			}
			h.serves(t, "400", host, "__Secure-wide="+h.token+"; __Secure-wide=x")
			h.serves(t, "400", host, "__Host-session="+h.token+"; __Host-session="+h.token)
		},
	},
	{
		id: "W04", what: "malformed cookies around the cookie with the token", with: withPlaces,
		run: func(t *testing.T, h *abuseHost) {
			for _, junk := range []string{`a="`, `a="b;`, "=", ";;;", "=__Host-session", "$Version=1", "\xff\xfe", `\"`, "__Host-session", "__Host-sessio"} {
				want := "admin"
				if junk == "__Host-session" {
					want = "400" // a cookie without a value
				}
				h.serves(t, want, "app.example.com", junk+"; __Host-session="+h.token)
				h.serves(t, want, "app.example.com", "__Host-session="+h.token+"; "+junk)
			}
		},
	},
}

// serves sends a request for a host with a cookie, and expects the user name or
// the status in the answer. The request does not go over the network, so the
// cookie may have any bytes.
func (h *abuseHost) serves(t *testing.T, want, host, cookie string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), "GET", "http://"+host+"/me", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Cookie", cookie)
	w := httptest.NewRecorder()
	h.handler.ServeHTTP(w, r)
	got := w.Body.String()
	if w.Code != http.StatusOK {
		got = strconv.Itoa(w.Code)
	}
	if got != want {
		t.Errorf("with the cookie %q: got %s, want %s", cookie, got, want)
	}
}
