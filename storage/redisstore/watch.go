package redisstore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/redis/rueidis"

	"github.com/bearerkit/bearerkit/tokenauth"
)

// A feedStore is a [Store] with a feed. The feed is Redis's client tracking in
// broadcasting mode: the server reports each change to a key with the prefix,
// including changes that an operator makes with redis-cli.
type feedStore struct {
	*Store
	option rueidis.ClientOption
}

var (
	_ tokenauth.Storage     = (*feedStore)(nil)
	_ tokenauth.BatchFinder = (*feedStore)(nil)
	_ tokenauth.Lister      = (*feedStore)(nil)
	_ tokenauth.Watcher     = (*feedStore)(nil)
	_ tokenauth.BulkRevoker = (*feedStore)(nil)
	_ tokenauth.UseRecorder = (*feedStore)(nil)
)

// WithFeed returns the store with the feed that [tokenauth.Options.Cache]
// needs. The result is also a [tokenauth.Watcher], and implements all
// interfaces that [Store] implements. Redis's client tracking reports every
// change to a key with the prefix, including changes that an operator makes.
//
// Each call of Watch opens its own connections, with the client option o. Pass
// the option that the store's client was created with. Watch ignores the
// option's fields for client-side caching. If the client and the option lead to
// different servers or databases, Watch returns an error, and the cache does
// not serve. Watch also writes heartbeats: see Heartbeats in the package
// documentation.
//
// WithFeed does no I/O. An error names the argument or field that is invalid.
func WithFeed(s *Store, o rueidis.ClientOption) (tokenauth.Storage, error) {
	switch {
	case s == nil:
		return nil, errors.New("redisstore: the store is nil")
	case len(o.InitAddress) == 0:
		return nil, errors.New("redisstore: ClientOption.InitAddress is empty")
	case o.AlwaysRESP2:
		return nil, errors.New("redisstore: ClientOption.AlwaysRESP2 is set, but a feed needs RESP3")
	case o.ReplicaOnly:
		return nil, errors.New("redisstore: ClientOption.ReplicaOnly is set, but a feed needs masters, because replicas lag")
	}
	o.InitAddress = slices.Clone(o.InitAddress)
	return &feedStore{Store: s, option: o}, nil
}

// Watch implements [tokenauth.Watcher]. It listens on one connection to each
// master. A heartbeat takes the same path as a change: the store's client
// writes it to a key with the prefix, and the master reports the write on the
// listening connection. In each beat, Watch takes these steps for each master:
//
//  1. The store's client reads the heartbeat in the same way as a token. If no
//     service replica has written a heartbeat since the last check, the client
//     writes the next one. If several replicas try to write it, the script
//     succeeds for only one of them. So each beat causes one write on each
//     master, however many replicas run.
//  2. Watch takes the current time. When the check succeeds, all changes up to
//     this time have been reported.
//  3. The listening connection asks for the server's role, sends a PING, and
//     reads the heartbeat. It must read the same heartbeat as the store's client.
//     This proves that both use the same server, database and key.
//  4. The listening connection must have received a notice since the last check
//     that the key has changed. This proves that the server reports changes on
//     this connection.
//  5. The heartbeat must follow that of the last check. Otherwise databases were
//     swapped or keys were removed, so Watch invalidates all tokens.
//
// Step 2 relies on the order of messages. The server queues the report of a
// change before it answers the command that made the change. So if a client
// sends a PING after it has received that answer, the report arrives before the
// answer to the PING on the same connection. In addition, a single goroutine of
// rueidis delivers the messages of a connection, in order.
//
// If a connection breaks between two checks, the next check ends Watch. That
// check is at most one beat later. A beat is a quarter of
// [tokenauth.CacheOptions.Lease].
func (w *feedStore) Watch(ctx context.Context, beat time.Duration, feed tokenauth.Invalidator) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	r := &reporter{prefix: w.prefix, feed: feed, look: make(chan struct{}, 1)}
	err := w.watch(ctx, beat, r)
	r.stop()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return fmt.Errorf("redisstore: feed: %w", err)
}

// watch reports changes to r until it fails, and returns the error.
func (w *feedStore) watch(ctx context.Context, beat time.Duration, r *reporter) error {
	ctx, closeConnections := context.WithCancel(ctx)
	client, err := rueidis.NewClient(w.feedOption(ctx))
	if err != nil {
		closeConnections()
		return fmt.Errorf("the feed's client cannot connect: %w", err)
	}
	l := &listener{client: client}
	defer l.close()
	defer closeConnections() // runs before l.close, which could wait for a server that hangs

	if err := l.listen(ctx, w.Store, r); err != nil {
		return err
	}
	ticker := time.NewTicker(beat)
	defer ticker.Stop()
	for {
		// The cache's lease is four beats, so a check that takes longer than
		// three beats is useless.
		timed, cancel := context.WithTimeout(ctx, 3*beat)
		asOf, err := l.check(timed)
		cancel()
		if err != nil {
			return err
		}
		r.alive(asOf)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-r.look:
		case <-ticker.C:
		}
	}
}

// feedOption returns the [rueidis.ClientOption] of the feed's client, whose
// connections are closed when the context ends.
//
// The client only finds the masters and connects to them. It must not reconnect
// or retry by itself, because Watch would not notice that the feed missed a
// report.
func (w *feedStore) feedOption(ctx context.Context) rueidis.ClientOption {
	o := w.option
	o.DialCtxFn = closing(ctx, dialer(&o))
	o.DisableRetry = true
	// newMaster turns on tracking later, on one connection to each master.
	o.DisableCache = true
	o.ClientTrackingOptions, o.OnInvalidations, o.NewCacheStoreFn = nil, nil, nil
	o.DisableAutoPipelining, o.PipelineMultiplex = false, -1
	o.ConnLifetime = 0
	// The feed sends few commands, and the messages that it receives are short.
	o.ReadBufferEachConn, o.WriteBufferEachConn, o.RingScaleEachConn = 64<<10, 4<<10, 8
	return o
}
