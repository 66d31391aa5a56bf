package inject

import (
	"context"
	"crypto/tls"
	"net"
	"sync/atomic"

	"github.com/redis/rueidis"

	"github.com/bearerkit/bearerkit/internal/throwaway"
)

// A deaf is a proxy before a Redis server that can drop push messages. If a push
// message arrives on a connection while on is set, the connection drops it and all
// later ones, until it is closed.
type deaf struct{ on atomic.Bool }

func (d *deaf) fault(name string) *Fault {
	turn := func(on bool) func(context.Context) error {
		return func(context.Context) error { d.on.Store(on); return nil }
	}
	return fromTo(name, turn(true), turn(false))
}

// dial returns the dial function of a client with the option, through the proxy.
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
		drops := false
		return throwaway.FilterPushes(conn, func() bool {
			drops = drops || d.on.Load()
			return drops
		}), nil
	}
}
