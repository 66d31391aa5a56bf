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

// check asks all masters whether they are there, and whether they are all. It
// returns up to when all changes are reported.
func (l *listener) check(ctx context.Context) (asOf time.Time, err error) {
	if now := addressesOf(l.client.Nodes()); !slices.Equal(now, l.addresses) { // Sentinel has told of another master
		return asOf, fmt.Errorf("the nodes were %v and are %v", l.addresses, now)
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

// A master is one connection, on which a master tells of changes.
type master struct {
	client  rueidis.DedicatedClient // is never connected again
	address string
	cluster bool
	store   *Store
	report  *reporter
	pulse   *pulse

	slots string // the view.has for which the key of pulse was chosen
	last  string // the heartbeat that the last check ended with
	heard int    // the notices that there were then
}

// newMaster returns nil if the node is a replica.
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
			err = fmt.Errorf("the feed needs CLIENT TRACKING, of Redis 6 or later and allowed to its user: %w", err)
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

// check returns up to when all changes are reported, and what the master says of
// its cluster, nil if it is in none. See Watch for what it proves.
//
// Another replica may write a heartbeat between two steps, and then the two
// connections read different ones. The listening one receives a notice of that, and
// the check is made again, for as long as the context allows. If there was no notice,
// or the key may have moved, it is made again a few times.
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
	return asOf, nil, fmt.Errorf("the client of New and the option of WithFeed lead to different servers or databases, or the client reads from a replica: the heartbeat that the client wrote is not the one at %s", m.address)
}

// beat returns the heartbeat that the store's client reads, or writes because
// there was no other since the last check. It is empty if another replica writes
// at the same time, or the client does not read what is written.
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

// confirm ends a check that read this heartbeat. It returns an error unless the
// connection received a notice of one.
func (m *master) confirm(ctx context.Context, read string) error {
	if m.pulse.key == "" {
		return nil
	}
	heard, err := m.heardSince(ctx, m.heard)
	if err != nil {
		return err
	}
	if heard == m.heard {
		return fmt.Errorf("%s does not report changes on the connection that asked for them: it is not the server, but a proxy that drops RESP3 push messages, or tracking was turned off", m.address)
	}
	if m.last != "" && !follows(m.last, read) {
		m.report.all()
	}
	m.last, m.heard = read, heard
	return nil
}

// heardSince returns how many notices there were, if they are more than then or
// once all are there of what happened before the call.
//
// The server queues what it has to tell before it sends answers. But an answer to a
// command that ran in the same round stands before that, so one more answer is
// needed.
func (m *master) heardSince(ctx context.Context, then int) (int, error) {
	if now := m.pulse.heard(); now != then {
		return now, nil
	}
	err := m.client.Do(ctx, m.client.B().Ping().Build()).Error()
	return m.pulse.heard(), err
}

// choose returns whether the key of the heartbeats is another one, since other
// slots are at rest.
func (m *master) choose(v *view) (bool, error) {
	if v == nil || v.has == m.slots {
		return false, nil
	}
	key := ""
	if v.has != "" { // else there is nothing to report
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

// ask returns what the master says of its cluster, nil if it is in none, and the
// heartbeat that it has, empty if none.
//
// A HELLO that changes nothing tells the role, and all who may connect at all
// may say it, unlike ROLE. But a server that is busy with a script answers it,
// out of the order that Watch depends on; so a PING follows, which it does not
// answer then.
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

// isElsewhere returns whether the error says that a key is not there, or has
// moved to another master.
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
	if _, refused := rueidis.IsRedisErr(err); refused {
		return h, fmt.Errorf("the feed needs HELLO 3 (RESP3), of Redis 6 or later and allowed to its user: %w", err)
	}
	if err != nil {
		return h, err
	}
	proto, role, mode := answer["proto"], answer["role"], answer["mode"]
	if version, err := proto.AsInt64(); err != nil || version < 3 {
		return h, errors.New("the feed needs RESP3, of Redis 6 or later, and the server, or a proxy before it, does not speak it")
	}
	if h.role, err = role.ToString(); err != nil {
		return h, err
	}
	h.mode, err = mode.ToString()
	return h, err
}
