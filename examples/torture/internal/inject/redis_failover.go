package inject

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/bearerkit/bearerkit/internal/throwaway"
)

// A member is a Redis server of a cluster, or of a master with a replica.
type member struct {
	*redisServer
	server  *throwaway.Server
	address string
}

func newMember(tb testing.TB, s *throwaway.Server) *member {
	tb.Helper()
	option, err := rueidis.ParseURL(s.DSN())
	must(tb, err)
	return &member{newRedisServer(tb, option), s, option.InitAddress[0]}
}

// A failover is a master and a replica that takes over from it.
//
// Redis confirms a change before its replicas have it, so a replica that takes over may
// lack the latest changes. Before the fault, the trial waits until the replica has
// everything that the master had at some moment. Changes confirmed before that moment
// are not lost, later ones may be.
type failover struct {
	tb              testing.TB
	master, replica *member
	// hand asks for one of both to become the master while the other runs.
	hand func(ctx context.Context, to *member) error
	// agreed returns when all servers recognize the member as the master. Of the two
	// members, only those in told must.
	agreed func(ctx context.Context, on *member, told ...*member) error
	// split is how long after that a client may still use the old master, which does
	// not know that it was replaced. It is zero if the old master knows.
	split time.Duration
	// rest is the minimum time between two fail-overs by hand.
	rest   time.Duration
	handed time.Time // the last fail-over by hand
	// ready prepares a fail-over. Alert lets the replica take over by itself. Calm
	// prevents another fail-over after that. Tidy is called when the old master runs
	// again, and restores the state before the fault.
	ready, alert, calm, tidy func(context.Context) error
}

func (f *failover) faults() []*Fault {
	list := []*Fault{
		f.byHand("fail-over by hand", "0"),
		f.dies("fail-over, master killed", f.kill, nil),
		f.dies("fail-over, master killed while its replica lags", f.killBehind, nil),
		f.dies("fail-over, master killed and back", f.kill, f.comesBack),
		f.hangs("fail-over, master hangs and goes on"),
	}
	if f.split > 0 {
		list = append(list, f.byHand("fail-over by hand, min-replicas-to-write 1", "1"))
	}
	return list
}

// byHand returns a [Fault] in which the operator asks for a fail-over. It ends when the
// old master is a replica.
func (f *failover) byHand(name, minReplicas string) *Fault {
	set := func(ctx context.Context, to string) error {
		return errors.Join(f.master.do("CONFIG SET min-replicas-to-write "+to)(ctx), f.replica.do("CONFIG SET min-replicas-to-write "+to)(ctx))
	}
	by := &Fault{Name: name, Tidy: f.tidy}
	there := func(ctx context.Context, w Witness) (func() error, error) {
		err := errors.Join(f.ready(ctx), set(ctx, minReplicas))
		if err == nil {
			err = f.handOver(ctx, w, f.replica, f.master)
		}
		return func() error { return errors.Join(f.follows(ctx, f.master), set(ctx, "0")) }, err
	}
	if by.Losing = there; f.split == 0 { // no change can be lost
		by.Losing, by.Strike = nil, func(ctx context.Context) (func() error, error) { return there(ctx, noWitness{}) }
	}
	return by
}

// dies returns a [Fault] in which kill kills the master and the replica takes over. If
// then is not nil, it is called before the fault is over.
func (f *failover) dies(name string, kill, then func(context.Context) error) *Fault {
	return &Fault{Name: name, Losing: func(ctx context.Context, w Witness) (func() error, error) {
		if err := f.begin(ctx, w); err != nil {
			return nil, err
		}
		err := kill(ctx)
		w.LosesNoMore()
		return func() error {
			err := f.takenOver(ctx)
			if err == nil && then != nil {
				err = then(ctx)
			}
			return err
		}, err
	}, Tidy: func(ctx context.Context) error {
		f.master.server.Start(f.tb)
		return f.tidy(ctx)
	}}
}

// hangs returns a [Fault] in which the master is paused until its replica has taken over.
// When it resumes, it first answers the waiting requests as if it were the master.
func (f *failover) hangs(name string) *Fault {
	return &Fault{Name: name, Losing: func(ctx context.Context, w Witness) (func() error, error) {
		if err := f.begin(ctx, w); err != nil {
			return nil, err
		}
		f.master.server.Pause(f.tb)
		return func() error {
			err := f.takenOver(ctx)
			f.master.server.Resume(f.tb)
			if err == nil {
				err = f.agreed(ctx, f.replica, f.replica, f.master)
			}
			Wait(ctx, f.split)
			w.LosesNoMore()
			return errors.Join(err, f.follows(ctx, f.master))
		}, nil
	}, Tidy: f.tidy}
}

// takenOver returns when the replica has taken over from a master that is down.
func (f *failover) takenOver(ctx context.Context) error {
	if err := f.agreed(ctx, f.replica, f.replica); err != nil {
		return err
	}
	return f.calm(ctx)
}

// begin begins the time in which changes may be lost. When it returns, earlier
// changes are safe.
func (f *failover) begin(ctx context.Context, w Witness) error {
	if err := errors.Join(f.ready(ctx), f.alert(ctx)); err != nil {
		return err
	}
	w.MayLose()
	return f.caughtUp(ctx, f.master, f.replica)
}

// handOver makes to the master in place of from, and returns when all servers
// recognize it. It asks repeatedly, because Redis may refuse a fail-over soon after
// another, or ignore it.
func (f *failover) handOver(ctx context.Context, w Witness, to, from *member) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	Wait(ctx, time.Until(f.handed.Add(f.rest)))
	defer func() { f.handed = time.Now() }()
	w.MayLose()
	defer w.LosesNoMore()
	if err := f.caughtUp(ctx, from, to); err != nil {
		return err
	}
	for {
		err := f.hand(ctx, to)
		if err == nil {
			tried, cancel := context.WithTimeout(ctx, 6*time.Second)
			err = f.agreed(tried, to, to)
			cancel()
		}
		if err == nil {
			break
		}
		if Wait(ctx, 50*time.Millisecond); ctx.Err() != nil {
			return err
		}
	}
	Wait(ctx, f.split)
	return nil
}

func (f *failover) kill(context.Context) error {
	f.master.server.Kill(f.tb)
	return nil
}

// killBehind kills the master after its replica has received nothing for 0.3 s.
func (f *failover) killBehind(ctx context.Context) error {
	f.replica.server.Pause(f.tb)
	defer f.replica.server.Resume(f.tb)
	// Otherwise the operating system would buffer what the master sends.
	if err := f.master.do("CLIENT KILL TYPE replica")(ctx); err != nil {
		return err
	}
	Wait(ctx, 300*time.Millisecond)
	return f.kill(ctx)
}

// comesBack restarts the killed master, and returns when it is a replica.
func (f *failover) comesBack(ctx context.Context) error {
	f.master.server.Start(f.tb)
	return f.follows(ctx, f.master)
}

// follows returns when the member is a replica that is connected to its master.
func (f *failover) follows(ctx context.Context, m *member) error {
	return m.says(ctx, "replication", "role:slave", "master_link_status:up")
}

// caughtUp returns when the replica has everything that the master had at the call.
func (f *failover) caughtUp(ctx context.Context, master, replica *member) error {
	m, err := master.ask(ctx, master.admin, "INFO", "replication")
	if err != nil {
		return err
	}
	answer, _ := m.ToString()
	until, ok := figure(answer, "master_repl_offset")
	if !ok {
		return fmt.Errorf("the master reports no master_repl_offset: %q", answer)
	}
	return replica.until(ctx, func(answer string) bool {
		at, ok := figure(answer, "slave_repl_offset")
		return ok && at >= until
	}, "INFO", "replication")
}

// figure returns the number of a field in an answer to INFO.
func figure(info, of string) (n int, ok bool) {
	for line := range strings.Lines(info) {
		if text, found := strings.CutPrefix(strings.TrimSpace(line), of+":"); found {
			n, err := strconv.Atoi(text)
			return n, err == nil
		}
	}
	return 0, false
}
