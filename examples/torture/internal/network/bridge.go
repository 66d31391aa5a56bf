package network

import (
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
)

// A bridge forwards connections from a TCP address to a server. Unlike toxiproxy, it
// can connect to a Unix socket, and it can silently drop connections.
type bridge struct {
	kind, to string
	listener net.Listener

	mu        sync.Mutex
	forgotten *atomic.Bool // set when the newest connections are dropped
}

func newBridge(tb testing.TB, kind, to string) *bridge {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { l.Close() })
	b := &bridge{kind: kind, to: to, listener: l, forgotten: new(atomic.Bool)}
	go b.serve()
	return b
}

func (b *bridge) address() string { return b.listener.Addr().String() }

// Forget acts like a firewall that lost its state. Existing connections stay open but
// pass no data any more. New connections work.
func (b *bridge) Forget() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.forgotten.Store(true)
	b.forgotten = new(atomic.Bool)
}

// Swallow acts like a network that drops all packets. Existing connections, and those
// made before Pass, stay open but never pass data again. The client gets no error.
func (b *bridge) Swallow() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.forgotten.Store(true)
}

// Pass ends Swallow for new connections.
func (b *bridge) Pass() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.forgotten = new(atomic.Bool)
}

func (b *bridge) serve() {
	for {
		near, err := b.listener.Accept()
		if err != nil {
			return
		}
		b.mu.Lock()
		forgotten := b.forgotten
		b.mu.Unlock()
		go b.join(near, forgotten)
	}
}

// join forwards data in both directions. If one side closes, it closes the other.
func (b *bridge) join(near net.Conn, forgotten *atomic.Bool) {
	defer near.Close()
	far, err := net.Dial(b.kind, b.to)
	if err != nil {
		return
	}
	defer far.Close()
	go func() {
		defer near.Close()
		defer far.Close()
		io.Copy(span{far, forgotten}, near)
	}()
	io.Copy(span{near, forgotten}, far)
}

// A span is a writer that drops all data once forgotten is set.
type span struct {
	io.Writer
	forgotten *atomic.Bool
}

func (s span) Write(b []byte) (int, error) {
	if s.forgotten.Load() {
		return len(b), nil
	}
	return s.Writer.Write(b)
}
