package abuse_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/bearerkit/bearerkit/internal/trial"
)

// trickle sends head, and then piece every 10 ms, until the server closes the
// connection. It returns the answer and the time until the server closed.
func (h *abuseHost) trickle(t *testing.T, head, piece string) (all string, took time.Duration) {
	t.Helper()
	conn := h.dial(t)
	began := time.Now()
	io.WriteString(conn, head)
	go func() {
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for range tick.C {
			if _, err := io.WriteString(conn, piece); err != nil {
				return
			}
		}
	}()
	b, _ := io.ReadAll(conn)
	return string(b), time.Since(began)
}

// serving returns a setup whose http.Server is configured by the func.
func serving(configure func(*http.Server), bodyTimeout time.Duration) func(*setup) {
	return func(s *setup) {
		s.BodyTimeout = bodyTimeout
		s.serve = func(server *httptest.Server) {
			configure(server.Config)
			server.Start()
		}
	}
}

// Options.BodyTimeout can shorten http.Server.ReadTimeout and never extends it.
// A refusal that leaves the body unread does not extend it either.
func TestBodyTimeoutNeverExtendsReadTimeout(t *testing.T) {
	t.Parallel()
	const short, long = 300 * time.Millisecond, 20 * time.Second
	for name, with := range map[string]func(*setup){
		"ReadTimeout":  serving(func(s *http.Server) { s.ReadTimeout = short }, long),
		"BodyTimeout":  serving(func(s *http.Server) { s.ReadTimeout = long }, short),
		"both":         serving(func(s *http.Server) { s.ReadTimeout = short }, short),
		"no other one": serving(func(*http.Server) {}, short),
	} {
		t.Run(name, onEngines(func(t *testing.T, on engine) {
			h := newAbuseHost(t, on, with)
			all, took := h.trickle(t, "POST"+rawToken+"Content-Length: 5000\r\n\r\n", "a")
			tooSlow.check(t, one(t, readAnswers(t, all)))
			if took < short*9/10 || took > long/2 {
				t.Errorf("the server closed the connection after %v, want %v", took, short)
			}
			if name == "BodyTimeout" {
				return // the server's ReadTimeout applies to the rest of the body
			}
			all, took = h.trickle(t, "PUT"+rawToken+"Content-Length: 5000\r\n\r\n", "a")
			wrongMethod.check(t, one(t, readAnswers(t, all)))
			if took > long/2 {
				t.Errorf("after a refusal, the server closed the connection after %v, want about %v", took, short)
			}
		}))
	}
}

// BodyTimeout does not extend ReadTimeout if a slow header has used most of it.
func TestBodyTimeoutKeepsReadTimeoutAfterSlowHeader(t *testing.T) {
	t.Parallel()
	onEngines(func(t *testing.T, on engine) {
		const limit = 2 * time.Second
		trial.Run(t, func(t *trial.T) {
			h := newAbuseHost(t.T, on, serving(func(s *http.Server) { s.ReadTimeout = limit }, limit*9/10))
			conn := h.dial(t.T)
			began := time.Now()
			io.WriteString(conn, "POST"+rawToken)
			time.Sleep(limit * 7 / 10) // a slow header
			if time.Since(began) > limit*9/10 {
				t.Late(errors.New("the header is not complete before the server closes the connection"))
			}
			io.WriteString(conn, "Content-Length: 5000\r\n\r\n")
			a := nextAnswer(t.T, bufio.NewReader(conn))
			took := time.Since(began)
			tooSlow.check(t.T, a)
			if took < limit*9/10 {
				t.Errorf("answered after %v, want about %v", took, limit)
			}
			if took > limit*14/10 {
				t.Late(fmt.Errorf("answered after %v, want about %v", took, limit))
			}
		})
	})(t)
}

// The deadline of the body ends with the body. A sign-in may take longer, and
// the connection can be used again.
func TestBodyDeadlineEndsWithBody(t *testing.T) {
	t.Parallel()
	onEngines(func(t *testing.T, on engine) {
		const limit = 1500 * time.Millisecond
		h := newAbuseHost(t, on, serving(func(s *http.Server) { s.ReadTimeout, s.IdleTimeout = limit, time.Minute }, limit))
		h.storage.meet(func(_ context.Context, call string) error {
			if call == "Replace" {
				time.Sleep(limit * 5 / 4)
			}
			return nil
		})
		conn := h.dial(t)
		reader := bufio.NewReader(conn)
		for range 2 {
			fmt.Fprintf(conn, "POST%sContent-Length: %d\r\n\r\n%s", rawToken, len(goodGrant), goodGrant)
			issued.check(t, nextAnswer(t, reader))
			time.Sleep(limit * 5 / 4) // between two requests only IdleTimeout applies
		}
	})(t)
}

// A body over the limit of http.MaxBytesHandler gets 413, with or without a
// Content-Length, even if the host's code reads it first.
func TestBodyOverMaxBytesHandlerGets413(t *testing.T) {
	const limit = 40
	limited := func(read func(*http.Request)) []engine {
		return []engine{{"net-http", func(h *abuseHost, who http.HandlerFunc) http.Handler {
			mounted := abuseHTTP(h, who)
			return http.MaxBytesHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				read(r)
				mounted.ServeHTTP(w, r)
			}), limit)
		}}, {"gin", func(h *abuseHost, who http.HandlerFunc) http.Handler {
			mounted := abuseGin()(h, who)
			return http.MaxBytesHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				read(r)
				mounted.ServeHTTP(w, r)
			}), limit)
		}}}
	}
	t.Parallel()
	want := early(413, "The body is larger than the server accepts.")
	for name, read := range map[string]func(*http.Request){
		"unread": func(*http.Request) {}, "ParseForm": func(r *http.Request) { r.ParseForm() },
	} {
		for _, on := range limited(read) {
			t.Run(name+"/"+on.name, func(t *testing.T) {
				t.Parallel()
				h := newAbuseHost(t, on, nil)
				h.tries(t, want, "POST", "/Token", goodGrant, "Content-Type", urlencodedLabel)
				h.tries(t, want, "GET", "/Token", goodGrant)
				want.check(t, h.do(t, "POST", "/revoke", "token="+h.token, "Content-Type", urlencodedLabel))
				before := h.moment()
				chunked := fmt.Sprintf("POST%sTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", rawToken, len(goodGrant), goodGrant)
				want.check(t, one(t, h.answers(t, chunked)))
				before.expect(t, unchanged, 0)
				h.tries(t, tooLarge, "POST", "/Token", strings.Repeat("x", 8193))
			})
		}
	}
}
