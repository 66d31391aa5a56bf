package network

import (
	"io"
	"net"
	"testing"
	"time"
)

// echo returns the address of a server that sends back what it receives.
func echo(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go io.Copy(conn, conn)
		}
	}()
	return l.Addr().String()
}

// echoes reports whether a byte comes back over the connection within 300 ms.
func echoes(t *testing.T, conn net.Conn) bool {
	t.Helper()
	if _, err := conn.Write([]byte("x")); err != nil {
		return false
	}
	conn.SetReadDeadline(time.Now().Add(300 * time.Millisecond))
	_, err := io.ReadFull(conn, make([]byte, 1))
	return err == nil
}

func TestNetworkFaults(t *testing.T) {
	t.Parallel()
	n := New(t, "tcp", echo(t))
	dial := func() net.Conn {
		t.Helper()
		conn, err := net.Dial("tcp", n.Entrance())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		return conn
	}
	old := dial()
	if !echoes(t, old) {
		t.Fatal("a new network passes no data")
	}
	n.Forget()
	if echoes(t, old) {
		t.Error("after Forget, an old connection passes data")
	}
	if fresh := dial(); !echoes(t, fresh) {
		t.Error("after Forget, a new connection passes no data")
	}
	n.Swallow()
	during := dial()
	if echoes(t, old) || echoes(t, during) {
		t.Error("after Swallow, a connection passes data")
	}
	n.Pass()
	if echoes(t, during) {
		t.Error("after Pass, a connection made before it passes data")
	}
	if fresh := dial(); !echoes(t, fresh) {
		t.Error("after Pass, a new connection passes no data")
	}
	if err := n.Add(Toxic{Type: "timeout", Stream: "upstream", Attributes: map[string]int{"timeout": 0}}); err != nil {
		t.Fatal(err)
	}
	if echoes(t, dial()) {
		t.Error("with a timeout toxic, a connection passes data")
	}
	n.Clear()
	if !echoes(t, dial()) {
		t.Error("after Clear, a new connection passes no data")
	}
	n.Down()
	if conn, err := net.Dial("tcp", n.Entrance()); err == nil {
		conn.Close()
		t.Error("after Down, the network accepts a connection")
	}
	if err := n.Up(); err != nil {
		t.Fatal(err)
	}
	if !echoes(t, dial()) {
		t.Error("after Up, a new connection passes no data")
	}
}
