package inject

import (
	"context"
	"database/sql"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"

	"gorm.io/driver/postgres"

	"github.com/bearerkit/bearerkit/examples/torture/internal/network"
	"github.com/bearerkit/bearerkit/examples/torture/internal/store"
	"github.com/bearerkit/bearerkit/internal/throwaway"
	"github.com/bearerkit/bearerkit/storage/gormstore/pgxfeed"
	"github.com/bearerkit/bearerkit/tokenauth"
)

// A pair is a PostgreSQL primary and its standby, which change roles. Before most
// faults, both run and every commit waits for the standby.
type pair struct {
	tb               testing.TB
	primary, standby *side
	whole            bool // whether the standby follows the primary
	asynchronous     bool // the plant: no commit ever waits
}

// A side is a server of a pair, as its operator sees it.
type side struct {
	*throwaway.Server
	admin *sql.DB
	data  string // the data folder
}

func newPair(tb testing.TB, b *store.Backend) *pair {
	tb.Helper()
	return &pair{tb: tb, primary: newSide(tb, b.Server), standby: newSide(tb, b.Standby), whole: true}
}

func newSide(tb testing.TB, server *throwaway.Server) *side {
	tb.Helper()
	s := &side{Server: server, admin: openAdmin(tb, "pgx", server.DSN())}
	must(tb, s.admin.QueryRowContext(tb.Context(), "SHOW data_directory").Scan(&s.data))
	return s
}

func pairTarget(tb testing.TB, b *store.Backend, asynchronous bool) *Target {
	tb.Helper()
	p := newPair(tb, b)
	p.asynchronous = asynchronous
	must(tb, p.primary.do(makeLowly...)(tb.Context()))
	near, err := url.Parse(b.DSN)
	must(tb, err)
	near.User = url.User(lowly)
	fromPool := false
	return &Target{Faults: p.faults(), Connect: func(tb testing.TB, _ []*network.Network) tokenauth.Storage {
		// Every second feed uses a connection of the pool, the others one of their own.
		listener := &pgxfeed.Listener{DSN: near.String()}
		if fromPool = !fromPool; fromPool {
			listener.DSN = ""
		}
		return store.OpenGORM(tb, postgres.Open(near.String()), listener)
	}}
}

func (s *side) do(statements ...string) func(context.Context) error {
	return execute(s.admin, statements...)
}

func (p *pair) faults() []*Fault {
	stop := func(context.Context) error { p.primary.Stop(p.tb); return nil }
	kill := func(context.Context) error { p.primary.Kill(p.tb); return nil }
	return []*Fault{
		p.failOver("switch-over: primary stopped, standby promoted", 0, stop),
		p.failOver("fail-over: primary killed, standby promoted", whileItLasts, kill),
		// The standby lacks what the primary commits after the cut.
		p.failOver("fail-over: standby cut off, primary killed, standby promoted", whileItLasts, func(ctx context.Context) error {
			if err := p.standby.do("ALTER SYSTEM SET primary_conninfo = ''", "SELECT pg_reload_conf()")(ctx); err != nil {
				return err
			}
			Wait(ctx, time.Second)
			return kill(ctx)
		}),
		// The primary keeps its connections and accepts new ones but does not answer, as
		// behind a network that drops all data. It is killed before it could answer.
		p.failOver("fail-over: primary falls silent, standby promoted", 5*time.Second, func(context.Context) error {
			p.primary.Pause(p.tb)
			return nil
		}),
		// A primary that is stopped, not killed, waits for its standby.
		{Name: "switch-over, asynchronous: primary stopped, standby promoted", Prepare: p.relax, Strike: func(ctx context.Context) (func() error, error) {
			return func() error { return p.promote(ctx) }, stop(ctx)
		}},
		{Name: "old primary back, read-only", Lasts: whileItLasts, Prepare: p.alone, Strike: p.oldReadOnly},
		{Name: "old primary back, as the standby", Prepare: p.alone, Strike: func(ctx context.Context) (func() error, error) {
			return func() error { return nil }, p.rejoin(ctx)
		}},
		{Name: "standby killed, commits wait", Lasts: whileItLasts, Prepare: p.restore, Strike: func(ctx context.Context) (func() error, error) {
			p.standby.Kill(p.tb)
			return func() error { p.standby.Start(p.tb); return p.awaitStandby(ctx) }, nil
		}},
	}
}

// failOver returns a [Fault] in which strike takes the primary away. It is over when the
// standby is the primary.
func (p *pair) failOver(name string, lasts time.Duration, strike func(context.Context) error) *Fault {
	return &Fault{Name: name, Lasts: lasts, Prepare: p.restore, Strike: func(ctx context.Context) (func() error, error) {
		return func() error { return p.promote(ctx) }, strike(ctx)
	}}
}

// promote makes the standby the primary, and returns when it accepts writes.
func (p *pair) promote(ctx context.Context) error {
	if err := p.standby.do("SELECT pg_promote()", write)(ctx); err != nil {
		return err
	}
	p.primary, p.standby, p.whole = p.standby, p.primary, false
	return nil
}

// write is the smallest transaction whose commit waits for the standby.
const write = "SELECT pg_logical_emit_message(true, 'torture', '')"

// alone fails over, and leaves the new primary without a standby.
func (p *pair) alone(ctx context.Context) error {
	if !p.whole {
		p.standby.Kill(p.tb)
		return nil
	}
	if err := p.restore(ctx); err != nil {
		return err
	}
	p.primary.Kill(p.tb)
	return p.promote(ctx)
}

// oldReadOnly starts the old primary again, read-only. The services must not use it.
func (p *pair) oldReadOnly(context.Context) (heal func() error, err error) {
	f, err := os.OpenFile(filepath.Join(p.standby.data, "postgresql.auto.conf"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if _, err := fmt.Fprintln(f, "default_transaction_read_only = on"); err != nil {
		return nil, err
	}
	p.standby.Start(p.tb)
	return func() error { p.standby.Kill(p.tb); return nil }, nil
}

// restore starts the standby if necessary, and returns when commits wait for it.
func (p *pair) restore(ctx context.Context) error {
	if !p.whole {
		if err := p.rejoin(ctx); err != nil {
			return err
		}
	}
	if p.asynchronous {
		return nil
	}
	if err := p.setStandbys(ctx, "*"); err != nil {
		return err
	}
	return until(ctx, p.commitsWait)
}

// rejoin makes the old primary the standby of the new one.
func (p *pair) rejoin(ctx context.Context) error {
	throwaway.RejoinPostgres(p.tb, p.standby.Server, p.primary.Server)
	p.whole = true
	if p.asynchronous {
		return nil
	}
	return p.setStandbys(ctx, "*")
}

// relax starts the standby if necessary, and lets no commit wait for it.
func (p *pair) relax(ctx context.Context) error {
	if err := p.restore(ctx); err != nil {
		return err
	}
	return p.setStandbys(ctx, "")
}

// setStandbys sets for which standbys commits of the primary wait. The setting is not
// copied to the standby: as a primary it waits for none.
func (p *pair) setStandbys(ctx context.Context, names string) error {
	err := p.primary.do("ALTER SYSTEM SET synchronous_standby_names = '"+names+"'", "SELECT pg_reload_conf()")(ctx)
	if err != nil || names == "" {
		return err
	}
	return p.awaitStandby(ctx)
}

// awaitStandby returns when the primary reports that its standby is connected.
func (p *pair) awaitStandby(ctx context.Context) error {
	state := "sync"
	if p.asynchronous {
		state = "async"
	}
	return until(ctx, func(ctx context.Context) (there bool, err error) {
		err = p.primary.admin.QueryRowContext(ctx, "SELECT count(*) = 1 FROM pg_stat_replication WHERE state = 'streaming' AND sync_state = $1", state).Scan(&there)
		return there, err
	})
}

// until calls is until it returns true or an error, for at most 30 seconds.
func until(ctx context.Context, is func(context.Context) (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for {
		if so, err := is(ctx); so || err != nil {
			return err
		}
		if Wait(ctx, 10*time.Millisecond); ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

// commitsWait reports whether a commit waits for the standby. It tries a commit,
// because some processes of the primary may not have applied its settings yet.
func (p *pair) commitsWait(ctx context.Context) (bool, error) {
	p.standby.Pause(p.tb)
	defer p.standby.Resume(p.tb)
	soon, cancel := context.WithTimeout(ctx, 200*time.Millisecond)
	defer cancel()
	_, err := p.primary.admin.ExecContext(soon, write)
	if err != nil && soon.Err() != nil {
		return true, ctx.Err()
	}
	return false, err
}
