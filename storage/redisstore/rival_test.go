package redisstore_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bearerkit/bearerkit/internal/throwaway"
	"github.com/bearerkit/bearerkit/internal/trial"
)

// A rivalConn calls write before it sends a command that reads heartbeats.
type rivalConn struct {
	net.Conn
	write func()
}

func (c *rivalConn) Write(p []byte) (int, error) {
	if bytes.Contains(p, []byte("HGET")) {
		c.write()
	}
	return c.Conn.Write(p)
}

// Other replicas may write heartbeats between the steps of a check, however
// often. The feed continues, and does not conclude that it is on another
// server.
func TestHeartbeatsOfManyReplicasDoNotEndTheFeed(t *testing.T) {
	t.Parallel()
	trial.Run(t, heartbeatsOfManyReplicasDoNotEndTheFeed)
}

func heartbeatsOfManyReplicasDoNotEndTheFeed(t *trial.T) {
	o := option(t, throwaway.StartRedis(t).DSN())
	client := open(t, o)
	beatKey := fmt.Sprintf("tokenauth:%032x", 1)
	var left atomic.Int64
	rival := func() {
		if left.Add(-1) < 0 {
			return
		}
		chain, number, secret := "chain", 0, ""
		fmt.Sscan(do(t, client, "HGET", beatKey, "beat"), &chain, &number, &secret)
		do(t, client, "HSET", beatKey, "beat", fmt.Sprintf("%s %d %s", chain, number+1, fmt.Sprint("rival", number)))
	}
	feed := o
	dial := dialOf(o)
	feed.DialCtxFn = func(ctx context.Context, address string, d *net.Dialer, c *tls.Config) (net.Conn, error) {
		conn, err := dial(ctx, address, d, c)
		if err != nil {
			return nil, err
		}
		return &rivalConn{conn, rival}, nil
	}
	left.Store(20)
	g := watch(t, withFeed(t, o, feed, ""), time.Second)
	if left.Load() > 0 {
		t.Errorf("%d heartbeats of the other replica were not written", left.Load())
	}
	g.mu.Lock()
	if g.flushes > 0 {
		t.Errorf("the feed invalidated all tokens %d times, want 0", g.flushes)
	}
	g.mu.Unlock()
	g.end(t)
}
