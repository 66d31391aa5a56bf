package abuse_test

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash/crc32"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/bearerkit/bearerkit/tokenauth"
	"github.com/bearerkit/bearerkit/tokenauth/password"
)

var (
	badAuthorization = early(400, "The Authorization header is malformed, or there are several.")
	invalidClient    = refusal(400, "invalid_client", "The client is unknown, or its secret is wrong.")
	// challenged is the refusal of a client that used Basic authentication.
	challenged = refusal(401, "invalid_client", invalidClient.description).
			with("WWW-Authenticate", `Basic realm="`+abuseRealm+`", charset="UTF-8"`)
	namedTwice = badRequest("The client is named by Basic authentication or in the body, not by both.")
)

// basic returns the name and value of an Authorization header.
func basic(user, pass string) []string {
	return []string{"Authorization", "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+pass))}
}

func bearer(token string) []string { return []string{"Authorization", "Bearer " + token} }

// The offsets of the parts of a token in its bytes, after the prefix.
const (
	slotAt     = 1
	secretAt   = slotAt + 32
	checksumAt = secretAt + 32
)

// reforge changes the bytes of a token and then corrects its checksum.
func reforge(t *testing.T, token string, change func(b []byte)) string {
	t.Helper()
	prefix, rest := token[:4], token[4:]
	b, err := base64.RawURLEncoding.DecodeString(rest)
	if err != nil || prefix != "tat_" {
		t.Fatalf("%q is not a token", token)
	}
	change(b)
	sum := crc32.Update(crc32.ChecksumIEEE([]byte(prefix)), crc32.IEEETable, b[:checksumAt])
	binary.BigEndian.PutUint32(b[checksumAt:], sum)
	return prefix + base64.RawURLEncoding.EncodeToString(b)
}

func fill(b []byte, with byte) {
	for i := range b {
		b[i] = with
	}
}

// flip returns the text with another letter at index i.
func flip(text string, i int) string {
	other := byte('A')
	if text[i] == other {
		other = 'B'
	}
	return text[:i] + string(other) + text[i+1:]
}

// tokens returns a situation with invalid tokens. The Service must reject each
// of them with the given number of look-ups in the storage, 0 or 1.
func tokens(id, what string, lookups int, tokens func(t *testing.T, h *abuseHost) []string) situation {
	return situation{id: id, what: what, run: func(t *testing.T, h *abuseHost) {
		for _, token := range tokens(t, h) {
			if token == h.token {
				t.Fatal("the test must use an invalid token, but this is the valid one")
			}
			h.denies(t, invalidToken, lookups, "GET", "/me", "", bearer(token)...)
			h.denies(t, invalidToken, lookups, "GET", "/admin", "", bearer(token)...)
		}
	}}
}

// Chapter A of the catalogue: the Authorization header.
var authorization = []situation{
	{
		id: "A01", what: "no Authorization header on a protected route",
		run: func(t *testing.T, h *abuseHost) {
			for _, path := range []string{"/me", "/admin", "/app"} {
				h.denies(t, anonymous, 0, "GET", path, "")
				h.denies(t, anonymous, 0, "POST", path, "a=b")
			}
			h.admits(t, "GET", "/open")
		},
	},
	{
		id: "A02", what: "the scheme in upper, lower and mixed case",
		run: func(t *testing.T, h *abuseHost) {
			for _, scheme := range []string{"bearer", "BEARER", "BeArEr"} {
				h.admits(t, "GET", "/me", "Authorization", scheme+" "+h.token)
			}
		},
	},
	{
		id: "A03", what: "the scheme without a token",
		run: func(t *testing.T, h *abuseHost) {
			for _, path := range []string{"/me", "/admin", "/app"} {
				h.denies(t, anonymous, 0, "GET", path, "", "Authorization", "Bearer")
			}
			for _, line := range []string{"Bearer ", "Bearer    ", "bearer\t"} { // an HTTP client in Go would trim them
				h.deniesLine(t, anonymous, line)
			}
			for _, line := range []string{"Bearer", "bearer ", "Bearer  \t"} { // without a network, nothing trims them
				r := httptest.NewRequest("GET", "/me", nil)
				r.Header["Authorization"] = []string{line}
				w := httptest.NewRecorder()
				if h.handler.ServeHTTP(w, r); w.Code != 401 || w.Header().Get("WWW-Authenticate") != `Bearer realm="`+abuseRealm+`"` {
					t.Errorf("Authorization %q: got %d with the headers %v, want 401 with a challenge without error", line, w.Code, w.Header())
				}
			}
			h.admits(t, "GET", "/open", "Authorization", "Bearer")
		},
	},
	{
		id: "A04", what: "spaces and tabs around the token",
		run: func(t *testing.T, h *abuseHost) {
			h.admits(t, "GET", "/me", "Authorization", "Bearer  "+h.token)
			h.admits(t, "GET", "/me", "Authorization", "Bearer      "+h.token)
			h.denies(t, malformed, 0, "GET", "/me", "", "Authorization", "Bearer\t"+h.token)
			h.denies(t, malformed, 0, "GET", "/me", "", "Authorization", "Bearer \t"+h.token)
			for _, end := range []string{" ", "   ", "\t", " \t "} { // net/http removes them
				if a := h.line(t, "Bearer "+h.token+end); a.StatusCode != 200 || a.body != "admin" {
					t.Errorf("with %q after the token: got %d %s, want 200 admin", end, a.StatusCode, a.body)
				}
			}
		},
	},
	{
		id: "A05", what: "two tokens in one header line",
		run: func(t *testing.T, h *abuseHost) {
			for _, line := range []string{"Bearer " + h.token + " x", "Bearer x " + h.token, "Bearer " + h.token + ",Bearer " + h.token, "Bearer " + h.token + ",", "Bearer " + h.token + ", Basic YTpi"} {
				h.denies(t, malformed, 0, "GET", "/me", "", "Authorization", line)
			}
		},
	},
	{
		id: "A06", what: "two Authorization lines",
		run: func(t *testing.T, h *abuseHost) {
			good := "Bearer " + h.token
			for _, lines := range [][2]string{{good, good}, {good, "Bearer x"}, {"Bearer x", good}, {"Basic YTpi", good}, {good, "Basic YTpi"}, {"", good}, {good, ""}} {
				h.denies(t, malformed, 0, "GET", "/me", "", "Authorization", lines[0], "authorization", lines[1])
			}
			for _, line := range []string{"Bearer x", "Basic YTpi"} {
				h.tries(t, badAuthorization, "POST", "/Token", goodGrant, "Authorization", line, "Authorization", line)
			}
		},
	},
	{
		// A guard does not read the query or the body. A token there has no effect.
		id: "A07", what: "a token in the query or the body, with and without a header",
		run: func(t *testing.T, h *abuseHost) {
			const form = "application/x-www-form-urlencoded"
			for _, query := range []string{"?access_token=", "?a=b&Access_Token=", "?a;access%5ftoken=", "?access_token=%zz&access_token="} {
				for _, path := range []string{"/me", "/admin", "/open"} {
					h.admits(t, "GET", path+query+"x", bearer(h.token)...)
					h.admits(t, "GET", path+query+h.token, bearer(h.token)...)
				}
				h.denies(t, invalidToken, 0, "GET", "/me"+query+h.token, "", bearer("x")...)
				h.denies(t, anonymous, 0, "GET", "/me"+query+h.token, "")
				h.denies(t, anonymous, 0, "GET", "/me"+query+h.token, "", "Authorization", "Bearer")
			}
			h.admits(t, "POST", "/me", append(bearer(h.token), "Content-Type", form)...)
			h.denies(t, anonymous, 0, "POST", "/me", "access_token="+h.token, "Content-Type", form)
			h.denies(t, anonymous, 0, "GET", "/me", "access_token="+h.token, "Content-Type", form)
			h.denies(t, invalidToken, 0, "POST", "/me", "access_token="+h.token, "Content-Type", form, "Authorization", "Bearer x")
		},
	},
	{
		id: "A08", what: "Basic authentication on a protected route",
		run: func(t *testing.T, h *abuseHost) {
			h.denies(t, anonymous, 0, "GET", "/me", "", basic("admin", adminPassword)...)
			h.denies(t, anonymous, 0, "GET", "/admin", "", basic(h.token, "")...)
			h.denies(t, anonymous, 0, "GET", "/me", "", "Authorization", "Basic !")
		},
	},
	{
		id: "A09", what: "other schemes",
		run: func(t *testing.T, h *abuseHost) {
			for _, scheme := range []string{"Token ", "JWT ", "Bearerx ", "Bearer:", "Bearer=", "Digest username=", "DPoP ", "", "Bear "} {
				h.denies(t, anonymous, 0, "GET", "/me", "", "Authorization", scheme+h.token)
			}
		},
	},
	{
		id: "A10", what: "a token of one megabyte",
		run: func(t *testing.T, h *abuseHost) {
			h.denies(t, invalidToken, 0, "GET", "/me", "", bearer(strings.Repeat("a", 1_000_000))...)
			h.denies(t, invalidToken, 0, "GET", "/me", "", bearer(h.token+strings.Repeat("A", 500_000))...)
			long := basic("admin", strings.Repeat("a", 500_000))
			h.tries(t, badRequest(badAuthorization.description), "POST", "/Token", "grant_type=password", long...)
			h.tries(t, issued, "POST", "/Token", goodGrant, long...)
			before := h.moment()
			// net/http itself answers if the headers are over its limit.
			if a := one(t, h.answers(t, "GET /me HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ", strings.Repeat("a", 2<<20), "\r\n\r\n")); a.StatusCode != 431 {
				t.Errorf("header of 2 MiB: got %d %s, want 431", a.StatusCode, a.body)
			}
			before.expect(t, unchanged, 0)
		},
	},
	{
		id: "A11", what: "another character in the slot part of the token",
		run: func(t *testing.T, h *abuseHost) {
			// The Service rejects a wrong checksum without a look-up. If the
			// checksum is right, it looks up the slot.
			for i := 4; i < 4+(secretAt*4)/3; i++ {
				h.denies(t, invalidToken, 0, "GET", "/me", "", bearer(flip(h.token, i))...)
			}
			for _, i := range []int{slotAt, slotAt + 15, slotAt + 16, secretAt - 1} {
				h.denies(t, invalidToken, 1, "GET", "/me", "", bearer(reforge(t, h.token, func(b []byte) { b[i] ^= 1 }))...)
			}
		},
	},
	{
		// The comparison is in constant time, by the only function of package
		// tokenauth that compares digests.
		id: "A12", what: "another character in the secret part of the token",
		run: func(t *testing.T, h *abuseHost) {
			for i := 4 + (secretAt*4)/3; i < len(h.token); i++ {
				h.denies(t, invalidToken, 0, "GET", "/me", "", bearer(flip(h.token, i))...)
			}
			for _, i := range []int{secretAt, secretAt + 16, checksumAt - 1} {
				h.denies(t, invalidToken, 1, "GET", "/me", "", bearer(reforge(t, h.token, func(b []byte) { b[i] ^= 1 }))...)
			}
			// Only a caller with the complete token learns that it has expired.
			h.wait(15 * 24 * time.Hour)
			expiredToken.check(t, h.do(t, "GET", "/me", "", bearer(h.token)...))
			invalidToken.check(t, h.do(t, "GET", "/me", "", bearer(reforge(t, h.token, func(b []byte) { b[secretAt] ^= 1 }))...))
		},
	},
	// The 92 characters hold exactly 69 bytes, so no bits are unused.
	tokens("A13", "other spellings of the same bytes", 0, func(t *testing.T, h *abuseHost) []string {
		dashes := reforge(t, h.token, func(b []byte) { fill(b[secretAt:checksumAt], 0xff) })
		pluses := reforge(t, h.token, func(b []byte) { copy(b[secretAt:], strings.Repeat("\xfb\xef\xbe", 10)) })
		if !strings.Contains(dashes, "____") || !strings.Contains(pluses, "----") {
			t.Fatalf("%s and %s have no characters with another spelling in base64", dashes, pluses)
		}
		return []string{
			h.token + "=", h.token + "==", h.token + "====", strings.ReplaceAll(dashes, "_", "/"), strings.ReplaceAll(pluses, "-", "+"),
			strings.ToUpper(h.token), strings.ToLower(h.token), "TAT_" + h.token[4:], h.token[4:], "tat_" + h.token, h.token + "A", h.token[:len(h.token)-1],
			strings.ReplaceAll(h.token, "_", "%5F"), "\"" + h.token + "\"",
		}
	}),
	{
		id: "A14", what: "line breaks, NUL and non-ASCII in the token",
		run: func(t *testing.T, h *abuseHost) {
			for _, odd := range []string{"\x00", "\x01", "\x7f", "\r", "\n"} {
				before := h.moment()
				all := h.raw(t, "GET /me HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer "+h.token[:50]+odd+h.token[50:]+"\r\n\r\n")
				if !strings.HasPrefix(all, "HTTP/1.1 400 ") || strings.Contains(all, h.token[50:60]) {
					t.Errorf("%q in the token: got %s, want 400 without the token", odd, all)
				}
				before.expect(t, unchanged, 0)
			}
			h.deniesLine(t, invalidToken, "Bearer "+h.token[:50]+"\u00fc"+h.token[50:])
			h.deniesLine(t, invalidToken, "Bearer "+h.token+"\xff\xfe")
			// A line break in the value starts another header, which has no effect.
			a := one(t, h.answers(t, "GET /me HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer x\r\nX-Injected: y\r\n\r\n"))
			if a.StatusCode != 401 || a.Header.Get("X-Injected") != "" {
				t.Errorf("line break in the value: got %d with the headers %v, want 401 without X-Injected", a.StatusCode, a.Header)
			}
			// Without net/http's server, line breaks may reach the guard. Go's
			// base64 decoder skips them.
			for _, odd := range []string{"\r\n", "\n", "\r", "\x00"} {
				before := h.moment()
				r := httptest.NewRequest("GET", "/me", nil)
				r.Header["Authorization"] = []string{"Bearer " + h.token[:50] + odd + h.token[50:]}
				w := httptest.NewRecorder()
				h.handler.ServeHTTP(w, r)
				if w.Code != 401 || h.storage.called("Find") != before.calls["Find"] {
					t.Errorf("%q in the token: got %d, want 401 without a look-up", odd, w.Code)
				}
				before.expect(t, unchanged, 0)
			}
		},
	},
	tokens("A15", "tokens with syntax of SQL, LDAP, Redis or file systems", 0, func(t *testing.T, h *abuseHost) (all []string) {
		for _, text := range []string{"*", "..", ":", "'or'1'='1", "x)(uid=*", "tat_*", "../../etc/passwd", "%00", "--", "token:1", "$where", "tat_"} {
			all = append(all, text, "tat_"+text)
			if len(text) < 92 {
				all = append(all, "tat_"+text+h.token[4+len(text):])
			}
		}
		return all[:len(all)-1] // the last one is the valid token
	}),
	tokens("A16", "another user's slot with one's own secret", 1, func(t *testing.T, h *abuseHost) []string {
		reader := h.signIn(t, grantOf+"reader&password="+url.QueryEscape(otherPassword))
		own, _ := base64.RawURLEncoding.DecodeString(reader[4:])
		return []string{
			reforge(t, h.token, func(b []byte) { copy(b[secretAt:checksumAt], own[secretAt:]) }),
			reforge(t, reader, func(b []byte) { copy(b[slotAt+16:secretAt], "another client's") }),
			reforge(t, reader, func(b []byte) { copy(b[slotAt:slotAt+16], "another user's..") }),
		}
	}),
	{
		id: "A17", what: "the stored digest as a token",
		run: func(t *testing.T, h *abuseHost) {
			stored, err := h.storage.Store.Find(t.Context(), tokenauth.SlotOf("1", ""))
			if err != nil {
				t.Fatal(err)
			}
			d := stored.Digest[:]
			for _, token := range []string{hex.EncodeToString(d), "tat_" + hex.EncodeToString(d), base64.RawURLEncoding.EncodeToString(d), "tat_" + base64.RawURLEncoding.EncodeToString(d)} {
				h.denies(t, invalidToken, 0, "GET", "/me", "", bearer(token)...)
			}
			h.denies(t, invalidToken, 1, "GET", "/me", "", bearer(reforge(t, h.token, func(b []byte) { copy(b[secretAt:], d) }))...)
		},
	},
	{
		id: "A18", what: "a token of zeros",
		run: func(t *testing.T, h *abuseHost) {
			for _, token := range []string{strings.Repeat("A", 96), "tat_" + strings.Repeat("A", 92), "tat_" + strings.Repeat("0", 92), "tat_AQ" + strings.Repeat("A", 90)} {
				h.denies(t, invalidToken, 0, "GET", "/me", "", bearer(token)...)
			}
			nowhere := reforge(t, h.token, func(b []byte) { fill(b[slotAt:], 0) })
			here := reforge(t, h.token, func(b []byte) { fill(b[secretAt:], 0) })
			h.denies(t, invalidToken, 1, "GET", "/me", "", bearer(nowhere)...)
			h.denies(t, invalidToken, 1, "GET", "/me", "", bearer(here)...)
			h.denies(t, invalidToken, 0, "GET", "/me", "", bearer(reforge(t, h.token, func(b []byte) { b[0] = 0 }))...)
			h.denies(t, invalidToken, 0, "GET", "/me", "", bearer(reforge(t, h.token, func(b []byte) { b[0] = 2 }))...)
		},
	},
	{
		// With clients, the service reads Basic authentication and answers 400
		// invalid_request. It counts no failed attempt, because the request names
		// no user.
		id: "A19", what: "malformed Basic authentication",
		with: withClients,
		run: func(t *testing.T, h *abuseHost) {
			for _, line := range malformedBasic {
				h.tries(t, badAuthorization, "POST", "/Token", goodGrant+"&client_id=web", "Authorization", line)
				h.tries(t, badAuthorization, "GET", "/Token", "grant_type=password", "Authorization", line)
				badAuthorization.check(t, h.do(t, "POST", "/revoke", "token=x&client_id=web", "Authorization", line))
				badAuthorization.check(t, h.do(t, "POST", "/introspect", "token=x", "Authorization", line))
			}
		},
		alone: func(t *testing.T) {
			for _, on := range engines {
				t.Run("no clients/"+on.name, func(t *testing.T) {
					t.Parallel()
					h := newAbuseHost(t, on, nil)
					for _, line := range malformedBasic {
						header := []string{"Authorization", line}
						h.tries(t, issued, "POST", "/Token", goodGrant, header...)
						h.tries(t, rejected, "POST", "/Token", grantOf+"admin&password=x", header...)
						h.tries(t, badRequest(badAuthorization.description), "GET", "/Token", "grant_type=password", header...)
						h.tries(t, noPassword, "GET", "/Token", grantOf+"admin", header...)
						if a := h.do(t, "POST", "/revoke", "token=x", header...); a.StatusCode != 200 {
							t.Errorf("POST /revoke: got %d %s, want 200", a.StatusCode, a.body)
						}
					}
				})
			}
		},
	},
	{
		id: "A20", what: "Basic authentication with long, non-ASCII and colon-separated passwords",
		run: func(t *testing.T, h *abuseHost) {
			for i, text := range []string{"::a:b::", "£ and € for 10\u00a0%", strings.Repeat("0123456789abcde:", 64), ":", " "} {
				h.users.put(password.Account{UserID: "1", UserName: "admin", PasswordHash: hashOf(text), Stamp: fmt.Sprint(i)})
				for j, body := range []string{"grant_type=password", "grant_type=password&username=&password="} {
					h.tries(t, issued, "POST", "/Token", body, basic("admin", text)...)
					h.tries(t, rejected, "POST", "/Token", body, basic("admin", text+strings.Repeat("x", 1+j))...)
				}
			}
			// A value that is not valid UTF-8 is read as ISO-8859-1.
			h.users.put(password.Account{UserID: "1", UserName: "admin", PasswordHash: hashOf("£:ä"), Stamp: "latin"})
			h.tries(t, issued, "POST", "/Token", "grant_type=password", basic("admin", "\xa3:\xe4")...)
			h.tries(t, rejected, "POST", "/Token", "grant_type=password", basic("admin", strings.Repeat("x", 1025))...)
		},
	},
	{
		id: "A21", what: "Basic authentication with a username and a password in the body",
		with: withClients,
		run: func(t *testing.T, h *abuseHost) {
			// Basic authentication then names the client and never the user. The
			// client is authenticated before the user.
			h.tries(t, issued, "POST", "/Token", goodGrant, basic("app", appSecret.Reveal())...)
			h.tries(t, challenged, "POST", "/Token", goodGrant, basic("admin", adminPassword)...)
			h.tries(t, challenged, "POST", "/Token", goodGrant, basic("None", "")...)
			h.tries(t, noUserName, "POST", "/Token", "grant_type=password", basic("app", appSecret.Reveal())...)
			h.tries(t, rejected, "POST", "/Token", grantOf+"admin&password=x", basic("app", appSecret.Reveal())...)
		},
		alone: func(t *testing.T) {
			for _, on := range engines {
				t.Run("no clients/"+on.name, func(t *testing.T) {
					t.Parallel()
					h := newAbuseHost(t, on, nil)
					for _, header := range [][]string{basic("None", ""), basic("client", "None"), basic("reader", otherPassword), basic("admin", "x")} {
						h.tries(t, issued, "POST", "/Token", goodGrant, header...)
					}
					// The service never falls back to Basic authentication, nor
					// combines a user name from one with a password from the other.
					good := basic("admin", adminPassword)
					h.tries(t, rejected, "POST", "/Token", grantOf+"admin&password=x", good...)
					h.tries(t, noPassword, "POST", "/Token", grantOf+"admin", good...)
					h.tries(t, noUserName, "POST", "/Token", "grant_type=password&password=x", good...)
				})
			}
		},
	},
	{
		id: "A22", what: "Basic authentication as the user without grant_type",
		run: func(t *testing.T, h *abuseHost) {
			good := basic("admin", adminPassword)
			h.tries(t, noGrantType, "GET", "/Token", "", good...)
			h.tries(t, noGrantType, "POST", "/Token", "", good...)
			h.tries(t, noGrantType, "POST", "/Token", "a=b", good...)
			h.tries(t, inTheQuery, "GET", "/Token?grant_type=password", "", good...)
			h.tries(t, issued, "GET", "/Token", "grant_type=password", good...)
			// Even a wrong password gets no challenge, so a browser does not ask
			// for another one.
			h.tries(t, rejected, "GET", "/Token", "grant_type=password", basic("admin", "x")...)
		},
	},
	{
		id: "A23", what: "a client_id in the body besides Basic authentication",
		with: withClients,
		run: func(t *testing.T, h *abuseHost) {
			app := basic("app", appSecret.Reveal())
			h.tries(t, namedTwice, "POST", "/Token", goodGrant+"&client_id=web", app...)
			h.tries(t, namedTwice, "POST", "/Token", goodGrant+"&client_id=APP", app...)
			h.tries(t, namedTwice, "POST", "/Token", goodGrant+"&client_id=app&client_secret="+appSecret.Reveal(), app...)
			h.tries(t, namedTwice, "POST", "/Token", goodGrant+"&client_secret="+appSecret.Reveal(), app...)
			h.tries(t, issued, "POST", "/Token", goodGrant+"&client_id=app", app...)
		},
	},
	{
		id: "A24", what: "a missing secret of a confidential client and a secret of a public client",
		with: withClients,
		run: func(t *testing.T, h *abuseHost) {
			h.tries(t, challenged, "POST", "/Token", goodGrant, basic("app", "")...)
			h.tries(t, challenged, "POST", "/Token", goodGrant+"&client_id=app", basic("app", "")...)
			h.tries(t, challenged, "POST", "/Token", goodGrant, basic("app", "x")...)
			h.tries(t, challenged, "POST", "/Token", goodGrant, basic("web", "x")...)
			h.tries(t, invalidClient, "POST", "/Token", goodGrant+"&client_id=app")
			h.tries(t, invalidClient, "POST", "/Token", goodGrant+"&client_id=app&client_secret=")
			h.tries(t, invalidClient, "POST", "/Token", goodGrant+"&client_id=app&client_secret="+flip(appSecret.Reveal(), 5))
			h.tries(t, invalidClient, "POST", "/Token", goodGrant+"&client_id=app&client_secret="+hex.EncodeToString(appDigest[:]))
			h.tries(t, invalidClient, "POST", "/Token", goodGrant+"&client_id=web&client_secret=x")
			h.tries(t, issued, "POST", "/Token", goodGrant+"&client_id=app&client_secret="+appSecret.Reveal())
		},
	},
	{
		id: "A25", what: "an unknown client with a valid user",
		with: withClients,
		run: func(t *testing.T, h *abuseHost) {
			for _, id := range []string{"nobody", "gone", "APP", "app ", "ap", strings.Repeat("x", 257), "a\r\nb", "*"} {
				h.tries(t, invalidClient, "POST", "/Token", goodGrant+"&client_id="+url.QueryEscape(id))
				if !strings.Contains(id, "\r") {
					h.tries(t, challenged, "POST", "/Token", goodGrant, basic(id, "")...)
				}
			}
			h.tries(t, invalidClient, "POST", "/Token", goodGrant)
			h.tries(t, invalidClient, "POST", "/Token", goodGrant+"&client_id=")
			h.tries(t, challenged, "POST", "/Token", goodGrant, basic("", "")...)
			// If the look-up of the client fails, the answer is 503, for any client.
			h.tries(t, unavailable, "POST", "/Token", goodGrant+"&client_id=ill")
			h.tries(t, unavailable, "POST", "/Token", goodGrant, basic("ill", "")...)
			// A token that was issued to one client is not valid for another.
			web := h.signIn(t, goodGrant+"&client_id=web")
			h.denies(t, clientRefused, 1, "GET", "/app", "", bearer(web)...)
			h.admits(t, "GET", "/app", bearer(h.token)...)
			// A client that may not sign this user in gets the same answer as for a
			// wrong password.
			h.tries(t, rejected, "POST", "/Token", goodGrant+"&client_id=desk")
		},
	},
	{
		id: "A26", what: "the token in other headers and in a cookie",
		run: func(t *testing.T, h *abuseHost) {
			for _, name := range []string{"Proxy-Authorization", "X-Authorization", "X-Access-Token", "X-Forwarded-Authorization", "Authentication"} {
				h.denies(t, anonymous, 0, "GET", "/me", "", name, "Bearer "+h.token)
			}
			for _, cookie := range []string{"access_token=", "token=", "Authorization=Bearer ", "Bearer="} {
				h.denies(t, anonymous, 0, "GET", "/me", "", "Cookie", cookie+h.token)
			}
		},
	},
	{
		id: "A27", what: "a realm in a user name and an invalid realm",
		with: withClients,
		run: func(t *testing.T, h *abuseHost) {
			for _, name := range []string{`x", realm="evil`, `x\`, `x", charset="utf-7`, "evil"} {
				h.tries(t, challenged, "POST", "/Token", goodGrant, basic(name, "x")...)
				h.tries(t, challenged, "POST", "/Token", strings.Replace(goodGrant, "admin", url.QueryEscape(name), 1), basic(name, "x")...)
				h.denies(t, anonymous, 0, "GET", "/me?realm="+url.QueryEscape(name), "", "Authorization", "Basic realm="+name)
				h.denies(t, invalidToken, 0, "GET", "/me", "", "Authorization", "Bearer realm="+strings.ReplaceAll(name, ", ", ";"))
			}
		},
		alone: func(t *testing.T) {
			for _, realm := range []string{`a"b`, `a\b`, "a\r\nSet-Cookie: x=y", "a\x00", "a\tb", "a\x7f", "\u00fc"} {
				_, err := tokenauth.New(new(abuseStore), newAbuseUsers(new(journal)), &tokenauth.Options{Realm: realm})
				if err == nil || !strings.Contains(err.Error(), "Options.Realm") {
					t.Errorf("New with realm %q returns the error %v, want one that names Options.Realm", realm, err)
				}
			}
		},
	},
}

// malformedBasic has malformed Authorization header values.
var malformedBasic = []string{
	"Basic", "Basic undefined", "Basic null", "Basic [object Object]", "Basic !", "Basic YWRtaW46eA", "Basic YWRtaW46eB==",
	basic("no colon", "")[1][:len("Basic ")+8], "Basic " + base64.URLEncoding.EncodeToString([]byte("??>:??>")), basic("admin", "x")[1] + " x",
	"Basic\t" + base64.StdEncoding.EncodeToString([]byte("admin:x")),
	basic("a\r\nb", "x")[1], basic("admin", "a\x00b")[1], basic("admin", "\x1b")[1], basic("admin", "\x85\xff")[1], basic("admin", strings.Repeat("x", 8192))[1],
}

// line sends a request to a protected route with exactly this Authorization
// value.
func (h *abuseHost) line(t *testing.T, line string) answer {
	t.Helper()
	return one(t, h.answers(t, "GET /me HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: "+line+"\r\n\r\n"))
}

// deniesLine is like denies, with exactly this Authorization value.
func (h *abuseHost) deniesLine(t *testing.T, want denial, line string) {
	t.Helper()
	before := h.moment()
	a := h.line(t, line)
	if h.storage.called("Find") != before.calls["Find"] {
		t.Error("the storage was asked for a token, want no look-up")
	}
	want.check(t, a)
	before.expect(t, unchanged, 0)
	before.expectLog(t, line)
}
