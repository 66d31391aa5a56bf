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
	addresses []string // of all nodes that the client knew at the start of listen
	masters   []*master
	failed    error // the errors of the nodes that listen could not connect to
}

func addressesOf(nodes map[string]rueidis.Client) []string { return slices.Sorted(maps.Keys(nodes)) }

// listen connects to all nodes that are masters. It returns an error if it
// finds none.
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
		return errors.Join(errors.New("found no master among the servers"), l.failed)
	}
	return nil
}

func (l *listener) close() {
	for _, m := range l.masters {
		m.client.Close()
	}
	l.client.Close()
}

// check checks the connection to each master, and that there are no other
// masters. It returns the time up to which all changes have been reported.
func (l *listener) check(ctx context.Context) (asOf time.Time, err error) {
	if now := addressesOf(l.client.Nodes()); !slices.Equal(now, l.addresses) { // for example, Sentinel has announced another master
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

// A master is a connection to one master, on which the server reports key
// changes.
type master struct {
	client  rueidis.DedicatedClient // never reconnects
	address string
	cluster bool
	store   *Store
	report  *reporter
	pulse   *pulse

	slots string // view.has at the time when pulse.key was chosen
	last  string // the heartbeat that the last successful check read
	heard int    // the value of pulse.notices at the end of that check
}

// newMaster opens a connection to the node, and turns on client tracking on it.
// If the node is a replica, newMaster returns nil and no error.
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
			err = fmt.Errorf("the feed needs CLIENT TRACKING: use Redis 6 or later, and allow the feed's Redis user to run the command: %w", err)
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
// master's view of its cluster. The view is nil if the master is not in a
// cluster. The comment on feedStore.Watch describes the steps.
//
// Another replica of the service may write a heartbeat between two steps. The
// store's client and the listening connection then read different heartbeats,
// and check starts again. If the listening connection received notice of that
// write, check starts again as often as necessary, until the context ends. An
// attempt fails if no such notice arrived, or if check had to choose another
// heartbeat key. After four failed attempts, check returns an error.
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

// beat returns the current heartbeat as the store's client reads it. If no
// replica of the service has written a heartbeat since the last check, the
// client writes one first. The result is "" if another replica writes at the
// same time, or if the client reads from a different server than it writes to.
// The result is also "" for a master without slots, which has no heartbeat.
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

// confirm completes a check in which the listening connection has read the
// given heartbeat. It returns an error if that connection has received no
// heartbeat notice since the last check. If the heartbeat does not follow the
// heartbeat of the last check, confirm invalidates all tokens.
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

// heardSince returns how many heartbeat notices the connection has received.
// The argument is an earlier count. If no notice has arrived since that count,
// heardSince first waits until the notices of all earlier changes have arrived.
//
// To wait, it sends a PING and reads the answer. The answers to earlier
// commands do not suffice, because they may arrive before those notices. In
// each round of its event loop, a server queues its answers first, and then its
// change notices.
func (m *master) heardSince(ctx context.Context, then int) (int, error) {
	if now := m.pulse.heard(); now != then {
		return now, nil
	}
	err := m.client.Do(ctx, m.client.B().Ping().Build()).Error()
	return m.pulse.heard(), err
}

// choose picks a new heartbeat key if the master's slots have changed. It
// reports whether the key differs from the previous one.
func (m *master) choose(v *view) (bool, error) {
	if v == nil || v.has == m.slots {
		return false, nil
	}
	key := ""
	if v.has != "" { // a master without slots has no keys, so it needs no heartbeat
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

// ask returns the master's view of its cluster, or nil if the master is not in
// a cluster. It also returns the heartbeat that is stored on the master, or ""
// if there is none.
//
// The answer to HELLO contains the role of the server. Every Redis user that
// can connect may send HELLO, which is not true of ROLE. But a server that is
// busy with a script still answers HELLO, without keeping the message order
// that feedStore.Watch relies on. So ask also sends a PING, which fails on a
// busy server.
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

// isElsewhere reports whether the error means that the key does not exist, or
// that it is on another master.
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
	// Both answers are RESP3 verbatim strings, which begin with a format name.
	return newView(strings.TrimPrefix(info, "txt:"), strings.TrimPrefix(nodes, "txt:"))
}

// A hello is the part of a server's answer to HELLO that the feed uses.
type hello struct{ role, mode string }

func readHello(result rueidis.RedisResult) (h hello, err error) {
	answer, err := result.AsMap()
	if _, refused := rueidis.IsRedisErr(err); refused {
		return h, fmt.Errorf("the feed needs HELLO 3 (RESP3): use Redis 6 or later, and allow the feed's Redis user to run HELLO: %w", err)
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
