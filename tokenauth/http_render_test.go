package tokenauth_test

import (
	"cmp"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/textproto"
	"strings"
	"testing"
	"time"

	"github.com/bearerkit/bearerkit/storage/memory"
	"github.com/bearerkit/bearerkit/tokenauth"
)

// The client learns that it was refused, however little Options.RenderError
// writes.
func TestRefusalKeepsItsStatusWhateverIsRendered(t *testing.T) {
	t.Parallel()
	const standard = `{"Message":"Authorization has been denied for this request."}`
	for _, test := range []struct {
		name   string
		render func(http.ResponseWriter, *http.Request, *tokenauth.ErrorResponse)
		status int    // 0 if the connection ends without a response
		body   string // of the response
	}{
		{"nothing", func(http.ResponseWriter, *http.Request, *tokenauth.ErrorResponse) {}, 401, ""},
		{"only headers", func(w http.ResponseWriter, _ *http.Request, _ *tokenauth.ErrorResponse) { w.Header().Set("X-Own", "1") }, 401, ""},
		{"a body", func(w http.ResponseWriter, _ *http.Request, _ *tokenauth.ErrorResponse) { io.WriteString(w, "no") }, 401, "no"},
		{"an empty body", func(w http.ResponseWriter, _ *http.Request, _ *tokenauth.ErrorResponse) { w.Write(nil) }, 401, ""},
		{"a copied body", func(w http.ResponseWriter, _ *http.Request, _ *tokenauth.ErrorResponse) {
			io.Copy(w, strings.NewReader("no"))
		}, 401, "no"},
		{"early hints", func(w http.ResponseWriter, _ *http.Request, _ *tokenauth.ErrorResponse) { w.WriteHeader(103) }, 401, ""},
		{"early hints and a body", func(w http.ResponseWriter, _ *http.Request, _ *tokenauth.ErrorResponse) {
			w.WriteHeader(103)
			io.WriteString(w, "no")
		}, 401, "no"},
		{"a flush", func(w http.ResponseWriter, _ *http.Request, _ *tokenauth.ErrorResponse) { w.(http.Flusher).Flush() }, 401, ""},
		{"a flush by the controller", func(w http.ResponseWriter, _ *http.Request, _ *tokenauth.ErrorResponse) {
			if err := http.NewResponseController(w).Flush(); err != nil {
				t.Error(err)
			}
		}, 401, ""},
		{"a status of its own", func(w http.ResponseWriter, _ *http.Request, _ *tokenauth.ErrorResponse) { w.WriteHeader(404) }, 404, ""},
		{"the standard answer", func(w http.ResponseWriter, r *http.Request, e *tokenauth.ErrorResponse) { e.ServeHTTP(w, r) }, 401, standard},
		{"a panic", func(w http.ResponseWriter, _ *http.Request, _ *tokenauth.ErrorResponse) {
			w.Header().Set("Content-Encoding", "gzip")
			panic("a bug")
		}, 401, standard},
		{"a panic after early hints", func(w http.ResponseWriter, _ *http.Request, _ *tokenauth.ErrorResponse) {
			w.WriteHeader(103)
			panic("a bug")
		}, 401, standard},
		{"an abort after part of the body", func(w http.ResponseWriter, _ *http.Request, _ *tokenauth.ErrorResponse) {
			io.WriteString(w, "n")
			panic(http.ErrAbortHandler) // not logged by the server
		}, 0, ""},
		{"an abort", func(http.ResponseWriter, *http.Request, *tokenauth.ErrorResponse) { panic(http.ErrAbortHandler) }, 0, ""},
		{"a hijacked connection", func(w http.ResponseWriter, _ *http.Request, _ *tokenauth.ErrorResponse) {
			conn, _, err := w.(http.Hijacker).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			io.WriteString(conn, "HTTP/1.1 418 I'm a teapot\r\nContent-Length: 3\r\nConnection: close\r\n\r\ntea")
		}, 418, "tea"},
		{"a hijacked connection by the controller", func(w http.ResponseWriter, _ *http.Request, _ *tokenauth.ErrorResponse) {
			conn, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			io.WriteString(conn, "HTTP/1.1 418 I'm a teapot\r\nContent-Length: 3\r\nConnection: close\r\n\r\ntea")
		}, 418, "tea"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			logger, printed := logInto()
			auth := newService(t, new(memory.Store), new(staff), &tokenauth.Options{RenderError: test.render, Logger: logger})
			server := httptest.NewServer(auth.RequireBearer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the handler is called") })))
			defer server.Close()
			response, err := server.Client().Get(server.URL)
			if test.status == 0 {
				if err == nil {
					t.Errorf("answered %s, want no response", response.Status)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer response.Body.Close()
			body, err := io.ReadAll(response.Body)
			if response.StatusCode != test.status || string(body) != test.body || err != nil {
				t.Errorf("answered %s %q, error %v", response.Status, body, err)
			}
			if test.status == 401 && (response.Header.Get("WWW-Authenticate") != `Bearer realm="api"` || response.Header.Get("Cache-Control") != "no-store") {
				t.Errorf("the headers are %v", response.Header)
			}
			if logged := strings.Contains(printed.String(), "panic in Options.RenderError"); logged != strings.Contains(test.name, "panic") {
				t.Errorf("logged a panic, or did not log one: %s", printed)
			}
		})
	}
}

// ErrorResponse.Status is the status of the response. A guard answers with 400,
// 401, 403, 500 or 503.
func TestEveryRefusalKeepsItsStatus(t *testing.T) {
	t.Parallel()
	storage := new(scripted)
	auth := newService(t, storage, new(staff), &tokenauth.Options{
		RenderError: func(w http.ResponseWriter, _ *http.Request, e *tokenauth.ErrorResponse) { fmt.Fprint(w, e.Status) },
		LiveCheck: func(_ context.Context, t tokenauth.Token) error {
			if t.Principal.UserID == "bug" {
				panic("a bug")
			}
			return nil
		},
	})
	good := "Bearer " + issue(t, auth, alice(), "")
	bug := "Bearer " + issue(t, auth, tokenauth.Principal{UserID: "bug"}, "")
	for _, test := range []struct {
		guard         func(http.Handler) http.Handler
		authorization []string
		fails         bool
		want          int
	}{
		{auth.RequireBearer, []string{good, good}, false, 400},
		{auth.RequireBearer, nil, false, 401},
		{auth.RequireRole("Pope"), []string{good}, false, 403},
		{auth.RequireClient("web"), []string{good}, false, 403},
		{auth.RequireBearer, []string{bug}, false, 500},
		{auth.Optional, []string{good}, true, 503},
	} {
		storage.before = nil
		if test.fails {
			storage.before = func(context.Context, string) error { return io.ErrUnexpectedEOF }
		}
		r := httptest.NewRequest("GET", "/", nil)
		r.Header["Authorization"] = test.authorization
		w := httptest.NewRecorder()
		test.guard(http.NotFoundHandler()).ServeHTTP(w, r)
		if w.Code != test.want || w.Body.String() != fmt.Sprint(test.want) {
			t.Errorf("answered %d %s, want %d", w.Code, w.Body, test.want)
		}
	}
}

// A response with a status below 400 has none of the headers of an error: they
// would make clients and proxies ask for a password, or wait. With an error
// status they stay.
func TestErrorHeadersOnlyWithErrorStatus(t *testing.T) {
	t.Parallel()
	wrappers := map[string]func(http.Handler) http.Handler{
		"plain": func(h http.Handler) http.Handler { return h },
		"gzip": func(h http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Encoding", "gzip")
				compressed := gzip.NewWriter(w)
				defer compressed.Close()
				h.ServeHTTP(gzipWriter{w, compressed}, r)
			})
		},
		"buffer": func(h http.Handler) http.Handler { return http.TimeoutHandler(h, time.Minute, "") },
	}
	for _, test := range []struct {
		name   string
		render func(http.ResponseWriter, *http.Request, *tokenauth.ErrorResponse)
		status int // 0 means that of the error
	}{
		{"an envelope", func(w http.ResponseWriter, _ *http.Request, _ *tokenauth.ErrorResponse) {
			w.WriteHeader(200)
			io.WriteString(w, `{"code":7}`)
		}, 200},
		{"an envelope without a body", func(w http.ResponseWriter, _ *http.Request, _ *tokenauth.ErrorResponse) { w.WriteHeader(204) }, 204},
		{"a redirect", func(w http.ResponseWriter, r *http.Request, _ *tokenauth.ErrorResponse) {
			http.Redirect(w, r, "/login", http.StatusSeeOther)
		}, 303},
		{"the standard body with 200", func(w http.ResponseWriter, r *http.Request, e *tokenauth.ErrorResponse) {
			e.Status = 200
			e.ServeHTTP(w, r)
		}, 200},
		{"early hints and an envelope", func(w http.ResponseWriter, _ *http.Request, _ *tokenauth.ErrorResponse) {
			w.WriteHeader(103)
			w.WriteHeader(200)
		}, 200},
		{"early hints", func(w http.ResponseWriter, _ *http.Request, _ *tokenauth.ErrorResponse) { w.WriteHeader(103) }, 0},
		{"nothing", func(http.ResponseWriter, *http.Request, *tokenauth.ErrorResponse) {}, 0},
		{"a body without a status", func(w http.ResponseWriter, _ *http.Request, _ *tokenauth.ErrorResponse) { io.WriteString(w, "no") }, 0},
		{"a second status", func(w http.ResponseWriter, _ *http.Request, e *tokenauth.ErrorResponse) {
			w.WriteHeader(e.Status)
			w.WriteHeader(200)
		}, 0},
		{"another error", func(w http.ResponseWriter, _ *http.Request, _ *tokenauth.ErrorResponse) { w.WriteHeader(400) }, 400},
		{"switching protocols", func(w http.ResponseWriter, _ *http.Request, _ *tokenauth.ErrorResponse) { w.WriteHeader(101) }, 101},
	} {
		for wrapper, wrap := range wrappers {
			hints := strings.Contains(test.name, "hints")
			if hints && wrapper == "buffer" {
				continue // http.TimeoutHandler takes the 103 for the final status
			}
			t.Run(test.name+"/"+wrapper, func(t *testing.T) {
				t.Parallel()
				storage := new(scripted)
				auth := newService(t, storage, new(staff), &tokenauth.Options{RenderError: test.render})
				accessToken := issue(t, auth, alice(), "")
				storage.before = func(context.Context, string) error { return io.ErrUnexpectedEOF }
				server := httptest.NewUnstartedServer(wrap(auth.RequireBearer(http.NotFoundHandler())))
				server.Config.ErrorLog = log.New(io.Discard, "", 0) // it logs a second status
				server.Start()
				defer server.Close()
				for authorization, status := range map[string]int{"": 401, "Bearer " + accessToken: 503} {
					informational := 0
					r, err := http.NewRequestWithContext(httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{
						Got1xxResponse: func(status int, h textproto.MIMEHeader) error {
							informational++
							if h.Get("WWW-Authenticate") != "" || h.Get("Retry-After") != "" {
								t.Errorf("the response %d has the headers %v", status, h)
							}
							return nil
						},
					}), "GET", server.URL, nil)
					if err != nil {
						t.Fatal(err)
					}
					r.Header.Set("Authorization", authorization)
					response, err := server.Client().Transport.RoundTrip(r)
					if err != nil {
						t.Fatal(err)
					}
					response.Body.Close()
					want := cmp.Or(test.status, status)
					challenge, retry := response.Header.Get("WWW-Authenticate"), response.Header.Get("Retry-After")
					if response.StatusCode != want || (challenge != "") != (want >= 400 && status == 401) || (retry != "") != (want >= 400 && status == 503) {
						t.Errorf("a %d is answered %s with WWW-Authenticate %q and Retry-After %q, want %d", status, response.Status, challenge, retry, want)
					}
					if response.Header.Get("Cache-Control") != "no-store" || response.Header.Get("Vary") != "Authorization" {
						t.Errorf("the headers are %v, want Cache-Control: no-store and Vary: Authorization", response.Header)
					}
					if hints != (informational > 0) {
						t.Errorf("got %d informational responses", informational)
					}
				}
			})
		}
	}
}

// A gzipWriter compresses a response, as middleware of a host does.
type gzipWriter struct {
	http.ResponseWriter
	body io.Writer
}

func (w gzipWriter) Write(b []byte) (int, error) { return w.body.Write(b) }
