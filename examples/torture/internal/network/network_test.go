package network

import (
	"io"
	"net"
	"testing"
	"time"
)

// echo returns the address of a server that says what it is told.
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

// says reports whether something comes back within a moment.
func says(t *testing.T, conn net.Conn) bool {
	t.Helper()
	if _, err := conn.Write([]byte("x")); err != nil {
		return false
	}
	conn.SetReadDeadline(time.Now().Add(300 * time.Millisecond))
	_, err := io.ReadFull(conn, make([]byte, 1))
	return err == nil
}

func TestNetworkFailsAsTold(t *testing.T) {
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
	if !says(t, old) {
		t.Fatal("it does not pass anything on")
	}
	n.Forget()
	if says(t, old) {
		t.Error("a connection that is forgotten passes something on")
	}
	if fresh := dial(); !says(t, fresh) {
		t.Error("after that a new one does not")
	}
	n.Swallow()
	during := dial()
	if says(t, old) || says(t, during) {
		t.Error("a network that swallows passes something on")
	}
	n.Pass()
	if says(t, during) {
		t.Error("after that a connection made meanwhile passes something on")
	}
	if fresh := dial(); !says(t, fresh) {
		t.Error("after that a new one does not")
	}
	if err := n.Add(Toxic{Type: "timeout", Stream: "upstream", Attributes: map[string]int{"timeout": 0}}); err != nil {
		t.Fatal(err)
	}
	if says(t, dial()) {
		t.Error("a network that swallows passes something on")
	}
	n.Clear()
	if !says(t, dial()) {
		t.Error("after that it still swallows")
	}
	n.Down()
	if conn, err := net.Dial("tcp", n.Entrance()); err == nil {
		conn.Close()
		t.Error("a network that is down connects")
	}
	if err := n.Up(); err != nil {
		t.Fatal(err)
	}
	if !says(t, dial()) {
		t.Error("after that it still is")
	}
}
