package main

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

// The streams of a device end when another device ends it at another process. The
// streams of the other device go on.
func TestStreamsEndWithTheirDevice(t *testing.T) {
	onEach(t, append(databases, "redis", "mysql", "memory"), func(t *testing.T, storeURL string) {
		one := startSite(t, config{store: storeURL, cache: storeURL == "memory:"})
		two := one
		if storeURL != "memory:" {
			two = startSite(t, config{store: storeURL})
		}
		phone := one.client(t).signIn("username", "phone")
		laptop := two.client(t).signInWithCookie("username", "laptop")
		open := []<-chan string{laptop.events(), laptop.at(one).socket()}
		events := []<-chan string{phone.events(), phone.at(two).events()}
		sockets := []<-chan string{phone.socket(), phone.at(two).socket()}

		laptop.want(204, "DELETE", "/api/devices/"+laptop.devices()["The phone"].ID, nil)
		for i := range events {
			wantEnd(t, events[i], `end {"reason":"ended"}`)
			wantEnd(t, sockets[i], "4401")
		}
		for _, stream := range open {
			wantOpen(t, stream)
		}
		phone.want(401, "GET", "/events", nil)

		laptop.want(204, "DELETE", "/session", nil)
		wantEnd(t, open[0], `end {"reason":"ended"}`)
		wantEnd(t, open[1], "4401")
	})
}

// A user is disabled, at another process.
func TestStreamsEndWithTheirUser(t *testing.T) {
	onEach(t, append(databases, "mysql"), func(t *testing.T, storeURL string) {
		phone := startSite(t, config{store: storeURL}).client(t).signIn("username", "phone")
		events, socket := phone.events(), phone.socket()
		if err := startSite(t, config{store: storeURL}).store.table.SetDisabled(t.Context(), "user-1", true); err != nil {
			t.Fatal(err)
		}
		wantEnd(t, events, `end {"reason":"ended"}`)
		wantEnd(t, socket, "4401")
		phone.want(400, "POST", "/Token", credentials("username", trialPassword, "phone"))
	})
}

func TestStreamEndsWithAnotherSignIn(t *testing.T) {
	t.Parallel()
	s := startSite(t, config{store: "memory:"})
	events := s.client(t).signIn("username", "phone").events()
	s.client(t).signIn("username", "phone")
	wantEnd(t, events, `end {"reason":"replaced"}`)
}

// upgrade has the headers of a WebSocket handshake.
const upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"

// The deadline of a stream that ended does not reach the next request on its
// connection.
func TestConnectionOutlivesItsStream(t *testing.T) {
	t.Parallel()
	s := startSite(t, config{store: "memory:"})
	phone := s.client(t).signIn("username", "phone")
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	in := bufio.NewReader(conn)
	for _, path := range []string{"/events", "/api/me"} {
		if err := phone.request("GET", path, nil).Write(conn); err != nil {
			t.Fatal(err)
		}
		response, err := http.ReadResponse(in, nil)
		if err != nil {
			t.Fatal(path, err)
		}
		if path == "/events" {
			s.client(t).signIn("username", "phone")
		}
		body, err := io.ReadAll(response.Body)
		if err != nil || path == "/events" && !strings.Contains(string(body), "replaced") || path == "/api/me" && response.StatusCode != http.StatusUnauthorized {
			t.Errorf("%s: got %d %s, %v", path, response.StatusCode, body, err)
		}
		if path == "/events" {
			time.Sleep(1100 * time.Millisecond) // until the deadline has passed
		}
	}
}

// pipes is a listener whose connections have no buffer: a write blocks until the
// client reads.
type pipes chan net.Conn

func (p pipes) Accept() (net.Conn, error) {
	conn, ok := <-p
	if !ok {
		return nil, net.ErrClosed
	}
	return conn, nil
}
func (p pipes) Close() error   { return nil }
func (p pipes) Addr() net.Addr { return &net.TCPAddr{} }

// The handler of a client that does not read returns when the token ends.
func TestBlockedStreamEnds(t *testing.T) {
	t.Parallel()
	s := startSite(t, config{store: "memory:"})
	for path, upgrade := range map[string]string{"/events": "", "/ws": upgrade} {
		t.Run(path, func(t *testing.T) {
			t.Parallel()
			phone := s.client(t).signIn("username", "the phone of "+path)
			client, server := net.Pipe()
			returned := s.serveBlocked(t, client, server, "GET "+path+" HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer "+phone.token+"\r\n"+upgrade+"\r\n")
			phone.want(204, "DELETE", "/session", nil)
			expectReturned(t, returned)
		})
	}
	t.Run("during the handshake", func(t *testing.T) {
		t.Parallel()
		phone := s.client(t).signIn("username", "another phone")
		client, server := net.Pipe()
		hijacked := &handshaking{Conn: server, deadline: make(chan struct{}), end: func() { phone.want(204, "DELETE", "/session", nil) }}
		returned := s.serveBlocked(t, client, hijacked, "GET /ws HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer "+phone.token+"\r\n"+upgrade+"\r\n")
		expectReturned(t, returned)
	})
}

// serveBlocked sends a request to the site over the pipe, and reads the answer's header
// and nothing more. The result is closed when the handler has returned.
func (s *site) serveBlocked(t *testing.T, client, server net.Conn, request string) (returned chan struct{}) {
	t.Helper()
	returned = make(chan struct{})
	routes := s.service.routes()
	listener := make(pipes, 1)
	serving := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer close(returned)
		routes.ServeHTTP(w, r)
	})}
	go serving.Serve(listener)
	t.Cleanup(func() { close(listener); client.Close(); serving.Close() })
	listener <- server
	io.WriteString(client, request)
	if _, err := http.ReadResponse(bufio.NewReader(client), nil); err != nil { // the next write blocks
		t.Fatal(err)
	}
	return returned
}

func expectReturned(t *testing.T, returned chan struct{}) {
	t.Helper()
	select {
	case <-returned:
	case <-time.After(wait):
		t.Error("the handler did not return")
	}
}

// A handshaking connection ends the token when the server hands the connection to the
// handler, which removes the connection's deadlines.
type handshaking struct {
	net.Conn
	end      func()
	set      sync.Once
	deadline chan struct{} // closed when there is a deadline for writing
}

func (h *handshaking) SetDeadline(t time.Time) error {
	h.end()
	select {
	case <-h.deadline:
	case <-time.After(wait):
	}
	return h.Conn.SetDeadline(t)
}

func (h *handshaking) SetWriteDeadline(t time.Time) error {
	defer h.set.Do(func() { close(h.deadline) })
	return h.Conn.SetWriteDeadline(t)
}

// A shutdown ends streams, so it does not wait for them. Their clients learn that
// they can connect again.
func TestShutdownEndsStreams(t *testing.T) {
	t.Parallel()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	out, in := io.Pipe()
	result := make(chan error, 1)
	go func() {
		err := run(ctx, config{addr: "127.0.0.1:0", store: "sqlite:" + filepath.Join(t.TempDir(), "consumer.db"), cache: false}, in)
		in.Close()
		result <- err
	}()
	lines := bufio.NewReader(out)
	line, err := lines.ReadString('\n')
	if err != nil {
		t.Fatal(err, <-result)
	}
	go io.Copy(io.Discard, lines)
	s := &site{url: regexp.MustCompile(`http://\S+`).FindString(line)}
	phone := s.client(t).signIn("username", "phone")
	events, socket := phone.events(), phone.socket()
	silent, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	io.WriteString(silent, "GET /ws HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer "+phone.token+"\r\n"+upgrade+"\r\n")
	if response, err := http.ReadResponse(bufio.NewReader(silent), nil); err != nil || response.StatusCode != http.StatusSwitchingProtocols {
		t.Fatal(response, err)
	}
	stop()
	wantEnd(t, events, `end {"reason":"restart"}`)
	wantEnd(t, socket, "1013")
	if err := <-result; err != nil {
		t.Error(err)
	}
	// A client that does not answer the close is waited for, up to 5 seconds. So the
	// process does not end before each client got its status.
	err = os.ErrDeadlineExceeded
	for i := 0; errors.Is(err, os.ErrDeadlineExceeded) && i < 20; i++ {
		silent.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
		_, err = io.Copy(io.Discard, silent)
	}
	if err != nil {
		t.Errorf("after run returned, a WebSocket was still open: %v", err)
	}
}
