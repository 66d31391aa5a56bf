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

// A member is a Redis server that is not alone.
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

// A failover is a master, and a replica that takes over from it.
//
// Redis answers before its replicas have a change, so one that takes over may
// lack what was confirmed last. What was confirmed before some moment it does
// have, if it was seen to have all that the master had at that moment: that is
// how the time in which changes may be lost is known.
type failover struct {
	tb              testing.TB
	master, replica *member
	// hand asks for one to become the master, while the other lives.
	hand func(ctx context.Context, to *member) error
	// agreed returns when all take one for the master: of the two, those who are
	// told.
	agreed func(ctx context.Context, on *member, told ...*member) error
	// split is how long after that a client may take the other for it, which does
	// not know that it is none any more; zero if it knows.
	split time.Duration
	// rest is how long after one fail-over by hand there may be another.
	rest   time.Duration
	handed time.Time // when the last one was
	// ready is what there is to do before the replica takes over, alert before it
	// does so by itself, and calm when it has: no other fail-over is wanted then.
	// Tidy is for when the master is there, too.
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

// byHand is a fail-over that somebody asks for. It ends when the master is a
// replica.
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
	if by.Losing = there; f.split == 0 { // nothing is lost
		by.Losing, by.Strike = nil, func(ctx context.Context) (func() error, error) { return there(ctx, noWitness{}) }
	}
	return by
}

// dies is a master that is killed, and its replica takes over. Then more may
// happen, if it is not nil, before that is over.
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

// hangs is a master that hangs until its replica has taken over. It then still
// answers what it was asked, as if it were the master.
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

// takenOver returns when the replica has taken over from a master that is away.
func (f *failover) takenOver(ctx context.Context) error {
	if err := f.agreed(ctx, f.replica, f.replica); err != nil {
		return err
	}
	return f.calm(ctx)
}

// begin begins the time in which changes may be lost: not those of before.
func (f *failover) begin(ctx context.Context, w Witness) error {
	if err := errors.Join(f.ready(ctx), f.alert(ctx)); err != nil {
		return err
	}
	w.MayLose()
	return f.caughtUp(ctx, f.master, f.replica)
}

// handOver makes one the master in place of the other, and returns when all
// know. It asks until it is, since that can be refused for a while after the last
// time, or come to nothing.
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

// killBehind kills the master when its replica has heard nothing of it for a
// while.
func (f *failover) killBehind(ctx context.Context) error {
	f.replica.server.Pause(f.tb)
	defer f.replica.server.Resume(f.tb)
	// Otherwise the system would keep for it what the master has sent.
	if err := f.master.do("CLIENT KILL TYPE replica")(ctx); err != nil {
		return err
	}
	Wait(ctx, 300*time.Millisecond)
	return f.kill(ctx)
}

// comesBack returns when the dead master is there, as a replica.
func (f *failover) comesBack(ctx context.Context) error {
	f.master.server.Start(f.tb)
	return f.follows(ctx, f.master)
}

// follows returns when one is a replica that has what its master has.
func (f *failover) follows(ctx context.Context, m *member) error {
	return m.says(ctx, "replication", "role:slave", "master_link_status:up")
}

// caughtUp returns when a replica has all that its master had when this was
// called.
func (f *failover) caughtUp(ctx context.Context, master, replica *member) error {
	m, err := master.ask(ctx, master.admin, "INFO", "replication")
	if err != nil {
		return err
	}
	answer, _ := m.ToString()
	until, ok := figure(answer, "master_repl_offset")
	if !ok {
		return fmt.Errorf("the master does not say how far it is: %q", answer)
	}
	return replica.until(ctx, func(answer string) bool {
		at, ok := figure(answer, "slave_repl_offset")
		return ok && at >= until
	}, "INFO", "replication")
}

// figure returns what an answer to INFO says of something.
func figure(info, of string) (n int, ok bool) {
	for line := range strings.Lines(info) {
		if text, found := strings.CutPrefix(strings.TrimSpace(line), of+":"); found {
			n, err := strconv.Atoi(text)
			return n, err == nil
		}
	}
	return 0, false
}
