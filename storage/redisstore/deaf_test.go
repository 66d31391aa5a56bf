package redisstore_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/redis/rueidis"
)

// deaf returns the option with a proxy in front of the server that passes on
// answers, but drops push messages while the flag is set.
func deaf(o rueidis.ClientOption, drops *atomic.Bool) rueidis.ClientOption {
	dial := dialOf(o)
	o.DialCtxFn = func(ctx context.Context, address string, d *net.Dialer, c *tls.Config) (net.Conn, error) {
		conn, err := dial(ctx, address, d, c)
		if err != nil {
			return nil, err
		}
		return &deafConn{Conn: conn, reader: bufio.NewReader(conn), drops: drops}, nil
	}
	return o
}

// dialOf returns how a client with the option connects.
func dialOf(o rueidis.ClientOption) func(context.Context, string, *net.Dialer, *tls.Config) (net.Conn, error) {
	if o.DialCtxFn != nil {
		return o.DialCtxFn
	}
	return func(ctx context.Context, address string, d *net.Dialer, _ *tls.Config) (net.Conn, error) {
		return d.DialContext(ctx, "tcp", address)
	}
}

type deafConn struct {
	net.Conn
	reader *bufio.Reader
	rest   []byte // of a message that was read
	drops  *atomic.Bool
}

func (c *deafConn) Read(p []byte) (int, error) {
	for len(c.rest) == 0 {
		message, err := readMessage(c.reader)
		if err != nil {
			return 0, err
		}
		if message[0] != '>' || !c.drops.Load() {
			c.rest = message
		}
	}
	n := copy(p, c.rest)
	c.rest = c.rest[n:]
	return n, nil
}

// readMessage reads one message of RESP3, as it is.
func readMessage(r *bufio.Reader) ([]byte, error) {
	line, err := r.ReadBytes('\n')
	if err != nil {
		return nil, err
	}
	length, err := strconv.Atoi(strings.TrimSpace(string(line[1:])))
	switch line[0] {
	case '$', '=', '!': // bytes
		if err != nil || length < 0 {
			return line, err
		}
		for range length + 2 {
			b, err := r.ReadByte()
			if err != nil {
				return nil, err
			}
			line = append(line, b)
		}
	case '*', '>', '~', '%': // messages
		if err != nil {
			return nil, err
		}
		if line[0] == '%' {
			length *= 2
		}
		for range length {
			part, err := readMessage(r)
			if err != nil {
				return nil, err
			}
			line = append(line, part...)
		}
	case '+', '-', ':', '_', ',', '#', '(':
	default:
		return nil, fmt.Errorf("a message begins with %q", line)
	}
	return line, nil
}
