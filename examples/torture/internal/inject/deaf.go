package inject

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/redis/rueidis"
)

// A deaf is a proxy before a Redis server. While it is on, a connection that brings
// a push message becomes one that drops them all, for as long as it is open.
type deaf struct{ on atomic.Bool }

func (d *deaf) fault(name string) *Fault {
	turn := func(on bool) func(context.Context) error {
		return func(context.Context) error { d.on.Store(on); return nil }
	}
	return fromTo(name, turn(true), turn(false))
}

// dial returns how a client with the option connects through the proxy.
func (d *deaf) dial(o rueidis.ClientOption) func(context.Context, string, *net.Dialer, *tls.Config) (net.Conn, error) {
	dial := o.DialCtxFn
	if dial == nil {
		dial = func(ctx context.Context, address string, dialer *net.Dialer, _ *tls.Config) (net.Conn, error) {
			return dialer.DialContext(ctx, "tcp", address)
		}
	}
	return func(ctx context.Context, address string, dialer *net.Dialer, c *tls.Config) (net.Conn, error) {
		conn, err := dial(ctx, address, dialer, c)
		if err != nil {
			return nil, err
		}
		return &deafConn{Conn: conn, reader: bufio.NewReader(conn), proxy: d}, nil
	}
}

type deafConn struct {
	net.Conn
	reader *bufio.Reader
	rest   []byte // of a message that was read
	proxy  *deaf
	drops  bool
}

func (c *deafConn) Read(p []byte) (int, error) {
	for len(c.rest) == 0 {
		message, err := readMessage(c.reader)
		if err != nil {
			return 0, err
		}
		const push = '>'
		if message[0] != push {
			c.rest = message
			continue
		}
		if c.drops = c.drops || c.proxy.on.Load(); !c.drops {
			c.rest = message
		}
	}
	n := copy(p, c.rest)
	c.rest = c.rest[n:]
	return n, nil
}

// readMessage reads one message of RESP3, as it is.
func readMessage(r *bufio.Reader) ([]byte, error) {
	message, err := r.ReadBytes('\n')
	if err != nil {
		return nil, err
	}
	kind := message[0]
	length, err := strconv.Atoi(strings.TrimSpace(string(message[1:])))
	switch kind {
	case '$', '=', '!': // so many bytes
		if err != nil || length < 0 {
			return message, err
		}
		rest := make([]byte, length+len("\r\n"))
		_, err := io.ReadFull(r, rest)
		return append(message, rest...), err
	case '*', '>', '~', '%': // so many messages
		if err != nil {
			return nil, err
		}
		if kind == '%' {
			length *= 2
		}
		for range length {
			part, err := readMessage(r)
			if err != nil {
				return nil, err
			}
			message = append(message, part...)
		}
	case '+', '-', ':', '_', ',', '#', '(':
	default:
		return nil, fmt.Errorf("a message of RESP3 begins with %q", message)
	}
	return message, nil
}
