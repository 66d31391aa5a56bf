package tokenauth_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bearerkit/bearerkit/storage/memory"
	"github.com/bearerkit/bearerkit/tokenauth"
)

// serveStream serves a handler behind two guards for streams, over HTTP/1.1 or
// HTTP/2. It returns the server and a request with an access token of alice.
func serveStream(t *testing.T, http2 bool, handler http.HandlerFunc) (*tokenauth.Service, *httptest.Server, *http.Request) {
	t.Helper()
	logger, _ := logInto()
	auth := newService(t, new(memory.Store), new(staff), &tokenauth.Options{Logger: logger})
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { auth.Run(ctx) })
	waitForRun(t, auth)
	guard := tokenauth.Requirement{Stream: true}.Guard(auth)
	server := httptest.NewUnstartedServer(guard(guard(handler)))
	server.EnableHTTP2 = http2
	if http2 {
		server.StartTLS()
	} else {
		server.Start()
	}
	t.Cleanup(func() {
		stop()
		server.Close()
		running.Wait()
	})
	r, err := http.NewRequestWithContext(t.Context(), "GET", server.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+issue(t, auth, alice(), ""))
	return auth, server, r
}

// returns waits until the handler has returned.
func returns(t *testing.T, cause <-chan error) {
	t.Helper()
	select {
	case err := <-cause:
		if !errors.Is(err, tokenauth.ErrInvalidToken) {
			t.Errorf("the context of the request ended with %v", err)
		}
	case <-time.After(time.Minute):
		t.Fatal("the handler did not return")
	}
}

// Behind the guards, a handler can flush, and set a deadline that ends a write to a
// client that reads nothing.
func TestGuardsOfStreamsPassTheResponseWriter(t *testing.T) {
	t.Parallel()
	for name, http2 := range map[string]bool{"HTTP/1.1": false, "HTTP/2.0": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cause, blocked := make(chan error, 1), make(chan struct{})
			auth, server, r := serveStream(t, http2, func(w http.ResponseWriter, r *http.Request) {
				ctx, out, set := r.Context(), http.NewResponseController(w), make(chan struct{})
				context.AfterFunc(ctx, func() {
					defer close(set)
					if err := out.SetWriteDeadline(time.Now()); err != nil {
						t.Error(err)
					}
				})
				defer func() { <-set; cause <- context.Cause(ctx) }()
				io.WriteString(w, "hello\n")
				if err := out.Flush(); err != nil || r.Proto != name {
					t.Errorf("flushed over %s: %v", r.Proto, err)
				}
				close(blocked)
				for {
					if _, err := w.Write(make([]byte, 1<<20)); err != nil {
						return
					}
				}
			})
			response, err := server.Client().Do(r)
			if err != nil {
				t.Fatal(err)
			}
			defer response.Body.Close()
			if line, err := bufio.NewReaderSize(response.Body, 16).ReadString('\n'); line != "hello\n" {
				t.Errorf("the client read %q, %v", line, err)
			}
			<-blocked
			if err := auth.RevokeUser(t.Context(), "17"); err != nil {
				t.Fatal(err)
			}
			returns(t, cause)
		})
	}
}

// A handler that takes over the connection keeps the context until it returns.
func TestGuardsOfStreamsPassTheHijacker(t *testing.T) {
	t.Parallel()
	cause := make(chan error, 1)
	auth, server, r := serveStream(t, false, func(w http.ResponseWriter, r *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n")
		<-r.Context().Done()
		cause <- context.Cause(r.Context())
		io.WriteString(conn, "bye")
	})
	conn, err := net.Dial("tcp", strings.TrimPrefix(server.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	r.Header.Set("Connection", "Upgrade")
	r.Header.Set("Upgrade", "x")
	if err := r.Write(conn); err != nil {
		t.Fatal(err)
	}
	in := bufio.NewReader(conn)
	response, err := http.ReadResponse(in, r)
	if err != nil || response.StatusCode != http.StatusSwitchingProtocols {
		t.Fatal(response, err)
	}
	if err := auth.RevokeUser(t.Context(), "17"); err != nil {
		t.Fatal(err)
	}
	returns(t, cause)
	if rest, err := io.ReadAll(in); string(rest) != "bye" || err != nil {
		t.Errorf("the client read %q, %v", rest, err)
	}
}
