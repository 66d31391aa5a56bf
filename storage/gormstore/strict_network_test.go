package gormstore_test

import (
	"database/sql"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	mysqldriver "github.com/go-sql-driver/mysql"

	"github.com/bearerkit/bearerkit/internal/throwaway"
	"github.com/bearerkit/bearerkit/tokenauth"
)

// A network carries connections to a server. What it holds back, it delivers later,
// as TCP does after packets were lost; it closes nothing.
type network struct {
	net.Listener
	kind, to string
	arrivals sync.RWMutex // locked: new connections are not answered

	mu    sync.Mutex
	links []*link
}

// A link is a connection.
type link struct {
	in, out net.Conn
	packets sync.RWMutex // locked: none arrives
}

// newNetwork returns a network to the server with that DSN, and the DSN by way of it.
func newNetwork(t *testing.T, engine, dsn string) (*network, string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	n := &network{Listener: listener, kind: "tcp"}
	if engine == "mariadb" {
		config, err := mysqldriver.ParseDSN(dsn)
		if err != nil {
			t.Fatal(err)
		}
		n.kind, n.to = config.Net, config.Addr
		config.Net, config.Addr = "tcp", listener.Addr().String()
		dsn = config.FormatDSN()
	} else {
		n.kind, n.to, dsn = throwaway.PostgresBehind(t, dsn, listener.Addr().String())
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			in, err := listener.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { n.connect(in) })
		}
	})
	t.Cleanup(func() {
		listener.Close()
		n.mu.Lock()
		for _, l := range n.links {
			l.close()
		}
		n.mu.Unlock()
		wg.Wait()
	})
	return n, dsn
}

func (n *network) connect(in net.Conn) {
	n.arrivals.RLock()
	defer n.arrivals.RUnlock()
	out, err := net.Dial(n.kind, n.to)
	if err != nil {
		in.Close()
		return
	}
	l := &link{in: in, out: out}
	n.mu.Lock()
	n.links = append(n.links, l)
	n.mu.Unlock()
	go func() { l.carry(in, out); n.remove(l) }()
	go l.carry(out, in)
}

func (n *network) remove(l *link) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.links = slices.DeleteFunc(n.links, func(other *link) bool { return other == l })
}

func (l *link) carry(from, to net.Conn) {
	defer l.close()
	buf := make([]byte, 4096)
	for {
		n, err := from.Read(buf)
		l.packets.RLock()
		if err == nil {
			_, err = to.Write(buf[:n])
		}
		l.packets.RUnlock()
		if err != nil {
			return
		}
	}
}

func (l *link) close() {
	l.in.Close()
	l.out.Close()
}

// open returns how many connections there are.
func (n *network) open() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.links)
}

// cut holds back what goes over so many of the connections there are, or all, until
// heal.
func (n *network) cut(connections int) (heal func()) {
	n.mu.Lock()
	links := slices.Clone(n.links[:min(connections, len(n.links))])
	n.mu.Unlock()
	for _, l := range links {
		l.packets.Lock()
	}
	return sync.OnceFunc(func() {
		for _, l := range links {
			l.packets.Unlock()
		}
	})
}

// down holds back everything, until heal.
func (n *network) down() (heal func()) {
	n.arrivals.Lock()
	healLinks := n.cut(math.MaxInt)
	return sync.OnceFunc(func() {
		healLinks()
		n.arrivals.Unlock()
	})
}

// A validation is what came of one.
type validation struct {
	began time.Time
	took  time.Duration
	err   error
}

// validateSteadily validates in a goroutine for each of the holders, with short pauses,
// until stop is called, which returns what came of it.
func validateSteadily(t *testing.T, auth *tokenauth.Service, holders []holder) (stop func() []validation) {
	t.Helper()
	var wg sync.WaitGroup
	var mu sync.Mutex
	var all []validation
	var done atomic.Bool
	for _, h := range holders {
		wg.Go(func() {
			var own []validation
			for !done.Load() {
				v := validation{began: time.Now()}
				v.err = h.validate(t.Context(), auth)
				v.took = time.Since(v.began)
				own = append(own, v)
				time.Sleep(rand.N(10 * time.Millisecond))
			}
			mu.Lock()
			defer mu.Unlock()
			all = append(all, own...)
		})
	}
	stop = func() []validation {
		done.Store(true)
		wg.Wait()
		return all
	}
	t.Cleanup(func() { stop() })
	return stop
}

func longest(all []validation) (most time.Duration) {
	for _, v := range all {
		most = max(most, v.took)
	}
	return most
}

// A trial is a Service on a default pool by way of a network, in use, and another
// one on a pool that does not go that way, by which to tell how busy the machine is.
type trial struct {
	network              *network
	reads                *statementCounter
	stop, stopUnaffected func() []validation
}

// cutTimeout leaves room between it and what a busy machine adds to 200 milliseconds.
const cutTimeout = 1500 * time.Millisecond

func startTrial(t *testing.T, engine string) *trial {
	t.Helper()
	dsn, driverName := "", "pgx"
	if engine == "mariadb" {
		dsn, driverName = throwaway.MariaDB(t), "mysql"
	} else {
		dsn = throwaway.Postgres(t)
	}
	n, cuttable := newNetwork(t, engine, dsn)
	open := func(dsn string) (*statementCounter, *tokenauth.Service) {
		pool, err := sql.Open(driverName, dsn)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { pool.Close() })
		reads := &statementCounter{Store: newStore(t, openPool(t, engine, pool), nil)}
		auth, err := tokenauth.New(reads, nobody{}, &tokenauth.Options{Timeout: cutTimeout, Logger: quiet})
		if err != nil {
			t.Fatal(err)
		}
		return reads, auth
	}
	reads, auth := open(cuttable)
	_, unaffected := open(dsn)
	holders := issueToEach(t, auth, 40)
	tr := &trial{n, reads, validateSteadily(t, auth, holders), validateSteadily(t, unaffected, holders[:4])}
	eventually(t, "two connections are open", func() bool { return n.open() == 2 })
	return tr
}

// end returns what came of the validations, and how long one may take that the cut
// does not concern.
func (tr *trial) end(t *testing.T) (all []validation, bound time.Duration) {
	t.Helper()
	busy := longest(tr.stopUnaffected())
	all = tr.stop()
	eventually(t, "each statement has ended", func() bool { return tr.reads.inProgress.Load() == 0 })
	return all, 200*time.Millisecond + 4*busy
}

// expectDeadline checks that a validation failed by its deadline, and not before.
func expectDeadline(t *testing.T, v validation, bound time.Duration) {
	t.Helper()
	// Calls of one moment share a deadline, so that it may be a fortieth early.
	if !errors.Is(v.err, tokenauth.ErrUnavailable) || errors.Is(v.err, tokenauth.ErrInvalidToken) || v.took < cutTimeout*9/10 || v.took > cutTimeout+bound {
		t.Errorf("a validation fails after %v: %v", v.took, v.err)
	}
}

// A connection that never answers concerns the callers of the statement on it. The
// others do not wait: neither on the other connection nor, if that is dead, too, for
// one that the pool could open.
func TestDeadConnectionsDelayNoOtherValidation(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		engine string
		cut    int
	}{{"postgres", 1}, {"postgres", 2}, {"mariadb", 2}} {
		t.Run(fmt.Sprint(test.engine, " ", test.cut), func(t *testing.T) {
			t.Parallel()
			tr := startTrial(t, test.engine)
			heal := tr.network.cut(test.cut)
			t.Cleanup(heal)
			time.Sleep(cutTimeout + 200*time.Millisecond)
			all, bound := tr.end(t)
			failed, most := 0, time.Duration(0)
			for _, v := range all {
				if v.err != nil {
					failed++
					expectDeadline(t, v, bound)
					continue
				}
				most = max(most, v.took)
			}
			t.Logf("%d validations, %d failed, the others took up to %v (bound %v)", len(all), failed, most, bound)
			// Each slot has one caller.
			if statements, slots := int(tr.reads.failed.Load()), int(tr.reads.failedSlots.Load()); statements != test.cut || slots != failed {
				t.Errorf("%d validations failed, and %d statements for %d, on %d dead connections", failed, statements, slots, test.cut)
			}
			if most > min(bound, cutTimeout*9/10) {
				t.Errorf("a validation took %v, longer than %v", most, bound)
			}
		})
	}
}

// Packets that arrive late reach only the callers who asked for them, and when the
// network is back, validations work as before.
func TestValidationsGoOnWhenTheNetworkIsBack(t *testing.T) {
	t.Parallel()
	for _, outage := range []time.Duration{400 * time.Millisecond, cutTimeout + 200*time.Millisecond} {
		t.Run(outage.String(), func(t *testing.T) {
			t.Parallel()
			tr := startTrial(t, "postgres")
			began := time.Now()
			heal := tr.network.down()
			t.Cleanup(heal)
			time.Sleep(outage)
			heal()
			healed := time.Now()
			time.Sleep(300 * time.Millisecond)
			all, bound := tr.end(t)
			failed, after := 0, 0
			for _, v := range all {
				switch {
				case v.began.After(healed):
					after++
					if v.err != nil || v.took > bound {
						t.Errorf("after the network is back, a validation takes %v, error %v", v.took, v.err)
					}
				case v.err != nil:
					failed++
					expectDeadline(t, v, bound)
				}
			}
			t.Logf("%d validations in %v, %d failed, %d began after the outage", len(all), time.Since(began), failed, after)
			if short := outage < cutTimeout/2; short && failed > 0 || !short && failed == 0 {
				t.Errorf("%d validations failed", failed)
			}
			if after == 0 {
				t.Error("there was no validation after the outage")
			}
		})
	}
}
