package redisstore

import (
	"context"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/redis/rueidis"

	"github.com/bearerkit/bearerkit/tokenauth"
)

// A Watched is a Store that is a tokenauth.Watcher too.
//
// Its feed is Redis's own: client tracking in broadcasting mode, by which a
// server tells of each change of a key with the prefix, whoever made it, even
// somebody with redis-cli.
type Watched struct {
	*Store
	option rueidis.ClientOption
}

var (
	_ tokenauth.Storage = (*Watched)(nil)
	_ tokenauth.Watcher = (*Watched)(nil)
)

// WithFeed returns the store with a feed, for tokenauth.Options.Cache. Each
// call of Watch opens connections of its own by the option, which should be
// that of the store's client; what it says of caching is ignored. WithFeed does
// no I/O. It returns an error that names the argument or field that is wrong.
func WithFeed(s *Store, o rueidis.ClientOption) (*Watched, error) {
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
	return &Watched{Store: s, option: o}, nil
}

// Watch implements tokenauth.Watcher. It listens on one connection to each
// master, and asks on the very same one whether all is well.
//
// That a sign of life proves anything depends on an order. A server queues what
// it has to tell of a change before it sends the answer to whoever made it. So
// when a call that changed something has returned, and a PING is sent after
// that, the answer comes behind the change on the same connection. And rueidis
// hands out what it reads from a connection in order, by one goroutine.
func (w *Watched) Watch(ctx context.Context, beat time.Duration, feed tokenauth.Feed) error {
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
func (w *Watched) watch(ctx context.Context, beat time.Duration, r *reporter) error {
	ctx, closeConnections := context.WithCancel(ctx)
	client, err := rueidis.NewClient(w.feedOption(ctx))
	if err != nil {
		closeConnections()
		return err
	}
	l := &listener{client: client}
	defer l.close()
	defer closeConnections() // first: nobody waits for a server that hangs

	if err := l.listen(ctx, w.prefix, r); err != nil {
		return err
	}
	ticker := time.NewTicker(beat)
	defer ticker.Stop()
	for {
		asOf := time.Now()
		// The lease of a cache is four beats.
		timed, cancel := context.WithTimeout(ctx, 3*beat)
		err := l.check(timed)
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
func (w *Watched) feedOption(ctx context.Context) rueidis.ClientOption {
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

type dial = func(context.Context, string, *net.Dialer, *tls.Config) (net.Conn, error)

// dialer returns how the host connects.
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

// closing returns a dial whose connections are closed when the context ends,
// and which makes none after that.
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

// A closingConn tells the context, when it is closed, to forget it.
type closingConn struct {
	net.Conn
	stop func() bool
}

func (c *closingConn) Close() error {
	c.stop()
	return c.Conn.Close()
}

// A reporter passes on what a server tells, for as long as Watch runs.
type reporter struct {
	prefix string
	look   chan struct{} // has room for one: look whether all is well

	mu   sync.Mutex
	feed tokenauth.Feed // nil when Watch returns
}

func (r *reporter) report(what func(tokenauth.Feed)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.feed != nil {
		what(r.feed)
	}
}

func (r *reporter) stop() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.feed = nil
}

func (r *reporter) alive(asOf time.Time) {
	r.report(func(f tokenauth.Feed) { f.Alive(asOf) })
}

// invalidated is called by a connection for the keys that changed. None stands
// for all: everything was removed, or the connection is lost.
func (r *reporter) invalidated(keys []rueidis.RedisMessage) {
	r.report(func(f tokenauth.Feed) {
		if len(keys) == 0 {
			f.ChangedAll()
			select {
			case r.look <- struct{}{}:
			default:
			}
			return
		}
		for i := range keys {
			if u, ok := r.user(&keys[i]); ok {
				f.Changed(u)
			} else {
				f.ChangedAll() // whatever it was
			}
		}
	})
}

// user is the inverse of Store.key.
func (r *reporter) user(key *rueidis.RedisMessage) (u tokenauth.UserKey, ok bool) {
	name, err := key.ToString()
	if err != nil {
		return u, false
	}
	digits, ok := strings.CutPrefix(name, r.prefix)
	if !ok || len(digits) != hex.EncodedLen(len(u)) {
		return u, false
	}
	_, err = hex.Decode(u[:], []byte(digits))
	return u, err == nil
}

// A listener is connected to all masters.
type listener struct {
	client    rueidis.Client
	addresses []string // all that the client knew when the connections were made
	masters   []*master
	failed    error // why there is none to some of the addresses
}

func addressesOf(nodes map[string]rueidis.Client) []string { return slices.Sorted(maps.Keys(nodes)) }

// listen connects to the nodes that are masters.
func (l *listener) listen(ctx context.Context, prefix string, r *reporter) error {
	const patience = 5 * time.Second
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	nodes := l.client.Nodes()
	l.addresses = addressesOf(nodes)
	var wg sync.WaitGroup
	var mu sync.Mutex
	for address, node := range nodes {
		wg.Go(func() {
			m, err := newMaster(ctx, node, prefix, r)
			mu.Lock()
			defer mu.Unlock()
			if m != nil {
				l.masters = append(l.masters, m)
			}
			if err != nil {
				l.failed = errors.Join(l.failed, fmt.Errorf("%s: %w", address, err))
			}
		})
	}
	wg.Wait()
	if len(l.masters) == 0 {
		return errors.Join(errors.New("there is no master"), l.failed)
	}
	return nil
}

func (l *listener) close() {
	for _, m := range l.masters {
		m.client.Close()
	}
	l.client.Close()
}

// check asks all masters whether they are there, and whether they are all.
func (l *listener) check(ctx context.Context) error {
	if now := addressesOf(l.client.Nodes()); !slices.Equal(now, l.addresses) { // Sentinel has told of another master
		return fmt.Errorf("the nodes were %v and are %v", l.addresses, now)
	}
	errs := make([]error, len(l.masters))
	views := make([]*view, len(l.masters))
	var wg sync.WaitGroup
	for i, m := range l.masters {
		wg.Go(func() { views[i], errs[i] = m.check(ctx) })
	}
	wg.Wait()
	err := errors.Join(errs...)
	if err == nil {
		err = complete(views)
	}
	if err != nil {
		return errors.Join(err, l.failed)
	}
	return nil
}

// A master is one connection, on which a master tells of changes.
type master struct {
	client  rueidis.DedicatedClient // is never connected again
	cluster bool
}

// newMaster returns nil if the node is a replica.
func newMaster(ctx context.Context, node rueidis.Client, prefix string, r *reporter) (*master, error) {
	client, _ := node.Dedicate() // Close releases it
	h, err := readHello(client.Do(ctx, client.B().Hello().Protover(3).Build()))
	if err == nil && h.role != "master" {
		client.Close()
		return nil, nil
	}
	if err == nil {
		client.SetOnInvalidations(r.invalidated)
		err = client.Do(ctx, client.B().ClientTracking().On().Prefix().Prefix(prefix).Bcast().Build()).Error()
	}
	if err != nil {
		client.Close()
		return nil, err
	}
	return &master{client, h.mode == "cluster"}, nil
}

// check returns what the master says of its cluster, nil if it is in none.
//
// A HELLO that changes nothing tells the role, and all who may connect at all
// may say it, unlike ROLE. But a server that is busy with a script answers it,
// out of the order that Watch depends on; so a PING follows, which it does not
// answer then.
func (m *master) check(ctx context.Context) (*view, error) {
	b := m.client.B()
	commands := []rueidis.Completed{b.Hello().Protover(3).Build(), b.Ping().Build()}
	if m.cluster {
		commands = append(commands, b.ClusterInfo().Build(), b.ClusterNodes().Build())
	}
	answers := m.client.DoMulti(ctx, commands...)
	h, err := readHello(answers[0])
	switch {
	case err != nil:
		return nil, err
	case h.role != "master":
		return nil, fmt.Errorf("a master has become a %s", h.role)
	}
	if err := answers[1].Error(); err != nil || !m.cluster {
		return nil, err
	}
	info, err := answers[2].ToString()
	if err != nil {
		return nil, err
	}
	nodes, err := answers[3].ToString()
	if err != nil {
		return nil, err
	}
	// They are verbatim strings, which begin with what is in them.
	return newView(strings.TrimPrefix(info, "txt:"), strings.TrimPrefix(nodes, "txt:"))
}

// A hello is what a server says of itself.
type hello struct{ role, mode string }

func readHello(result rueidis.RedisResult) (h hello, err error) {
	answer, err := result.AsMap()
	if err != nil {
		return h, err
	}
	proto, role, mode := answer["proto"], answer["role"], answer["mode"]
	if version, err := proto.AsInt64(); err != nil || version < 3 {
		return h, errors.New("the server does not speak RESP3")
	}
	if h.role, err = role.ToString(); err != nil {
		return h, err
	}
	h.mode, err = mode.ToString()
	return h, err
}
