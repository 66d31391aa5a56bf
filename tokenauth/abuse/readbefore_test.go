package abuse_test

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/gin-gonic/gin"
	"github.com/gin-gonic/gin/binding"
)

// A reader is middleware of a host that reads the body of a request before the
// endpoints do.
type reader struct {
	name string
	read func(r *http.Request) // for net/http
	gin  func(c *gin.Context)  // for Gin
	ends bool                  // whether it also consumes a body that ParseForm does not read
}

// keepers read the body and leave the form or the body to the next handler.
var keepers = []reader{
	{name: "ParseForm", read: func(r *http.Request) { r.ParseForm() }},
	{name: "FormValue", read: func(r *http.Request) { r.FormValue("_csrf") }},
	{name: "ParseForm, then Close", read: func(r *http.Request) { r.ParseForm(); r.Body.Close() }, ends: true},
	{name: "ParseForm, then no body", read: func(r *http.Request) { r.ParseForm(); r.Body = http.NoBody }, ends: true},
	{name: "MultipartReader", read: func(r *http.Request) { r.MultipartReader() }},
	{name: "a logger that puts the body back", read: func(r *http.Request) { putBack(r, readAll(r)) }},
	{name: "a logger that puts the body back after ParseForm", read: func(r *http.Request) {
		body := readAll(r)
		putBack(r, body)
		r.ParseForm()
		putBack(r, body)
	}},
	{name: "PostForm", gin: func(c *gin.Context) { c.PostForm("_csrf") }},
	{name: "ShouldBind", gin: func(c *gin.Context) {
		var form struct {
			UserName string `form:"username" binding:"required"`
		}
		c.ShouldBind(&form)
	}, ends: true}, // it decodes the body as JSON if the Content-Type says so
	{name: "MultipartForm", gin: func(c *gin.Context) { c.MultipartForm() }},
}

// takers consume the body and leave nothing.
var takers = []reader{
	{name: "ReadAll", read: func(r *http.Request) { readAll(r) }},
	{name: "ReadAll, then Close", read: func(r *http.Request) { readAll(r); r.Body.Close() }},
	{name: "Close", read: func(r *http.Request) { r.Body.Close() }},
	{name: "a JSON decoder", read: func(r *http.Request) { json.NewDecoder(r.Body).Decode(new(any)) }},
	{name: "a JSON decoder, then Close", read: func(r *http.Request) { json.NewDecoder(r.Body).Decode(new(any)); r.Body.Close() }},
	{name: "half of the body, then Close", read: func(r *http.Request) { io.CopyN(io.Discard, r.Body, 30); r.Body.Close() }},
	{name: "half of the body", read: func(r *http.Request) { io.CopyN(io.Discard, r.Body, 30) }},
	{name: "GetRawData", gin: func(c *gin.Context) { c.GetRawData() }},
	{name: "ShouldBindBodyWith", gin: func(c *gin.Context) { c.ShouldBindBodyWith(new(any), binding.JSON) }},
}

func readAll(r *http.Request) []byte {
	body, _ := io.ReadAll(r.Body)
	return body
}

func putBack(r *http.Request, body []byte) { r.Body = io.NopCloser(bytes.NewReader(body)) }

// behind runs a test behind each of the readers, on net/http and on Gin.
func behind(t *testing.T, readers []reader, with func(*setup), test func(t *testing.T, h *abuseHost, by reader)) {
	t.Parallel()
	for _, reader := range readers {
		on := []engine{{"net-http/" + reader.name, func(h *abuseHost, who http.HandlerFunc) http.Handler {
			mounted := abuseHTTP(h, who)
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				reader.read(r)
				mounted.ServeHTTP(w, r)
			})
		}}, {"gin/" + reader.name, abuseGin(func(c *gin.Context) { reader.read(c.Request) })}}
		if reader.gin != nil {
			on = []engine{{"gin/" + reader.name, abuseGin(reader.gin)}}
		}
		for _, on := range on {
			t.Run(on.name, func(t *testing.T) {
				t.Parallel()
				h := newAbuseHost(t, on, with)
				h.users.unhashed = true
				test(t, h, reader)
			})
		}
	}
}

const urlencodedLabel = "application/x-www-form-urlencoded"

func TestSignInWorksAfterHostParsedBody(t *testing.T) {
	behind(t, keepers, withClients, func(t *testing.T, h *abuseHost, by reader) {
		form := []string{"Content-Type", urlencodedLabel}
		grant := goodGrant + "&client_id=app&client_secret=" + appSecret.Reveal()
		h.tries(t, issued, "POST", "/Token", grant, form...)
		h.tries(t, issued, "POST", "/Token", "\ufeff"+strings.ReplaceAll(grant, "&", "&\r\n"), form...)
		h.tries(t, issued, "POST", "/Token?utm=1", strings.Replace(grant, "username", "UserName", 1), "Content-Type", urlencodedLabel+"; charset=ISO-8859-1")
		h.tries(t, issued, "POST", "/Token", grant, append(form, "Authorization", "Bearer stale")...)
		h.tries(t, issued, "POST", "/Token", goodGrant, append(form, basic("app", appSecret.Reveal())...)...)
		if !by.ends { // ParseForm reads neither of these bodies
			h.tries(t, issued, "GET", "/Token", grant, "Content-Type", "application/json")
			h.tries(t, issued, "POST", "/Token", grant, "Content-Type", "application/json")
		}

		h.tries(t, rejected, "POST", "/Token", strings.Replace(grant, "battery", "bakery", 1), form...)
		h.tries(t, noGrantType, "POST", "/Token", "", form...)
		h.tries(t, noUserName, "POST", "/Token", strings.Replace(grant, "username", "name", 1), form...)
		h.tries(t, inTheQuery, "POST", "/Token?username=admin", strings.Replace(grant, "&username=admin", "", 1), form...)
		h.tries(t, givenTwice, "POST", "/Token", grant+"&password=x", form...)
		h.tries(t, givenTwice, "POST", "/Token", grant+"&PassWord=x", form...)
		h.tries(t, manyParams, "POST", "/Token", grant+strings.Repeat("&x=y", 28), form...)
		h.tries(t, controls, "POST", "/Token", grant+"&a%01=y", form...)
		h.tries(t, notUTF8, "POST", "/Token", grant+"&x=%E9", form...)
		h.tries(t, markedName, "POST", "/Token", "\ufeff\ufeff"+grant, form...)
		h.tries(t, tooLarge, "POST", "/Token", grant+"&x="+strings.Repeat("y", 8192), form...)
		for _, mark := range []string{"", "\ufeff"} {
			h.tries(t, urlencoded, "POST", "/Token", mark+`{"grant_type":"password","username":"admin"}`, form...)
		}

		app := "&client_id=app&client_secret=" + appSecret.Reveal()
		invalidClient.check(t, h.do(t, "POST", "/introspect", "token="+h.token, form...))
		if got := h.do(t, "POST", "/introspect", "token="+h.token+app, form...); !strings.HasPrefix(got.body, `{"active":true,`) {
			t.Errorf("POST /introspect: got %d %s, want an active token", got.StatusCode, got.body)
		}
		if got := h.do(t, "POST", "/revoke", "token="+h.token+app, form...); got.StatusCode != 200 {
			t.Errorf("POST /revoke: got %d %s, want 200", got.StatusCode, got.body)
		}
		h.refuses(t, invalidToken, h.token)
		if strings.Contains(h.log.String(), "before the endpoint could") {
			t.Errorf("the log says that the host consumed the body: %s", h.log)
		}
	})
}

// A form that the host has parsed has the same limits as an unread body, also
// without a Content-Length.
func TestFormParsedByHostIsLimited(t *testing.T) {
	behind(t, keepers[:2], nil, func(t *testing.T, h *abuseHost, _ reader) {
		escapes := len("%2B%25") - len("+%") // the parsed form no longer has the escapes
		for body, want := range map[string]reply{
			goodGrant + "&x=" + strings.Repeat("y", 8192-len(goodGrant)-len("&x=")):         issued,
			goodGrant + "&x=" + strings.Repeat("y", 8193+escapes-len(goodGrant)-len("&x=")): badSize,
			goodGrant + "&x=" + strings.Repeat("y", 1<<20):                                  badSize,
			goodGrant + strings.Repeat("&a=b", 30):                                          manyParams,
		} {
			before := h.moment()
			head := fmt.Sprintf("POST%sContent-Type: %s\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n", rawToken, urlencodedLabel)
			want.closes = true
			a := one(t, h.answers(t, head, fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(body), body)))
			want.check(t, a)
			before.expect(t, want.effect, want.hashes)
			if want.code == "" {
				h.token = accessTokenIn(t, a)
			}
		}
	})
}

var badSize = refusal(413, "invalid_request", tooLarge.description)

// multipartGrant returns a valid sign-in as multipart/form-data, with its
// Content-Type.
func multipartGrant() (body, contentType string) {
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	for name, value := range map[string]string{"grant_type": "password", "username": "admin", "password": adminPassword} {
		w.WriteField(name, value)
	}
	w.Close()
	return b.String(), w.FormDataContentType()
}

// PostForm also has the fields of a multipart body. The endpoint must refuse
// them.
func TestMultipartParsedByHostIsRefused(t *testing.T) {
	multi := reader{name: "ParseMultipartForm", read: func(r *http.Request) { r.ParseMultipartForm(1 << 20) }}
	forgets := reader{name: "ParseMultipartForm, then forgets the files", read: func(r *http.Request) { r.ParseMultipartForm(1 << 20); r.MultipartForm = nil }}
	behind(t, []reader{multi, forgets, {name: "MultipartForm", gin: func(c *gin.Context) { c.MultipartForm() }}}, nil, func(t *testing.T, h *abuseHost, _ reader) {
		want := early(400, urlencoded.description)
		body, label := multipartGrant()
		h.tries(t, want, "POST", "/Token", body, "Content-Type", label)
		// ParseMultipartForm reads the first Content-Type.
		h.tries(t, want, "POST", "/Token", body, "Content-Type", label, "Content-Type", urlencodedLabel)
		h.tries(t, want, "POST", "/Token", body, "Content-Type", label+"; a="+strings.Repeat("b", 300))
	})
}

// A pair that ParseForm rejects is missing from the form.
func TestFormParsedByHostLacksInvalidPairs(t *testing.T) {
	behind(t, keepers[:1], nil, func(t *testing.T, h *abuseHost, _ reader) {
		for _, dropped := range []string{"pa;ss", "100%sure"} {
			h.tries(t, noPassword, "POST", "/Token", grantOf+"admin&password="+dropped, "Content-Type", urlencodedLabel)
		}
	})
}

func TestAnswerNamesBodyConsumedByHost(t *testing.T) {
	t.Run("HTTP1", func(t *testing.T) { bodyIsGone(t, withClients) })
	t.Run("HTTP2", func(t *testing.T) {
		bodyIsGone(t, func(s *setup) {
			withClients(s)
			s.serve = func(server *httptest.Server) {
				server.EnableHTTP2 = true
				server.StartTLS()
			}
		})
	})
}

func bodyIsGone(t *testing.T, with func(*setup)) {
	behind(t, takers, with, func(t *testing.T, h *abuseHost, _ reader) {
		gone := badRequest("The body is empty, or other code of the server has read it before.")
		for _, headers := range [][]string{{"Content-Type", urlencodedLabel}, {"Content-Type", "application/json"}} {
			for _, method := range []string{"GET", "POST"} {
				logged := len(h.log.String())
				h.tries(t, gone, method, "/Token", goodGrant+"&client_id=web", headers...)
				if line := h.log.String()[logged:]; !strings.Contains(line, "level=WARN") || !strings.Contains(line, "read the body of a request before the endpoint could") {
					t.Errorf("the log line is %s, want a warning that the host read the body", line)
				}
			}
			for _, path := range []string{"/revoke", "/introspect"} {
				gone.check(t, h.do(t, "POST", path, "token="+h.token+"&client_id=web", headers...))
			}
		}
	})
}

// If the host consumed part of a body, the rest may be a form that lacks the
// first parameters. Then the answer or the log names the cause. A user in the
// Authorization header must not replace one in the body.
func TestAnswerNamesBodyPartlyConsumedByHost(t *testing.T) {
	part := []reader{{name: "20 bytes", read: func(r *http.Request) { io.CopyN(io.Discard, r.Body, 20) }}}
	gone := badRequest("The body is empty, or other code of the server has read it before.")
	const first, password = "username=admin", "password=correct+horse+%2Bbattery%25staple"
	try := func(t *testing.T, h *abuseHost, want reply, path, body string, headers ...string) {
		t.Helper()
		logged := len(h.log.String())
		h.tries(t, want, "POST", path, body, headers...)
		if line := h.log.String()[logged:]; !strings.Contains(line, "read the body of a request before the endpoint could") {
			t.Errorf("the log line is %s, want a warning that the host read the body", line)
		}
	}
	t.Run("one application", func(t *testing.T) {
		behind(t, part, nil, func(t *testing.T, h *abuseHost, _ reader) {
			try(t, h, gone, "/Token", first+"&"+password+"&grant_type=password")
			try(t, h, gone, "/Token", password+"&"+first+"&grant_type=password")
			try(t, h, gone, "/Token", first+"&a=b&grant_type=password&"+password)
			try(t, h, gone, "/Token", "username=admin&password=x&grant_type=password", basic("reader", otherPassword)...)
			h.tries(t, issued, "POST", "/Token", strings.Repeat("x", 19)+"&"+goodGrant) // no parameter is missing
		})
	})
	t.Run("clients", func(t *testing.T) {
		behind(t, part, withClients, func(t *testing.T, h *abuseHost, _ reader) {
			try(t, h, invalidClient, "/Token", "client_id=web&state=1&"+goodGrant)
			try(t, h, invalidClient, "/revoke", "client_id=web&state=1&token=x")
		})
	})
}

// Middleware that decompresses a small body makes it shorter than its
// Content-Length, which the server keeps. The body is complete all the same.
func TestSignInWorksAfterHostDecompressedBody(t *testing.T) {
	decompress := []reader{{name: "gzip", read: func(r *http.Request) {
		if r.Header.Get("Content-Encoding") != "gzip" {
			return
		}
		r.Header.Del("Content-Encoding")
		r.Header.Del("Content-Length")
		r.Body, _ = gzip.NewReader(r.Body)
	}}}
	compressed := func(body string) string {
		var b bytes.Buffer
		w := gzip.NewWriter(&b)
		io.WriteString(w, body)
		w.Close()
		if b.Len() <= len(body) {
			t.Errorf("gzip compresses %q to %d bytes, want more than its length", body, b.Len())
		}
		return b.String()
	}
	behind(t, decompress, nil, func(t *testing.T, h *abuseHost, _ reader) {
		h.tries(t, issued, "POST", "/Token", compressed(goodGrant), "Content-Encoding", "gzip")
		h.tries(t, rejected, "POST", "/Token", compressed(grantOf+"admin&password=x"), "Content-Encoding", "gzip")
		if strings.Contains(h.log.String(), "read the body of a request") {
			t.Errorf("the log has a warning about a consumed body: %s", h.log)
		}
	})
}

// Without a Content-Length the service cannot know whether there was a body. It
// logs nothing, because any client can send such a request.
func TestAnswerNamesEmptyChunkedBody(t *testing.T) {
	behind(t, []reader{{name: "nobody", read: func(*http.Request) {}}}, nil, func(t *testing.T, h *abuseHost, _ reader) {
		before := h.moment()
		all := h.raw(t, "POST"+rawToken+"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n0\r\n\r\n")
		want := badRequest("The body is empty, or other code of the server has read it before.")
		want.closes = true
		want.check(t, one(t, readAnswers(t, all)))
		before.expect(t, unchanged, 0)
		before.expectSilence(t)
	})
}
