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

// A listener has a connection to each master.
type listener struct {
	client    rueidis.Client
	addresses []string // of all nodes that the client knew when listen connected
	masters   []*master
	failed    error // the errors of the nodes that listen could not connect to
}

func addressesOf(nodes map[string]rueidis.Client) []string { return slices.Sorted(maps.Keys(nodes)) }

// listen connects to all nodes that are masters. It fails if it finds none.
func (l *listener) listen(ctx context.Context, s *Store, r *reporter) error {
	const patience = 5 * time.Second
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	nodes := l.client.Nodes()
	l.addresses = addressesOf(nodes)
	var wg sync.WaitGroup
	var mu sync.Mutex
	for address, node := range nodes {
		wg.Go(func() {
			m, err := newMaster(ctx, address, node, s, r)
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
		return errors.Join(errors.New("found no master"), l.failed)
	}
	return nil
}

func (l *listener) close() {
	for _, m := range l.masters {
		m.client.Close()
	}
	l.client.Close()
}

// check checks each master, and that the cluster has no others. It returns the
// time up to which all changes have been reported.
func (l *listener) check(ctx context.Context) (asOf time.Time, err error) {
	if now := addressesOf(l.client.Nodes()); !slices.Equal(now, l.addresses) { // Sentinel has announced another master
		return asOf, fmt.Errorf("the servers changed from %v to %v", l.addresses, now)
	}
	times := make([]time.Time, len(l.masters))
	errs := make([]error, len(l.masters))
	views := make([]*view, len(l.masters))
	var wg sync.WaitGroup
	for i, m := range l.masters {
		wg.Go(func() { times[i], views[i], errs[i] = m.check(ctx) })
	}
	wg.Wait()
	err = errors.Join(errs...)
	if err == nil {
		err = complete(views)
	}
	if err != nil {
		return asOf, errors.Join(err, l.failed)
	}
	return slices.MinFunc(times, time.Time.Compare), nil
}

// A master is a connection on which one master reports changes.
type master struct {
	client  rueidis.DedicatedClient // never reconnects
	address string
	cluster bool
	store   *Store
	report  *reporter
	pulse   *pulse

	slots string // the view.has when pulse.key was chosen
	last  string // the heartbeat that the last successful check read
	heard int    // pulse.notices at the end of that check
}

// newMaster turns on tracking on a new connection to the node. It returns nil
// without an error if the node is a replica.
func newMaster(ctx context.Context, address string, node rueidis.Client, s *Store, r *reporter) (*master, error) {
	client, _ := node.Dedicate() // Close releases it
	h, err := readHello(client.Do(ctx, client.B().Hello().Protover(3).Build()))
	if err == nil && h.role != "master" {
		client.Close()
		return nil, nil
	}
	p := &pulse{report: r.invalidated}
	if err == nil {
		client.SetOnInvalidations(p.invalidated)
		err = client.Do(ctx, client.B().ClientTracking().On().Prefix().Prefix(s.prefix).Bcast().Build()).Error()
		if _, refused := rueidis.IsRedisErr(err); refused {
			err = fmt.Errorf("the feed needs CLIENT TRACKING: use Redis 6 or later, and allow the command to its user: %w", err)
		}
	}
	if err != nil {
		client.Close()
		return nil, err
	}
	m := &master{client: client, address: address, cluster: h.mode == "cluster", store: s, report: r, pulse: p}
	if !m.cluster {
		p.listen(s.beatKey(1))
	}
	return m, nil
}

// check returns the time up to which all changes have been reported, and the
// master's view of its cluster, or nil if it is not in a cluster. The comment of
// feedStore.Watch describes the steps.
//
// Another replica of the service may write a heartbeat between two steps, and the
// two connections then read different ones. If the listening connection received
// a notice of that, check starts again, until the context ends. If it received no
// notice, or the heartbeat key was chosen again, check makes at most four
// attempts.
func (m *master) check(ctx context.Context) (asOf time.Time, v *view, err error) {
	const attempts = 4
	for failed := 0; failed < attempts; {
		heard := m.pulse.heard()
		stored, err := m.beat(ctx)
		if err != nil {
			return asOf, nil, err
		}
		asOf = time.Now()
		v, read, err := m.ask(ctx)
		if err != nil {
			return asOf, nil, err
		}
		chosen, err := m.choose(v)
		switch {
		case err != nil:
			return asOf, nil, err
		case chosen:
			failed++
			continue
		case m.pulse.key == "" || stored != "" && stored == read:
			return asOf, v, m.confirm(ctx, read)
		}
		if now, err := m.heardSince(ctx, heard); err != nil {
			return asOf, nil, err
		} else if now == heard {
			failed++
		}
	}
	return asOf, nil, fmt.Errorf("the client of New and the option of WithFeed lead to different servers or databases, or the client reads from a replica: %s does not have the heartbeat that the client wrote", m.address)
}

// beat returns the current heartbeat as the store's client sees it. If no replica
// has written one since the last check, the client writes one. The result is ""
// if another replica writes at the same time, or if the client reads from another
// server than it writes to.
func (m *master) beat(ctx context.Context) (string, error) {
	key := m.pulse.key
	if key == "" {
		return "", nil
	}
	read, err := m.store.readBeat(ctx, key)
	if err != nil || read != "" && read != m.last && m.pulse.heard() > m.heard {
		return read, err
	}
	return m.store.writeBeat(ctx, key, read)
}

// confirm completes a check that read this heartbeat. It returns an error if the
// connection received no notice of a heartbeat since the last check.
func (m *master) confirm(ctx context.Context, read string) error {
	if m.pulse.key == "" {
		return nil
	}
	heard, err := m.heardSince(ctx, m.heard)
	if err != nil {
		return err
	}
	if heard == m.heard {
		return fmt.Errorf("%s does not report changes on the connection that turned on tracking: it is a proxy that drops RESP3 push messages, or tracking was turned off", m.address)
	}
	if m.last != "" && !follows(m.last, read) {
		m.report.all()
	}
	m.last, m.heard = read, heard
	return nil
}

// heardSince returns the number of notices. If it still equals then, heardSince
// first waits until the notices of all earlier changes have arrived.
//
// For that it sends a PING and waits for the answer. Earlier answers do not
// prove this: in one round of its event loop, a server queues answers before
// the notices of changes.
func (m *master) heardSince(ctx context.Context, then int) (int, error) {
	if now := m.pulse.heard(); now != then {
		return now, nil
	}
	err := m.client.Do(ctx, m.client.B().Ping().Build()).Error()
	return m.pulse.heard(), err
}

// choose picks a new heartbeat key if the master's slots have changed. It reports
// whether the key is another one than before.
func (m *master) choose(v *view) (bool, error) {
	if v == nil || v.has == m.slots {
		return false, nil
	}
	key := ""
	if v.has != "" { // a master without slots has no keys to report
		var err error
		if key, err = m.store.beatKeyAt(v); err != nil {
			return false, err
		}
	}
	m.slots = v.has
	if key == m.pulse.key {
		return false, nil
	}
	m.pulse.listen(key)
	m.last, m.heard = "", 0
	return true, nil
}

// ask returns the master's view of its cluster, or nil if it is not in a cluster,
// and the heartbeat that it has, or "" if it has none.
//
// The role is in the answer to HELLO, which every user that can connect may
// send, unlike ROLE. But a server that is busy with a script still answers
// HELLO, out of the order that feedStore.Watch relies on. It does not answer
// the PING that follows.
func (m *master) ask(ctx context.Context) (v *view, beat string, err error) {
	b := m.client.B()
	commands := []rueidis.Completed{b.Hello().Protover(3).Build(), b.Ping().Build()}
	if m.cluster {
		commands = append(commands, b.ClusterInfo().Build(), b.ClusterNodes().Build())
	}
	if key := m.pulse.key; key != "" {
		commands = append(commands, b.Hget().Key(key).Field(beatField).Build())
	}
	answers := m.client.DoMulti(ctx, commands...)
	h, err := readHello(answers[0])
	switch {
	case err != nil:
		return nil, "", err
	case h.role != "master":
		return nil, "", fmt.Errorf("a master has become a %s", h.role)
	}
	if err := answers[1].Error(); err != nil {
		return nil, "", err
	}
	if m.cluster {
		if v, err = readView(answers[2], answers[3]); err != nil {
			return nil, "", err
		}
	}
	if m.pulse.key == "" {
		return v, "", nil
	}
	beat, err = answers[len(answers)-1].ToString()
	if isElsewhere(err) {
		return v, "", nil
	}
	if err != nil {
		return nil, "", fmt.Errorf("the feed's connection cannot read the heartbeat: %w", err)
	}
	return v, beat, nil
}

// isElsewhere reports whether the error means that the key does not exist, or is
// on another master.
func isElsewhere(err error) bool {
	if rueidis.IsRedisNil(err) {
		return true
	}
	e, ok := rueidis.IsRedisErr(err)
	if !ok {
		return false
	}
	_, moved := e.IsMoved()
	_, asks := e.IsAsk()
	return moved || asks
}

// readView decodes the answers to CLUSTER INFO and CLUSTER NODES.
func readView(infoResult, nodesResult rueidis.RedisResult) (*view, error) {
	info, err := infoResult.ToString()
	if err != nil {
		return nil, err
	}
	nodes, err := nodesResult.ToString()
	if err != nil {
		return nil, err
	}
	// These are verbatim strings of RESP3, which begin with their format.
	return newView(strings.TrimPrefix(info, "txt:"), strings.TrimPrefix(nodes, "txt:"))
}

// A hello is the part of a server's answer to HELLO that the feed uses.
type hello struct{ role, mode string }

func readHello(result rueidis.RedisResult) (h hello, err error) {
	answer, err := result.AsMap()
	if _, refused := rueidis.IsRedisErr(err); refused {
		return h, fmt.Errorf("the feed needs HELLO 3 (RESP3): use Redis 6 or later, and allow HELLO to its user: %w", err)
	}
	if err != nil {
		return h, err
	}
	proto, role, mode := answer["proto"], answer["role"], answer["mode"]
	if version, err := proto.AsInt64(); err != nil || version < 3 {
		return h, errors.New("the feed needs RESP3 (Redis 6 or later), but the server, or a proxy in front of it, does not support it")
	}
	if h.role, err = role.ToString(); err != nil {
		return h, err
	}
	h.mode, err = mode.ToString()
	return h, err
}
