package network

import (
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
)

// A bridge is a TCP address that leads to where a server listens, be it a Unix
// socket, which toxiproxy cannot reach. Unlike toxiproxy it can forget
// connections.
type bridge struct {
	kind, to string
	listener net.Listener

	mu        sync.Mutex
	forgotten *atomic.Bool // of the connections made since the last forget
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

// Forget does what a firewall does that has lost its state. Connections stay open,
// and nothing passes through them any more. New ones work.
func (b *bridge) Forget() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.forgotten.Store(true)
	b.forgotten = new(atomic.Bool)
}

// Swallow does what a network does that drops all packets, and whose routers then
// forget the connections: nothing passes through those that there are, and those
// that are made before Pass. What connects notices nothing.
func (b *bridge) Swallow() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.forgotten.Store(true)
}

// Pass ends Swallow, for new connections.
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

// join passes on what comes from either end. When one closes, so does the
// other.
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

// A span loses what is written to it when it is forgotten.
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
