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
	"github.com/bearerkit/bearerkit/internal/trial"
	"github.com/bearerkit/bearerkit/tokenauth"
)

// A network is a proxy to a server that can delay packets. It delivers them later, as TCP
// does after a loss, and closes no connection.
type network struct {
	net.Listener
	kind, to string
	arrivals sync.RWMutex // while locked, new connections get no answer

	mu    sync.Mutex
	links []*link
}

// A link is one connection through the network.
type link struct {
	in, out net.Conn
	packets sync.RWMutex // while locked, no packet arrives
}

// newNetwork returns a network to the server with the DSN, and the DSN through it.
func newNetwork(t testing.TB, engine, dsn string) (*network, string) {
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

// open returns the number of open connections.
func (n *network) open() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.links)
}

// cut delays the packets of some of the open connections, or of all, until heal is
// called.
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

// down delays all packets and new connections until heal is called.
func (n *network) down() (heal func()) {
	n.arrivals.Lock()
	healLinks := n.cut(math.MaxInt)
	return sync.OnceFunc(func() {
		healLinks()
		n.arrivals.Unlock()
	})
}

// A validation is the result of one call of Validate.
type validation struct {
	began time.Time
	took  time.Duration
	err   error
}

// validateSteadily validates with short pauses, in one goroutine for each holder. It
// returns a function that stops the goroutines and returns the results.
func validateSteadily(t testing.TB, auth *tokenauth.Service, holders []holder) (stop func() []validation) {
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

// An outage has a Service whose pool, with default settings, leads through a network. A
// second Service with a direct pool measures how busy the machine is.
type outage struct {
	network              *network
	reads                *statementCounter
	stop, stopUnaffected func() []validation
}

// cutTimeout is long enough to tell a timeout from the delays of a busy machine.
const cutTimeout = 1500 * time.Millisecond

func startOutage(t *trial.T, engine string) *outage {
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
		auth, err := tokenauth.New(reads, noUsers{}, &tokenauth.Options{Timeout: cutTimeout, Logger: quiet})
		if err != nil {
			t.Fatal(err)
		}
		return reads, auth
	}
	reads, auth := open(cuttable)
	_, unaffected := open(dsn)
	holders := issueToEach(t, auth, 40)
	o := &outage{n, reads, validateSteadily(t, auth, holders), validateSteadily(t, unaffected, holders[:4])}
	eventually(t, "two connections are open", func() bool { return n.open() == 2 })
	return o
}

// end stops the validations. It returns their results, and the time limit for validations
// that the cut does not affect.
func (o *outage) end(t *trial.T) (all []validation, bound time.Duration) {
	t.Helper()
	busy := longest(o.stopUnaffected())
	all = o.stop()
	eventually(t, "each statement has ended", func() bool { return o.reads.inProgress.Load() == 0 })
	return all, 200*time.Millisecond + 4*busy
}

// expectDeadline checks that a validation failed at its deadline, not earlier.
func expectDeadline(t *trial.T, v validation, bound time.Duration) {
	t.Helper()
	// Calls that begin together share a deadline, which may be 1/40 early.
	if !errors.Is(v.err, tokenauth.ErrUnavailable) || errors.Is(v.err, tokenauth.ErrInvalidToken) || v.took < cutTimeout*9/10 {
		t.Errorf("a validation failed after %v: %v", v.took, v.err)
	}
	if v.took > cutTimeout+bound {
		t.Late(fmt.Errorf("a validation failed after %v, want %v to %v", v.took, cutTimeout, cutTimeout+bound))
	}
}

// A connection that never answers delays only the callers of the statement on it. Other
// callers use another connection, or a new one if both are dead.
func TestDeadConnectionsDelayNoOtherValidation(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		engine string
		cut    int
	}{{"postgres", 1}, {"postgres", 2}, {"mariadb", 2}} {
		t.Run(fmt.Sprint(test.engine, " ", test.cut), func(t *testing.T) {
			t.Parallel()
			trial.Run(t, func(t *trial.T) { deadConnectionsDelayNoOtherValidation(t, test.engine, test.cut) })
		})
	}
}

func deadConnectionsDelayNoOtherValidation(t *trial.T, engine string, cut int) {
	o := startOutage(t, engine)
	heal := o.network.cut(cut)
	t.Cleanup(heal)
	time.Sleep(cutTimeout + 200*time.Millisecond)
	all, bound := o.end(t)
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
	statements, slots := int(o.reads.failed.Load()), int(o.reads.failedSlots.Load())
	switch limit := min(bound, cutTimeout*9/10); {
	case statements != cut || slots != failed: // on a busy machine, another statement may time out
		t.Late(fmt.Errorf("%d validations and %d statements for %d slots failed, on %d dead connections", failed, statements, slots, cut))
	case most > limit:
		t.Late(fmt.Errorf("a validation took %v, longer than %v", most, limit))
	}
}

// Late packets reach only the callers that wait for them. When the network is back,
// validations work as before.
func TestValidationsWorkWhenTheNetworkIsBack(t *testing.T) {
	t.Parallel()
	for _, length := range []time.Duration{400 * time.Millisecond, cutTimeout + 200*time.Millisecond} {
		t.Run(length.String(), func(t *testing.T) {
			t.Parallel()
			trial.Run(t, func(t *trial.T) { validationsWorkWhenTheNetworkIsBack(t, length) })
		})
	}
}

func validationsWorkWhenTheNetworkIsBack(t *trial.T, length time.Duration) {
	o := startOutage(t, "postgres")
	began := time.Now()
	heal := o.network.down()
	t.Cleanup(heal)
	time.Sleep(length)
	heal()
	healed := time.Now()
	time.Sleep(cutTimeout + 500*time.Millisecond) // validations that began before have ended by then
	all, bound := o.end(t)
	failed, after := 0, 0
	for _, v := range all {
		switch {
		case v.began.After(healed):
			after++
			if v.err != nil || v.took > bound {
				t.Late(fmt.Errorf("after the network is back, a validation takes %v, error %v", v.took, v.err))
			}
		case v.err != nil:
			failed++
			expectDeadline(t, v, bound)
		}
	}
	t.Logf("%d validations in %v, %d failed, %d began after the outage", len(all), time.Since(began), failed, after)
	if short := length < cutTimeout/2; short && failed > 0 || !short && failed == 0 {
		t.Late(fmt.Errorf("%d validations failed", failed))
	}
	if after == 0 {
		t.Late(errors.New("there was no validation after the outage"))
	}
}
