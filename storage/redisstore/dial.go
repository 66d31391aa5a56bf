package redisstore

import (
	"context"
	"crypto/tls"
	"net"

	"github.com/redis/rueidis"
)

// A dial is a function that connects to a server, like
// [rueidis.ClientOption.DialCtxFn].
type dial = func(context.Context, string, *net.Dialer, *tls.Config) (net.Conn, error)

// dialer returns a function that connects in the same way as a client with
// option o.
func dialer(o *rueidis.ClientOption) dial {
	if o.DialCtxFn != nil {
		return o.DialCtxFn
	}
	if old := o.DialFn; old != nil {
		return func(_ context.Context, address string, d *net.Dialer, t *tls.Config) (net.Conn, error) {
			return old(address, d, t)
		}
	}
	return func(ctx context.Context, address string, d *net.Dialer, t *tls.Config) (net.Conn, error) {
		if t != nil {
			return (&tls.Dialer{NetDialer: d, Config: t}).DialContext(ctx, "tcp", address)
		}
		return d.DialContext(ctx, "tcp", address)
	}
}

// closing returns a function that connects by calling do, as long as ctx has
// not ended. When ctx ends, all connections that the returned function has
// opened are closed.
func closing(ctx context.Context, do dial) dial {
	return func(dialing context.Context, address string, d *net.Dialer, t *tls.Config) (net.Conn, error) {
		dialing, cancel := context.WithCancel(dialing)
		defer cancel()
		defer context.AfterFunc(ctx, cancel)()
		conn, err := do(dialing, address, d, t)
		if err != nil {
			return nil, err
		}
		stop := context.AfterFunc(ctx, func() { conn.Close() })
		return &closingConn{conn, stop}, nil
	}
}

// A closingConn calls its function stop when it is closed, so that the context
// does not keep a reference to a closed connection.
type closingConn struct {
	net.Conn
	stop func() bool
}

func (c *closingConn) Close() error {
	c.stop()
	return c.Conn.Close()
}
