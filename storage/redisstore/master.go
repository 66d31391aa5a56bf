package redisstore

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/redis/rueidis"
)

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
	return readView(answers[2], answers[3])
}

// readView reads the answers to CLUSTER INFO and CLUSTER NODES.
func readView(infoResult, nodesResult rueidis.RedisResult) (*view, error) {
	info, err := infoResult.ToString()
	if err != nil {
		return nil, err
	}
	nodes, err := nodesResult.ToString()
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
