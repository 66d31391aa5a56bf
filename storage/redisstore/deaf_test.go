package redisstore_test

import (
	"context"
	"crypto/tls"
	"net"
	"sync/atomic"

	"github.com/redis/rueidis"

	"github.com/bearerkit/bearerkit/internal/throwaway"
)

// deaf returns the option with a proxy in front of the server. The proxy passes
// on answers, but drops push messages while the flag is set.
func deaf(o rueidis.ClientOption, drops *atomic.Bool) rueidis.ClientOption {
	dial := dialOf(o)
	o.DialCtxFn = func(ctx context.Context, address string, d *net.Dialer, c *tls.Config) (net.Conn, error) {
		conn, err := dial(ctx, address, d, c)
		if err != nil {
			return nil, err
		}
		return throwaway.FilterPushes(conn, drops.Load), nil
	}
	return o
}

// dialOf returns the function with which a client with the option connects.
func dialOf(o rueidis.ClientOption) func(context.Context, string, *net.Dialer, *tls.Config) (net.Conn, error) {
	if o.DialCtxFn != nil {
		return o.DialCtxFn
	}
	return func(ctx context.Context, address string, d *net.Dialer, _ *tls.Config) (net.Conn, error) {
		return d.DialContext(ctx, "tcp", address)
	}
}
