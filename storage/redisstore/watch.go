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

// A feedStore is a Store with a feed: Redis's client tracking in broadcasting
// mode. A server reports each change of a key with the prefix, whoever made it,
// even somebody with redis-cli.
type feedStore struct {
	*Store
	option rueidis.ClientOption
}

var (
	_ tokenauth.Storage     = (*feedStore)(nil)
	_ tokenauth.BatchFinder = (*feedStore)(nil)
	_ tokenauth.Lister      = (*feedStore)(nil)
	_ tokenauth.Watcher     = (*feedStore)(nil)
)

// WithFeed returns the store with the feed that the cache needs: a storage that is
// also a tokenauth.Watcher, and has all abilities of the store. Redis's client
// tracking reports every change of a key, whoever made it.
//
// Each call of Watch opens its own connections by the option, which should be
// that of the store's client; its options of caching are ignored. If the two lead
// to different servers or databases, Watch returns an error that says so, and the
// cache does not serve. Watch also writes: see Heartbeats above. WithFeed does no
// I/O. The error names the argument or field that is wrong.
func WithFeed(s *Store, o rueidis.ClientOption) (tokenauth.Storage, error) {
	switch {
	case s == nil:
		return nil, errors.New("redisstore: the store is nil")
	case len(o.InitAddress) == 0:
		return nil, errors.New("redisstore: ClientOption.InitAddress is empty")
	case o.AlwaysRESP2:
		return nil, errors.New("redisstore: ClientOption.AlwaysRESP2 is set, and a feed needs RESP3")
	case o.ReplicaOnly:
		return nil, errors.New("redisstore: ClientOption.ReplicaOnly is set, and a feed needs masters, as replicas lag")
	}
	o.InitAddress = slices.Clone(o.InitAddress)
	return &feedStore{Store: s, option: o}, nil
}

// Watch implements tokenauth.Watcher. It listens on one connection to each
// master. A heartbeat takes the way of a change: the store's client writes it to
// a key with the prefix, and the master reports that on the connection that
// listens. Each beat, for each master, it checks in this order:
//
//  1. The store's client reads the heartbeat, the way that it reads a token. If
//     no replica has written one since the last check, it writes the next one,
//     by a script that succeeds for one replica. So there is one write for each
//     beat and master, however many replicas there are.
//  2. It takes the time. All changes up to then are reported when the check is
//     over.
//  3. The listening connection asks for the role, sends a PING, and reads the
//     heartbeat. It must be the same as the client's: then both lead to one
//     server, database and key.
//  4. The listening connection must have received a notice of the key since the
//     last check: then the server reports changes on it.
//  5. The heartbeat must be a successor of the last one. If not, the databases
//     were swapped, or keys are gone: all tokens are invalidated.
//
// The time of step 2 depends on an order. A server queues what it has to report
// of a change before it sends the answer to whoever made it. So when a call that
// changed something has returned, and a PING is sent after that, its answer comes
// behind the report on the same connection. And rueidis hands out what it reads
// from a connection in order, by one goroutine.
//
// A way that breaks between two checks is found by the next one, which ends
// Watch: a beat later, a quarter of the cache's lease.
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

// watch returns why it can no longer tell.
func (w *feedStore) watch(ctx context.Context, beat time.Duration, r *reporter) error {
	ctx, closeConnections := context.WithCancel(ctx)
	client, err := rueidis.NewClient(w.feedOption(ctx))
	if err != nil {
		closeConnections()
		return fmt.Errorf("the feed's client cannot connect: %w", err)
	}
	l := &listener{client: client}
	defer l.close()
	defer closeConnections() // first: nobody waits for a server that hangs

	if err := l.listen(ctx, w.Store, r); err != nil {
		return err
	}
	ticker := time.NewTicker(beat)
	defer ticker.Stop()
	for {
		// The lease of a cache is four beats.
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

// feedOption returns the option of a client for the feed, whose connections are
// closed when the context ends.
//
// The client is there to find the masters and connect to them. What it could
// do by itself, such as connecting again or asking again, would hide that
// something was missed.
func (w *feedStore) feedOption(ctx context.Context) rueidis.ClientOption {
	o := w.option
	o.DialCtxFn = closing(ctx, dialer(&o))
	o.DisableRetry = true
	// Tracking is turned on later, for one connection to each master.
	o.DisableCache = true
	o.ClientTrackingOptions, o.OnInvalidations, o.NewCacheStoreFn = nil, nil, nil
	o.DisableAutoPipelining, o.PipelineMultiplex = false, -1
	o.ConnLifetime = 0
	// Little is sent, and what comes is short.
	o.ReadBufferEachConn, o.WriteBufferEachConn, o.RingScaleEachConn = 64<<10, 4<<10, 8
	return o
}
