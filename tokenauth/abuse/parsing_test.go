package abuse_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf16"

	"github.com/bearerkit/bearerkit/tokenauth"
	"github.com/bearerkit/bearerkit/tokenauth/password"
)

// The refusals of token requests before any password is checked.
var (
	inTheQuery  = early(400, "Credentials belong in the body, never in the query.")
	tooLarge    = early(413, "The body has more than 8192 bytes.")
	wrongMethod = early(405, "The token endpoint does not answer this method.").with("Allow", "GET, POST")
	urlencoded  = badRequest("Send the parameters urlencoded in the body: grant_type=password&username=...&password=...")
	notUTF8     = badRequest("The parameters are not UTF-8.")
	givenTwice  = badRequest("A parameter is given twice.")
	controls    = badRequest("The parameters have control characters.")
	noGrantType = badRequest("The parameter grant_type is missing.")
	noUserName  = badRequest("The parameter username is missing.")
	noPassword  = badRequest("The parameter password is missing.")
	otherGrant  = refusal(400, "unsupported_grant_type", "The grant type must be password.")
	notReadable = early(400, "The body could not be read.")
	tooSlow     = early(408, "The body took too long to arrive.")
	manyParams  = badRequest("There are more than 32 parameters.")
	markedName  = badRequest("A byte order mark may only begin the body.")
)

// rawToken is part of a request over a raw connection. pipelined is a second
// request on the same connection.
const (
	rawToken  = " /Token HTTP/1.1\r\nHost: x\r\n"
	pipelined = "GET /open HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
)

// bodies returns a situation in which all bodies get the same reply.
func bodies(id, what string, want reply, bodies ...string) situation {
	return situation{id: id, what: what, run: func(t *testing.T, h *abuseHost) {
		for _, body := range bodies {
			t.Logf("%.100s", body)
			h.tries(t, want, "POST", "/Token", body)
		}
	}}
}

// literally returns a situation of passwords. The keys are as they stand in the
// body, the values are the passwords that they mean.
func literally(id, what string, passwords map[string]string) situation {
	return situation{id: id, what: what, run: func(t *testing.T, h *abuseHost) {
		for sent, is := range passwords {
			t.Logf("%q", sent)
			h.users.put(password.Account{UserID: "1", UserName: "admin", PasswordHash: hashOf(is), Stamp: is, Roles: []string{"Administrator"}})
			h.tries(t, issued, "POST", "/Token", grantOf+"admin&password="+sent)
			h.tries(t, issued, "GET", "/Token", "password="+sent+"&x%zz;=%&username=admin&grant_type=password")
			h.tries(t, rejected, "POST", "/Token", grantOf+"admin&password="+sent+"x")
		}
		h.tries(t, otherGrant, "POST", "/Token", strings.ReplaceAll(goodGrant, "&", ";"))
	}}
}

// utf16Of encodes a text in UTF-16.
func utf16Of(text string, bigEndian bool) string {
	var b []byte
	for _, unit := range utf16.Encode([]rune(text)) {
		if bigEndian {
			b = binary.BigEndian.AppendUint16(b, unit)
		} else {
			b = binary.LittleEndian.AppendUint16(b, unit)
		}
	}
	return string(b)
}

// paths returns a situation in which all paths with a query get the same reply.
func paths(id, what string, want reply, body string, paths ...string) situation {
	return situation{id: id, what: what, run: func(t *testing.T, h *abuseHost) {
		for _, path := range paths {
			t.Log(path)
			h.tries(t, want, "POST", path, body)
			h.tries(t, want, "GET", path, body)
		}
	}}
}

// Chapter P of the catalogue: HTTP and the parsing of token requests.
var parsing = []situation{
	{
		id: "P01", what: "the documented call: GET with Content-Type JSON and an urlencoded body",
		run: func(t *testing.T, h *abuseHost) {
			a := h.tries(t, issued, "GET", "/Token", goodGrant, "Content-Type", "application/json")
			want := `"token_type":"bearer","expires_in":1209599,"userName":"admin","userId":"1","role":"Administrator",` +
				`".issued":"Sun, 13 Sep 2020 09:35:33 GMT",".expires":"Sun, 27 Sep 2020 09:35:33 GMT"}`
			if !strings.HasSuffix(a.body, want) {
				t.Errorf("body is %s, want a token response", a.body)
			}
		},
	},
	{
		id: "P02", what: "the same by POST, with another Content-Type or none",
		run: func(t *testing.T, h *abuseHost) {
			h.tries(t, issued, "POST", "/Token", goodGrant)
			h.tries(t, issued, "POST", "/Token", goodGrant, "Content-Type", "text/plain")
		},
	},
	{
		id: "P03", what: "a JSON body",
		run: func(t *testing.T, h *abuseHost) {
			for _, body := range []string{
				`{"grant_type":"password","username":"admin","password":"x"}`,
				`{"grant_type":"password","username":"admin","password":"` + adminPassword + `"}`, // also an invalid escape
				"{\r\n\t\"grant_type\": \"password\",\r\n\t\"username\": \"admin\",\r\n\t\"password\": \"x\"\r\n}\r\n",
				`  {"grant_type":"password","password":"a;b=c&d=e"}`,
				`{"a":"` + strings.Repeat("&", 100) + strings.Repeat("a&", 100) + `"}`,
				`{}`,
			} {
				h.tries(t, urlencoded, "POST", "/Token", body, "Content-Type", "application/json")
				h.tries(t, urlencoded, "GET", "/Token", body)
			}
			// Text that only starts like JSON is not JSON.
			h.tries(t, issued, "POST", "/Token", "{=}&"+goodGrant)
		},
	},
	{
		id: "P04", what: "multipart/form-data",
		run: func(t *testing.T, h *abuseHost) {
			want := early(400, urlencoded.description)
			body, label := multipartGrant()
			h.tries(t, want, "POST", "/Token", body, "Content-Type", label)
			h.tries(t, want, "POST", "/Token", goodGrant, "Content-Type", "Multipart/Form-Data")
		},
	},
	{
		id: "P05", what: "two Content-Type headers or an unparsable one",
		run: func(t *testing.T, h *abuseHost) {
			for _, headers := range [][]string{
				{"Content-Type", "multipart/form-data; boundary=x", "Content-Type", "text/plain; charset=utf-16"},
				{"Content-Type", ";;;"},
				{"Content-Type", "text/plain; charset"},
				{"Content-Type", ""},
				{"Content-Type", "text/plain; charset=utf-16" + strings.Repeat("; a=b", 100_000)},
			} {
				h.tries(t, issued, "POST", "/Token", goodGrant, headers...)
				h.tries(t, rejected, "POST", "/Token", grantOf+"admin&password=something+else", headers...)
				h.tries(t, noGrantType, "POST", "/Token", "a=b", headers...)
			}
		},
	},
	{
		id: "P06", what: "another charset label with valid and with invalid UTF-8",
		run: func(t *testing.T, h *abuseHost) {
			h.users.put(password.Account{UserID: "5", UserName: "zo\u00eb", PasswordHash: hashOf("pa\u00df")})
			for _, charset := range []string{"utf-8", `"Utf-8"`, "us-ascii", "utf-16", "UTF-7", "iso-8859-1", "windows-1252", "x-nobody-knows"} {
				label := []string{"Content-Type", "application/x-www-form-urlencoded; charset=" + charset}
				h.tries(t, issued, "POST", "/Token", goodGrant, label...)
				for _, body := range []string{grantOf + "zo\u00eb&password=pa\u00df", grantOf + "zo%C3%AB&password=pa%c3%9f"} {
					if a := h.do(t, "POST", "/Token", body, label...); a.StatusCode != 200 || !strings.Contains(a.body, `"userId":"5"`) {
						t.Errorf("charset %s with body %q: got %d %s", charset, body, a.StatusCode, a.body)
					}
				}
				for _, body := range []string{grantOf + "zo\xeb&password=pa%c3%9f", grantOf + "zo%EB&password=pa%DF", utf16Of("\ufeff"+goodGrant, false), utf16Of(goodGrant, true), utf16Of(goodGrant, false)} {
					h.tries(t, notUTF8, "POST", "/Token", body, label...)
				}
			}
		},
	},
	{
		id: "P07", what: "a compressed body",
		run: func(t *testing.T, h *abuseHost) {
			want := early(415, "The body must not be compressed.").with("Accept-Encoding", "identity")
			var body bytes.Buffer
			w := gzip.NewWriter(&body)
			io.WriteString(w, goodGrant)
			w.Close()
			for _, encoding := range []string{"gzip", "GZIP", "br, gzip", "identity, gzip"} {
				h.tries(t, want, "POST", "/Token", body.String(), "Content-Encoding", encoding)
				h.tries(t, want, "POST", "/Token", goodGrant, "Content-Encoding", encoding)
			}
			for _, encoding := range []string{"identity", "Identity", ""} {
				h.tries(t, issued, "POST", "/Token", goodGrant, "Content-Encoding", encoding)
			}
		},
	},
	{
		id: "P08", what: "a Content-Length of 8,193 or more",
		with: func(s *setup) { s.BodyTimeout = 2 * patience },
		run: func(t *testing.T, h *abuseHost) {
			padded := func(n int) string { return goodGrant + "&x=" + strings.Repeat("y", n-len(goodGrant)-len("&x=")) }
			h.tries(t, issued, "POST", "/Token", padded(8192))
			h.tries(t, tooLarge, "POST", "/Token", padded(8193))
			// The answer comes before any part of the body, so the server reads
			// nothing. Reading the body may take longer than the test's patience.
			for _, length := range []string{"8193", "9223372036854775807"} {
				before := h.moment()
				conn := h.dial(t)
				fmt.Fprintf(conn, "POST%sContent-Length: %s\r\n\r\n", rawToken, length)
				tooLarge.check(t, nextAnswer(t, bufio.NewReader(conn)))
				conn.Close()
				before.expect(t, unchanged, 0)
			}
		},
	},
	{
		id: "P09", what: "a chunked body of more than 8,192 bytes",
		run: func(t *testing.T, h *abuseHost) {
			before := h.moment()
			head := "POST" + rawToken + "Transfer-Encoding: chunked\r\n\r\n"
			chunk := "800\r\n" + strings.Repeat("a", 0x800) + "\r\n"
			tooLarge.check(t, one(t, h.answers(t, head, chunk, chunk, chunk, chunk, "1\r\na\r\n", "0\r\n\r\n", pipelined)))
			before.expect(t, unchanged, 0)

			body := new(endless)
			r := httptest.NewRequest("POST", "/Token", body)
			r.ContentLength = -1
			w := httptest.NewRecorder()
			h.handler.ServeHTTP(w, r)
			if w.Code != 413 || *body > 8193 {
				t.Errorf("got %d after %d bytes were read, want 413 after at most 8193", w.Code, *body)
			}
		},
	},
	{
		id: "P10", what: "a chunked body that arrives slowly",
		with: func(s *setup) { s.BodyTimeout = 150 * time.Millisecond },
		run: func(t *testing.T, h *abuseHost) {
			before := h.moment()
			all, took := h.trickle(t, "POST"+rawToken+"Transfer-Encoding: chunked\r\n\r\n", "1\r\na\r\n")
			tooSlow.check(t, one(t, readAnswers(t, all)))
			if took < 150*time.Millisecond || took > 5*time.Second {
				t.Errorf("answered after %v, want 150ms to 5s", took)
			}
			now := h.moment()
			if len(now.calls) > len(before.calls) {
				t.Errorf("the storage was called while the body arrived: %v", now.calls)
			}
			before.expect(t, unchanged, 0)
		},
	},
	{
		id: "P11", what: "the client disconnects in the middle of the body",
		with: func(s *setup) { s.BodyTimeout = 2 * patience },
		run: func(t *testing.T, h *abuseHost) {
			before := h.moment()
			conn := h.dial(t)
			half := len(goodGrant) / 2
			fmt.Fprintf(conn, "POST%sContent-Length: %d\r\n\r\n%s", rawToken, len(goodGrant), goodGrant[:half])
			eventually(t, "the handler has the request", func() bool { return h.inProgress.Load() == 1 })
			conn.Close()
			h.gone(t, conn) // in less time than the server waits for the body
			before.expect(t, unchanged, 0)
			before.expectSilence(t)
		},
	},
	{
		// net/http parses the framing.
		id: "P12", what: "Transfer-Encoding with Content-Length, invalid chunk sizes, a folded header",
		run: func(t *testing.T, h *abuseHost) {
			framed := func(header, body string) string { return "POST" + rawToken + header + "\r\n" + body }
			chunked := fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(goodGrant), goodGrant)
			for name, request := range map[string]string{
				"a bad chunk size":    framed("Transfer-Encoding: chunked\r\n", "zz\r\n"+goodGrant+"\r\n0\r\n\r\n"),
				"a huge chunk size":   framed("Transfer-Encoding: chunked\r\n", "fffffffffffffffff\r\n"+goodGrant+"\r\n0\r\n\r\n"),
				"a signed chunk size": framed("Transfer-Encoding: chunked\r\n", "-1\r\n"+goodGrant+"\r\n0\r\n\r\n"),
				"two lengths":         framed("Content-Length: 5\r\nContent-Length: 6\r\n", goodGrant),
				"a signed length":     framed("Content-Length: +5\r\n", goodGrant),
				"a folded header":     framed("Transfer-Encoding:\r\n chunked\r\nContent-Length: 5\r\n", goodGrant),
				"an unknown coding":   framed("Transfer-Encoding: gzip, chunked\r\n", chunked),
				"a space in a name":   framed("Content-Length : 5\r\n", goodGrant),
			} {
				before := h.moment()
				all := h.raw(t, request, pipelined)
				if strings.HasSuffix(name, "chunk size") { // the Service reads the chunks of the body
					notReadable.check(t, one(t, readAnswers(t, all)))
				}
				if !strings.HasPrefix(all, "HTTP/1.1 400 ") && !strings.HasPrefix(all, "HTTP/1.1 501 ") || strings.Count(all, "HTTP/1.1 ") != 1 {
					t.Errorf("%s: got %q, want one answer with 400 or 501", name, all)
				}
				before.expect(t, unchanged, 0)
			}
			// With both headers, net/http reads the chunks and ignores the length.
			// It must close the connection.
			before := h.moment()
			a := one(t, h.answers(t, framed("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", chunked), pipelined))
			want := issued
			want.closes = true
			want.check(t, a)
			before.expect(t, newToken, 1)
		},
	},
	{
		id: "P13", what: "a GET with an unread body that contains another request",
		run: func(t *testing.T, h *abuseHost) {
			for name, test := range map[string]struct {
				request string
				want    reply
			}{
				"405": {"PUT" + rawToken, wrongMethod},
				"413": {"GET" + rawToken, tooLarge},
				"415": {"GET" + rawToken + "Content-Encoding: gzip\r\n", early(415, "The body must not be compressed.").with("Accept-Encoding", "identity")},
				"400": {"GET /Token?token=x HTTP/1.1\r\nHost: x\r\n", inTheQuery},
			} {
				before := h.moment()
				body := strings.Repeat(pipelined, 200) // about 11 KB
				a := one(t, h.answers(t, fmt.Sprintf("%sContent-Length: %d\r\n\r\n", test.request, len(body)), body, pipelined))
				t.Log(name)
				test.want.check(t, a)
				before.expect(t, unchanged, 0)
			}
		},
	},
	{
		id: "P14", what: "Expect: 100-continue with a body of one gigabyte",
		run: func(t *testing.T, h *abuseHost) {
			before := h.moment()
			all := h.raw(t, "POST"+rawToken+"Content-Length: 1000000000\r\nExpect: 100-continue\r\n\r\n")
			if strings.Contains(all, "100 Continue") {
				t.Errorf("the server asked for the body: %s", all)
			}
			tooLarge.check(t, one(t, readAnswers(t, all)))
			before.expect(t, unchanged, 0)
		},
	},
	{
		id: "P15", what: "a body of 8 KiB full of parameters",
		run: func(t *testing.T, h *abuseHost) {
			body := strings.Repeat("a&", 4096)
			h.tries(t, manyParams, "POST", "/Token", body)
			h.tries(t, manyParams, "POST", "/Token", goodGrant+strings.Repeat("&a=b", 30))
			h.tries(t, issued, "POST", "/Token", goodGrant+strings.Repeat("&a=b", 29))
			h.tries(t, issued, "POST", "/Token", goodGrant+strings.Repeat("&", 4096)) // no parameters at all
			// Other tests allocate at the same time, so the test takes the least of
			// several measurements.
			least := uint64(1 << 30)
			for range 20 {
				r := httptest.NewRequest("POST", "/Token", strings.NewReader(body))
				w := discard{make(http.Header)}
				var before, after runtime.MemStats
				runtime.ReadMemStats(&before)
				h.handler.ServeHTTP(w, r)
				runtime.ReadMemStats(&after)
				least = min(least, after.TotalAlloc-before.TotalAlloc)
			}
			if least >= 64<<10 {
				t.Errorf("parsing allocates %d bytes, want less", least)
			}
		},
	},
	bodies("P16", "grant_type twice", givenTwice,
		goodGrant+"&grant_type=password", goodGrant+"&grant_type=refresh_token", "grant_type=&"+goodGrant),
	bodies("P17", "username or password twice", givenTwice,
		goodGrant+"&username=admin", goodGrant+"&username=reader", goodGrant+"&username=",
		goodGrant+"&password=x", goodGrant+"&password=", "password=correct+horse+%2Bbattery%25staple&"+goodGrant),
	{
		id: "P18", what: "parameter names in upper case",
		run: func(t *testing.T, h *abuseHost) {
			h.tries(t, givenTwice, "POST", "/Token", goodGrant+"&USERNAME=x")
			h.tries(t, givenTwice, "POST", "/Token", "UserName=x&"+goodGrant)
			h.tries(t, issued, "POST", "/Token", strings.Replace(goodGrant, "username", "UserName", 1))
			// White space before a name is dropped.
			h.tries(t, issued, "POST", "/Token", strings.ReplaceAll(goodGrant, "&", "&\r\n\t \u00a0"))
			h.tries(t, givenTwice, "POST", "/Token", goodGrant+"& password=x")
			h.tries(t, noPassword, "POST", "/Token", strings.Replace(goodGrant, "&password", "&password ", 1))
			h.tries(t, noPassword, "POST", "/Token", strings.Replace(goodGrant, "&password", "&+password", 1))
			// Folding of non-ASCII letters would turn a long s into an s.
			h.tries(t, noPassword, "POST", "/Token", strings.Replace(goodGrant, "&password", "&pa%C5%BF%C5%BFword", 1))
		},
	},
	paths("P19", "the username in the query and the rest in the body", inTheQuery, strings.Replace(goodGrant, "&username=admin", "", 1),
		"/Token?username=admin", "/Token?a=b&UserName=admin", "/Token?user%6eame=admin", "/Token?a;username=admin", "/Token?username"),
	paths("P20", "all credentials in the query", inTheQuery, "", "/Token?"+goodGrant, "/token?"+goodGrant),
	paths("P21", "a token or a client secret in the query", inTheQuery, goodGrant,
		"/Token?access_token=x", "/Token?client_secret=x", "/Token?token=", "/Token?client_id=x", "/Token?Access_Token"),
	{
		id: "P22", what: "a harmless query and one over the limit",
		run: func(t *testing.T, h *abuseHost) {
			for _, path := range []string{"/Token?utm=1", "/Token?tokens=1&x=%zz", "/Token?utm=username", "/Token?", "/Token?&&=;", "/Token?" + strings.Repeat("&", 8192)} {
				h.tries(t, issued, "POST", path, goodGrant)
				h.tries(t, issued, "GET", path, goodGrant)
			}
			tooLong := early(400, "The query has more than 8192 bytes.")
			for _, query := range []string{strings.Repeat("%75tm&", 100_000), strings.Repeat("&", 8193), "password=x&" + strings.Repeat("x", 8192)} {
				h.tries(t, tooLong, "POST", "/Token?"+query, goodGrant)
				tooLong.check(t, h.do(t, "POST", "/revoke?"+query, "token="+h.token))
			}
			h.admits(t, "GET", "/me?"+strings.Repeat("%75tm&", 100_000), "Authorization", "Bearer "+h.token)
		},
	},
	literally("P23", "percent signs that are not escapes", map[string]string{
		"100%": "100%", "%": "%", "%zz%": "%zz%", "%a": "%a", "100%sure%2": "100%sure%2", "%%41%4": "%A%4", "%4%31": "%41", "a%+b": "a% b", "=%3D=": "===",
	}),
	{
		id: "P24", what: "a value that is encoded twice",
		run: func(t *testing.T, h *abuseHost) {
			h.users.put(password.Account{UserID: "61", UserName: "%61dmin", PasswordHash: otherHash()})
			h.tries(t, rejected, "POST", "/Token", strings.Replace(goodGrant, "admin", "%2561dmin", 1))
			a := h.do(t, "POST", "/Token", grantOf+"%2561dmin&password="+url.QueryEscape(otherPassword))
			if a.StatusCode != 200 || !strings.Contains(a.body, `"userName":"%61dmin"`) {
				t.Errorf("got %d %s, want 200 for the user %%61dmin", a.StatusCode, a.body)
			}
			if asked := h.users.lastAsked(); asked != "%61dmin" {
				t.Errorf("looked up %q, want the name decoded once", asked)
			}
		},
	},
	{
		id: "P25", what: "a plus sign is a space, and %2B is a plus sign",
		run: func(t *testing.T, h *abuseHost) {
			h.tries(t, issued, "POST", "/Token", grantOf+"admin&password=correct+horse%20%2Bbattery%25staple")
			h.tries(t, rejected, "POST", "/Token", grantOf+"admin&password=correct%2Bhorse+%2Bbattery%25staple")
			h.tries(t, rejected, "POST", "/Token", grantOf+"admin&password=correct+horse++battery%25staple")
		},
	},
	literally("P26", "semicolons, which are not separators", map[string]string{
		"pa;ss": "pa;ss", ";": ";", "a;username=reader;password=b": "a;username=reader;password=b", "x;%3B": "x;;",
	}),
	{
		id: "P27", what: "NUL",
		run: func(t *testing.T, h *abuseHost) {
			for _, body := range []string{
				grantOf + "admin%00&password=x", grantOf + "%00&password=x", grantOf + "admin&password=correct%00",
				grantOf + "admin&password=\x00", goodGrant + "&x=%00", goodGrant + "&%00=x", "grant_type=password%00&username=admin&password=x",
			} {
				h.tries(t, controls, "POST", "/Token", body)
			}
			if h.users.lookups.Load() != 0 {
				t.Error("a user was looked up")
			}
		},
	},
	{
		id: "P28", what: "control characters in the username",
		run: func(t *testing.T, h *abuseHost) {
			for _, control := range []string{"%0D%0A", "%0A", "%0d", "%1B[2J", "%7F", "%09", "%C2%85", "\r\n"} {
				before := h.moment()
				h.tries(t, badRequest("The parameter username has control characters."), "POST", "/Token", grantOf+"admin"+control+"level=INFO&password=x")
				before.expectSilence(t)
			}
			// In a password they are allowed.
			h.tries(t, rejected, "POST", "/Token", grantOf+"admin&password=%0d%0a%1b%7f")
		},
	},
	{
		id: "P29", what: "invalid UTF-8",
		run: func(t *testing.T, h *abuseHost) {
			for _, bytes := range []string{"%ff%fe", "%c0%80", "%ed%a0%80", "%f4%90%80%80", "\xff", "%e2%82"} {
				h.tries(t, notUTF8, "POST", "/Token", grantOf+bytes+"&password=x")
				h.tries(t, notUTF8, "POST", "/Token", grantOf+"admin&password="+bytes)
				h.tries(t, notUTF8, "POST", "/Token", goodGrant+"&"+bytes+"=x")
			}
		},
	},
	{
		id: "P30", what: "a byte order mark at the start, before another name, and twice",
		run: func(t *testing.T, h *abuseHost) {
			const mark = "\xef\xbb\xbf"
			h.tries(t, issued, "POST", "/Token", mark+goodGrant)
			h.tries(t, issued, "GET", "/Token", mark+"&\r\n "+goodGrant, "Content-Type", "application/json")
			h.tries(t, issued, "POST", "/Token", mark+"password=correct+horse+%2Bbattery%25staple&grant_type=password&username=admin")
			h.tries(t, urlencoded, "POST", "/Token", mark+`{"grant_type":"password"}`)
			for _, body := range []string{
				mark + mark + goodGrant, "%EF%BB%BF" + goodGrant, " " + mark + goodGrant, strings.Replace(goodGrant, "&username", "&"+mark+"username", 1),
				goodGrant + "&" + mark + "client_id=x", goodGrant + "&" + mark + "x=y", mark + goodGrant + "&" + mark + "password=x", mark + "%EF%BB%BF" + goodGrant,
			} {
				h.tries(t, markedName, "POST", "/Token", body)
			}
			h.tries(t, rejected, "POST", "/Token", strings.Replace(goodGrant, "=admin", "="+mark+"admin", 1)) // a value is not changed
			if a := h.do(t, "POST", "/revoke", mark+"token=x"); a.StatusCode != 200 {
				t.Errorf("POST /revoke: got %d %s, want 200", a.StatusCode, a.body)
			}
		},
	},
	{
		id: "P31", what: "a username of 257 bytes",
		run: func(t *testing.T, h *abuseHost) {
			tooLong := badRequest("The parameter username has more than 256 bytes.")
			h.tries(t, tooLong, "POST", "/Token", grantOf+strings.Repeat("x", 257)+"&password=x")
			h.tries(t, tooLong, "POST", "/Token", grantOf+strings.Repeat("%C3%BC", 129)+"&password=x") // 258 bytes, 129 characters
			h.tries(t, rejected, "POST", "/Token", grantOf+strings.Repeat("x", 256)+"&password=x")
		},
	},
	{
		id: "P32", what: "a password of more than 1,024 bytes",
		run: func(t *testing.T, h *abuseHost) {
			for _, user := range []string{"admin", "nobody"} {
				for _, length := range []int{1024, 1025, 8192 - len(grantOf+user+"&password=")} {
					h.tries(t, rejected, "POST", "/Token", grantOf+user+"&password="+strings.Repeat("x", length))
				}
			}
		},
	},
	{
		id: "P33", what: "no username or no password",
		run: func(t *testing.T, h *abuseHost) {
			for body, want := range map[string]reply{
				"grant_type=password&username=admin":              noPassword,
				"grant_type=password&username=admin&password":     noPassword,
				"grant_type=password&username=admin&password=":    noPassword,
				"grant_type=password&password=something":          noUserName,
				"grant_type=password&username&password=something": noUserName,
				"grant_type=password&username=&password=x":        noUserName,
				"grant_type=password":                             noUserName,
				"grant_type=password&username=&password=":         noUserName,
			} {
				h.tries(t, want, "POST", "/Token", body)
			}
		},
	},
	{
		id: "P34", what: "a username of spaces or with a trailing space",
		run: func(t *testing.T, h *abuseHost) {
			h.users.put(password.Account{UserID: "4", UserName: "admin ", PasswordHash: otherHash()})
			for _, name := range []string{"   ", "admin ", " admin", "admin\u00a0"} {
				h.tries(t, rejected, "POST", "/Token", grantOf+url.QueryEscape(name)+"&password=x")
				if asked := h.users.lastAsked(); asked != name {
					t.Errorf("looked up %q, want %q", asked, name)
				}
			}
			a := h.do(t, "POST", "/Token", grantOf+"admin+&password="+url.QueryEscape(otherPassword))
			if a.StatusCode != 200 || !strings.Contains(a.body, `"userName":"admin ","userId":"4"`) {
				t.Errorf("got %d %s, want 200 for the user with the trailing space", a.StatusCode, a.body)
			}
			h.admits(t, "GET", "/admin", "Authorization", "Bearer "+h.token)
		},
		// User names in gormstore have no spaces, so gormstore drops spaces around
		// them.
		alone: onDatabases(func(t *testing.T, e sqlEngine) {
			s := newStore(t, openDB(t, e.open(t)), nil)
			user := addUser(t, s, "alice")
			h := onHTTP.host(t, s, s.Users(), tokenauth.Options{})
			for _, name := range []string{"alice ", " alice", "\u00a0ALICE\u3000", "  alice  "} {
				token, err := h.auth.Validate(t.Context(), h.signIn(t, grantFor(name, otherPassword)))
				if err != nil || token.Principal.UserID != user.ID || token.Principal.UserName != "alice" {
					t.Errorf("signing in as %q gives the token %+v, %v, want one of alice", name, token.Principal, err)
				}
			}
			for _, name := range []string{"   ", "a lice"} {
				h.posts(t, rejected, grantFor(name, otherPassword))
			}
		}),
	},
	bodies("P35", "the grant type in upper case", otherGrant,
		strings.Replace(goodGrant, "=password", "=PASSWORD", 1), strings.Replace(goodGrant, "=password", "=Password", 1),
		strings.Replace(goodGrant, "=password", "=password+", 1)),
	bodies("P36", "other grant types", otherGrant,
		strings.Replace(goodGrant, "=password", "=refresh_token", 1), "grant_type=client_credentials", "grant_type=x",
		"grant_type=refresh_token&refresh_token=x", "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Adevice_code"),
	bodies("P37", "no grant type", noGrantType,
		"", "&&&", "username=admin&password=x", "grant_type=&username=admin&password=x", "grant_type&username=admin&password=x", "grant+type=password"),
	{
		// Scopes are not mapped to roles: scope is an unknown parameter.
		id: "P38", what: "scope=admin raises no privilege",
		run: func(t *testing.T, h *abuseHost) {
			h.tries(t, issued, "POST", "/Token", goodGrant+"&scope=admin&scope=x")
			reader := h.signIn(t, grantOf+"reader&scope=Administrator&password="+url.QueryEscape(otherPassword))
			h.denies(t, roleMissing, 1, "GET", "/admin", "", "Authorization", "Bearer "+reader)
		},
	},
	{
		id: "P39", what: "role, userId and expires_in in the body",
		run: func(t *testing.T, h *abuseHost) {
			a := h.do(t, "POST", "/Token", grantOf+"reader&role=Administrator&userId=1&expires_in=9999999&password="+url.QueryEscape(otherPassword))
			if a.StatusCode != 200 || !strings.Contains(a.body, `"expires_in":1209599,"userName":"reader","userId":"2","role":"Reader",`) {
				t.Errorf("got %d %s, want a token response", a.StatusCode, a.body)
			}
			h.denies(t, roleMissing, 1, "GET", "/admin", "", "Authorization", "Bearer "+accessTokenIn(t, a))
			h.admits(t, "GET", "/admin", "Authorization", "Bearer "+h.token)
		},
	},
	{
		id: "P40", what: "HEAD with valid credentials",
		run: func(t *testing.T, h *abuseHost) {
			h.head(t)
		},
	},
	{
		id: "P41", what: "other methods",
		run: func(t *testing.T, h *abuseHost) {
			for _, method := range []string{"PUT", "PATCH", "DELETE", "TRACE", "OPTIONS"} {
				h.tries(t, wrongMethod, method, "/Token", goodGrant)
				h.tries(t, wrongMethod, method, "/token", goodGrant)
			}
			for _, method := range []string{"CONNECT", "BREW", "get", "Post", "PROPFIND"} {
				before := h.moment()
				a := one(t, h.answers(t, fmt.Sprintf("%s%sContent-Length: %d\r\nConnection: close\r\n\r\n%s", method, rawToken, len(goodGrant), goodGrant)))
				if a.StatusCode == 404 && method != "CONNECT" && h.engine == "gin" {
					// Gin does not route methods that it does not know.
				} else {
					wrongMethod.check(t, a)
				}
				before.expect(t, unchanged, 0)
			}
		},
	},
	{
		id: "P42", what: "OPTIONS preflight of a browser",
		run: func(t *testing.T, h *abuseHost) {
			a := h.tries(t, wrongMethod, "OPTIONS", "/Token", "",
				"Origin", "https://evil.example", "Access-Control-Request-Method", "POST", "Access-Control-Request-Headers", "authorization")
			expectNoCORS(t, a)
		},
	},
	{
		id: "P43", what: "X-HTTP-Method-Override on HEAD",
		run: func(t *testing.T, h *abuseHost) {
			for _, name := range []string{"X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override"} {
				h.head(t, name, "POST")
				h.tries(t, wrongMethod, "PUT", "/Token", goodGrant, name, "POST")
			}
		},
	},
	{
		id: "P44", what: "other spellings of the path",
		run: func(t *testing.T, h *abuseHost) {
			h.tries(t, issued, "POST", "/token", goodGrant)
			h.tries(t, issued, "POST", "/Token", goodGrant)
			for _, method := range []string{"GET", "POST", "PUT"} {
				for _, path := range []string{"/Token/", "/token/", "/TOKEN", "/Token/x", "//Token", "/./Token", "/x/../Token"} {
					before := h.moment()
					a := h.do(t, method, path, goodGrant)
					// ServeMux cleans the path and redirects before it finds a
					// handler. Clients that use the documented path are not
					// affected, and the Service does not see the request.
					cleaned := h.engine != "gin" && strings.ContainsAny(path[1:2], "/.x")
					if want := map[bool]int{false: 404, true: 307}[cleaned]; a.StatusCode != want {
						t.Errorf("%s %s: got %d with headers %v, want %d", method, path, a.StatusCode, a.Header, want)
					}
					if location := a.Header.Get("Location"); (location == "/Token") != cleaned {
						t.Errorf("%s %s: Location is %q", method, path, location)
					}
					before.expect(t, unchanged, 0)
				}
			}
		},
	},
	{
		// net/http enforces these rules.
		id: "P45", what: "HTTP/1.0 and requests without a valid Host",
		run: func(t *testing.T, h *abuseHost) {
			body := fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(goodGrant), goodGrant)
			before := h.moment()
			a := one(t, h.answers(t, "POST /Token HTTP/1.0\r\n"+body))
			want := issued
			want.closes = true
			want.check(t, a)
			before.expect(t, newToken, 1)
			h.token = accessTokenIn(t, a)

			for _, head := range []string{"POST /Token HTTP/1.1\r\n", "POST /Token HTTP/1.1\r\nHost: a\r\nHost: b\r\n", "POST /Token HTTP/1.1\r\nHost: a b\r\n", "POST /Token\r\n", "POST /Token HTTP/3.0\r\n"} {
				before := h.moment()
				if a := one(t, h.answers(t, head+body)); a.StatusCode != 400 && a.StatusCode != 505 {
					t.Errorf("request %q: got %d %s, want 400 or 505", head, a.StatusCode, a.body)
				}
				before.expect(t, unchanged, 0)
			}
		},
	},
	{
		id: "P46", what: "HTTP/2: headers of HTTP/1, and streams that are reset at once",
		with: func(s *setup) {
			s.serve = func(server *httptest.Server) {
				server.EnableHTTP2 = true
				server.StartTLS()
			}
		},
		run: func(t *testing.T, h *abuseHost) {
			if a := h.tries(t, issued, "POST", "/Token", goodGrant); a.ProtoMajor != 2 {
				t.Fatalf("the answer came over HTTP/%d, want HTTP/2", a.ProtoMajor)
			}
			h.tries(t, tooLarge, "POST", "/Token", strings.Repeat("a", 8193))
			// net/http refuses the connection headers of HTTP/1. It answers 400 and
			// does not reset the stream.
			for _, header := range [][2]string{{"transfer-encoding", "chunked"}, {"connection", "close"}, {"te", "gzip"}, {"proxy-connection", "keep-alive"}} {
				before := h.moment()
				c := h.http2(t)
				c.request(1, goodGrant, header)
				if status := c.outcome(1); status != "400" {
					t.Errorf("header %v: got %s, want 400", header, status)
				}
				before.expect(t, unchanged, 0)
			}

			// Some requests look up a user, and the others wait for those look-ups.
			// When all streams are reset, the waiting requests end. The running
			// look-ups are not interrupted, because a driver would then close its
			// connection.
			before := h.moment()
			answer := make(chan struct{})
			h.users.meet(func(ctx context.Context) error {
				select {
				case <-answer:
				case <-ctx.Done():
					t.Error("a look-up was interrupted by the reset of its stream")
				}
				return nil
			})
			c := h.http2(t)
			for i := range uint32(100) {
				c.request(2*i+1, goodGrant)
			}
			eventually(t, "all streams are open", func() bool { return h.inProgress.Load() == 100 })
			eventually(t, "users are looked up", func() bool { return h.users.lookups.Load() > before.lookups })
			for i := range uint32(100) {
				c.frame(0x3, 0, 2*i+1, []byte{0, 0, 0, 8}) // CANCEL
			}
			eventually(t, "the waiting requests have ended", func() bool {
				return h.inProgress.Load() == h.users.lookups.Load()-before.lookups
			})
			close(answer)
			eventually(t, "all requests have ended", func() bool { return h.inProgress.Load() == 0 })
			h.users.meet(nil)
			if now := h.moment(); !maps.Equal(now.counters, before.counters) || now.calls["Replace"] != before.calls["Replace"] {
				t.Errorf("the counters are %v after the resets, want %v", now.counters, before.counters)
			}
			before.expectSilence(t)
			h.tries(t, issued, "POST", "/Token", goodGrant)
		},
	},
	{
		id: "P47", what: "Accept: text/html",
		run: func(t *testing.T, h *abuseHost) {
			h.tries(t, issued, "POST", "/Token", goodGrant, "Accept", "text/html")
			h.tries(t, rejected, "POST", "/Token", grantOf+"admin&password=x", "Accept", "text/html, */*;q=0")
			h.tries(t, wrongMethod, "PUT", "/Token", goodGrant, "Accept", "text/html")
			h.denies(t, anonymous, 0, "GET", "/me", "", "Accept", "text/html")
		},
	},
	{
		id: "P48", what: "a browser's request from a page of another site",
		run: func(t *testing.T, h *abuseHost) {
			expectNoCORS(t, h.tries(t, issued, "POST", "/Token", goodGrant, "Origin", "https://evil.example",
				"Content-Type", "application/x-www-form-urlencoded", "Sec-Fetch-Site", "cross-site"))
		},
	},
}

// gone waits until the server has closed the connection.
func (h *abuseHost) gone(t *testing.T, conn net.Conn) {
	t.Helper()
	eventually(t, "the server has closed the connection", func() bool {
		_, ok := h.closed.Load(conn.LocalAddr().String())
		return ok
	})
}

// expectSilence fails the test if anything above debug level was logged since.
func (m moment) expectSilence(t *testing.T) {
	t.Helper()
	for line := range strings.Lines(m.h.log.String()[m.logged:]) {
		if !strings.Contains(line, "level=DEBUG") {
			t.Errorf("a line was logged: %s", line)
		}
	}
}

func expectNoCORS(t *testing.T, a answer) {
	t.Helper()
	for name := range a.Header {
		if strings.HasPrefix(name, "Access-Control-") || name == "Set-Cookie" {
			t.Errorf("the answer has the header %s", name)
		}
	}
}

// head sends HEAD /Token with valid credentials and expects 405.
func (h *abuseHost) head(t *testing.T, headers ...string) {
	t.Helper()
	before := h.moment()
	basic := "Basic " + base64.StdEncoding.EncodeToString([]byte("admin:"+adminPassword))
	a := h.do(t, "HEAD", "/Token", goodGrant, append(slices.Clone(headers), "Authorization", basic)...)
	if a.StatusCode != 405 || a.body != "" || a.Header.Get("Allow") != "GET, POST" || a.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("HEAD /Token: got %d with headers %v and body %s, want 405 without a body", a.StatusCode, a.Header, a.body)
	}
	before.expect(t, unchanged, 0)
	before.expectSilence(t)
}

// An endless body counts the bytes that are read from it.
type endless int

func (e *endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'a'
	}
	*e += endless(len(p))
	return len(p), nil
}

// discard is a ResponseWriter that discards the body.
type discard struct{ header http.Header }

func (d discard) Header() http.Header         { return d.header }
func (d discard) Write(p []byte) (int, error) { return len(p), nil }
func (d discard) WriteHeader(int)             {}

// An http2Conn is a client that speaks the part of RFC 9113 that the test
// needs.
type http2Conn struct {
	*testing.T
	conn net.Conn
}

// http2 opens an HTTP/2 connection to the server.
func (h *abuseHost) http2(t *testing.T) *http2Conn {
	t.Helper()
	config := h.client.Transport.(*http.Transport).TLSClientConfig.Clone()
	config.NextProtos, config.ServerName = []string{"h2"}, "example.com"
	c := &http2Conn{t, tls.Client(h.dial(t), config)}
	c.write([]byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"))
	c.frame(0x4, 0, 0, nil) // SETTINGS
	return c
}

func (c *http2Conn) write(p []byte) {
	c.Helper()
	if _, err := c.conn.Write(p); err != nil {
		c.Fatal(err)
	}
}

func (c *http2Conn) frame(kind, flags byte, stream uint32, payload []byte) {
	c.Helper()
	n := len(payload)
	head := binary.BigEndian.AppendUint32([]byte{byte(n >> 16), byte(n >> 8), byte(n), kind, flags}, stream)
	c.write(append(head, payload...))
}

// request sends a token request on the stream.
func (c *http2Conn) request(stream uint32, body string, headers ...[2]string) {
	c.Helper()
	var block []byte
	for _, header := range append([][2]string{{":method", "POST"}, {":scheme", "https"}, {":path", "/Token"}, {":authority", "example.com"}}, headers...) {
		block = append(block, 0) // a literal field with a new name (RFC 7541 §6.2.2)
		for _, text := range header {
			block = append(append(block, byte(len(text))), text...)
		}
	}
	c.frame(0x1, 0x4, stream, block)        // HEADERS with END_HEADERS
	c.frame(0x0, 0x1, stream, []byte(body)) // DATA with END_STREAM
}

// outcome reads the answer on the stream: the status if it is 200 or 400, or
// the kind of the frame that ends the stream.
func (c *http2Conn) outcome(stream uint32) string {
	c.Helper()
	for {
		var head [9]byte
		if _, err := io.ReadFull(c.conn, head[:]); err != nil {
			return err.Error()
		}
		payload := make([]byte, int(head[0])<<16|int(head[1])<<8|int(head[2]))
		if _, err := io.ReadFull(c.conn, payload); err != nil {
			return err.Error()
		}
		switch kind, of := head[3], binary.BigEndian.Uint32(head[5:]); {
		case of != stream && kind != 0x7: // frames of other streams, except GOAWAY
		case kind == 0x1 && payload[0] == 0x88:
			return "200" // static table index 8 of RFC 7541
		case kind == 0x1 && payload[0] == 0x8c:
			return "400"
		case kind != 0x0:
			return fmt.Sprintf("frame %d", kind)
		}
	}
}
