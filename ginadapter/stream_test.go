package ginadapter_test

import (
	"bufio"
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/gin-gonic/gin"

	"github.com/bearerkit/bearerkit/ginadapter"
	"github.com/bearerkit/bearerkit/storage/memory"
	"github.com/bearerkit/bearerkit/tokenauth"
)

// newStreaming returns a Service whose Run is running, and an access token.
func newStreaming(t *testing.T) (auth *tokenauth.Service, accessToken string) {
	t.Helper()
	auth, err := tokenauth.New(new(memory.Store), rejectAll{}, &tokenauth.Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	ctx, stop := context.WithCancel(context.Background())
	go func() { defer close(done); auth.Run(ctx) }()
	t.Cleanup(func() { stop(); <-done })
	issued, err := auth.Issue(t.Context(), tokenauth.Principal{UserID: "17", UserName: "alice", Roles: []string{"Reader"}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return auth, issued.AccessToken.Reveal()
}

// open sends a request until the answer is not 503, which it is until Run runs.
func open(t *testing.T, url, accessToken string) *http.Response {
	t.Helper()
	for range 1000 {
		r, err := http.NewRequestWithContext(t.Context(), "GET", url, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+accessToken)
		response, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		if response.StatusCode != http.StatusServiceUnavailable {
			t.Cleanup(func() { response.Body.Close() })
			return response
		}
		response.Body.Close()
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal("the answer is always 503")
	return nil
}

func serve(t *testing.T, h http.Handler) string {
	t.Helper()
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	return server.URL
}

func TestEventStreamEndsWithItsToken(t *testing.T) {
	t.Parallel()
	auth, accessToken := newStreaming(t)
	ended := make(chan error, 1)
	r := gin.New()
	// Another guard may be in front of it.
	r.GET("/events", ginadapter.RequireBearer(auth), ginadapter.Guard(auth, tokenauth.Requirement{Roles: []string{"Reader"}, Stream: true}), func(c *gin.Context) {
		token, _ := ginadapter.From(c)
		c.SSEvent("hello", token.Principal.UserName)
		c.Writer.Flush()
		<-c.Request.Context().Done()
		ended <- context.Cause(c.Request.Context())
		c.SSEvent("signed-out", "")
	})
	r.GET("/admin", ginadapter.Guard(auth, tokenauth.Requirement{Roles: []string{"Administrator"}, Stream: true}), func(c *gin.Context) {})
	url := serve(t, r)
	if got := open(t, url+"/admin", accessToken).StatusCode; got != http.StatusForbidden {
		t.Errorf("without the role: answered %d", got)
	}
	response := open(t, url+"/events", accessToken)
	lines := bufio.NewScanner(response.Body)
	for lines.Scan() && !strings.Contains(lines.Text(), "alice") {
	}
	if err := auth.RevokeUser(t.Context(), "17"); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; !errors.Is(err, tokenauth.ErrInvalidToken) {
		t.Errorf("the context ended with %v", err)
	}
	last := ""
	for lines.Scan() {
		last += lines.Text()
	}
	if !strings.Contains(last, "signed-out") || lines.Err() != nil {
		t.Errorf("the client read %q, error %v", last, lines.Err())
	}
}

// A handler that is blocked in a write to a client that reads nothing ends, too.
func TestBlockedEventStreamEnds(t *testing.T) {
	t.Parallel()
	auth, accessToken := newStreaming(t)
	var writes atomic.Int64
	ended := make(chan struct{})
	r := gin.New()
	r.GET("/ready", ginadapter.Guard(auth, tokenauth.Requirement{Stream: true}), func(c *gin.Context) {})
	r.GET("/events", ginadapter.Guard(auth, tokenauth.Requirement{Stream: true}), func(c *gin.Context) {
		defer close(ended)
		ctx := c.Request.Context()
		unblocked := make(chan struct{})
		stop := context.AfterFunc(ctx, func() {
			defer close(unblocked)
			http.NewResponseController(c.Writer).SetWriteDeadline(time.Now())
		})
		defer func() {
			if !stop() {
				<-unblocked
			}
		}()
		for ctx.Err() == nil {
			if _, err := c.Writer.Write(make([]byte, 1<<20)); err != nil {
				return
			}
			c.Writer.Flush()
			writes.Add(1)
		}
	})
	url := serve(t, r)
	open(t, url+"/ready", accessToken)
	client, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if _, err := client.Write([]byte("GET /events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + accessToken + "\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	for last := int64(-1); last <= 0 || last != writes.Load(); time.Sleep(300 * time.Millisecond) { // until it is blocked
		last = writes.Load()
	}
	if err := auth.RevokeUser(t.Context(), "17"); err != nil {
		t.Fatal(err)
	}
	select {
	case <-ended:
	case <-time.After(30 * time.Second):
		t.Error("the handler is still blocked")
	}
}

func TestWebSocketEndsWithItsToken(t *testing.T) {
	t.Parallel()
	auth, accessToken := newStreaming(t)
	r := gin.New()
	r.GET("/ready", ginadapter.Guard(auth, tokenauth.Requirement{Stream: true}), func(c *gin.Context) {})
	r.GET("/ws", ginadapter.Guard(auth, tokenauth.Requirement{Stream: true}), func(c *gin.Context) {
		conn, err := websocket.Accept(c.Writer, c.Request, nil)
		if err != nil {
			return
		}
		defer conn.CloseNow()
		<-c.Request.Context().Done()
		if errors.Is(context.Cause(c.Request.Context()), tokenauth.ErrInvalidToken) {
			conn.Close(4401, "sign in again")
		}
	})
	url := serve(t, r)
	open(t, url+"/ready", accessToken)
	conn, _, err := websocket.Dial(t.Context(), url+"/ws", &websocket.DialOptions{HTTPHeader: http.Header{"Authorization": {"Bearer " + accessToken}}})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.CloseNow()
	if err := auth.RevokeUser(t.Context(), "17"); err != nil {
		t.Fatal(err)
	}
	_, _, err = conn.Read(t.Context())
	if got := websocket.CloseStatus(err); got != 4401 {
		t.Errorf("the WebSocket ended with %d (%v)", got, err)
	}
}
