package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bearerkit/bearerkit/tokenauth"
)

// A patient is a storage that has faults.
type patient struct {
	// connect opens a handle, through networks if there are any, one for each
	// of the addresses, which are of the kind network.
	connect   func(tb testing.TB, networks []*network) tokenauth.Storage
	network   string
	addresses []string
	faults    []*fault
	missing   []string // what cannot be done, and why
	// afterwards tells what the server has to say of its faults; nil for nothing.
	afterwards func(context.Context) (string, error)
}

// faulty is whether a storage has faults that are worth a trial.
func faulty(b *backend) bool {
	return b.server != nil || b.name == "sqlite" || b.name == "redis-cluster" || b.name == "redis-sentinel"
}

// faults lets one fault after another befall a storage, under load.
func faults(tb testing.TB, e *env) {
	tb.Helper()
	treat(tb, e, admit(tb, e))
}

func treat(tb testing.TB, e *env, p *patient) {
	tb.Helper()
	ctx, cancel := context.WithCancel(tb.Context())
	t := &timeline{began: time.Now()}
	s := &section{
		title: "Faults",
		about: fmt.Sprintf("One fault at a time on %s, under %d replicas and a steady load. Throughout, no dead token is accepted and no good one refused; %v after a fault has ended, everything is answered right again, without a restart.", e.backend.name, replicas, promptly),
		head:  []string{"fault", "replicas", "lasted s", "right", "503", "wrong or late", "slowest answer s", "last 503 after its end s", "caches serve after s", "revocation heard after ms"},
	}
	w := &ward{env: e, patient: p, section: s, timeline: t, fleets: make(map[string]*fleet), losses: make(map[string]*losses)}
	p.faults = slices.DeleteFunc(p.faults, func(f *fault) bool { return !strings.Contains(f.name, e.only) })
	if len(p.faults) == 0 {
		tb.Fatalf("of the faults none contains %q", e.only)
	}
	var turns []turn
	for _, f := range p.faults {
		turns = append(turns, turn{f, false})
		if e.backend.watched {
			turns = append(turns, turn{f, true})
		}
	}
	// Another order each time, so that short runs come to all of them.
	rng := rand.New(rand.NewPCG(e.seed, 5))
	rng.Shuffle(len(turns), func(i, j int) { turns[i], turns[j] = turns[j], turns[i] })
	defer cancel()
	for n := 0; n == 0 || !e.over(); n++ {
		if !w.round(ctx, tb, turns[n%len(turns)]) {
			break
		}
	}
	cancel()
	w.tellLosses()
	for _, missing := range p.missing {
		s.note("Not done: %s", missing)
	}
	if p.afterwards != nil && tb.Context().Err() == nil {
		told, err := p.afterwards(tb.Context())
		if err != nil {
			tb.Error(err)
		}
		s.note("%s", told)
	}
	s.note("%d rounds, of %d that there are.", len(s.rows), len(turns))
	if e.report.folder != os.TempDir() {
		file, err := e.report.plot("faults-"+e.backend.name, "Answers under faults", "seconds", "answers per second", t.series()...)
		if err != nil {
			tb.Error(err)
		} else {
			s.plots = append(s.plots, file)
		}
	}
	e.report.add(s)
}

// A turn is a fault and whose turn it is: the replicas with a cache, or those
// without.
type turn struct {
	*fault
	cached bool
}

// admit makes a patient of the backend.
func admit(tb testing.TB, e *env) *patient {
	tb.Helper()
	switch b := e.backend; b.name {
	case "postgres":
		return admitPostgres(tb, b)
	case "postgres-standby":
		return admitPair(tb, e)
	case "mariadb", "mysql":
		return admitMariaDB(tb, b)
	case "redis":
		return admitRedis(tb, b)
	case "redis-cluster":
		return admitCluster(tb)
	case "redis-sentinel":
		return admitSentinel(tb)
	default:
		return admitSQLite(tb, b)
	}
}
