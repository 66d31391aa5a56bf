package trial

import (
	"context"
	"time"

	"github.com/bearerkit/bearerkit/examples/torture/internal/host"
	"github.com/bearerkit/bearerkit/examples/torture/internal/plant"
	"github.com/bearerkit/bearerkit/examples/torture/internal/report"
	"github.com/bearerkit/bearerkit/examples/torture/internal/store"
	"github.com/bearerkit/bearerkit/tokenauth"
)

// An Env is what a trial has to work with.
type Env struct {
	*report.Tally
	Backend *store.Backend
	Report  *report.Report
	Plant   *plant.Plant // nil for none
	plant.State
	Seed   uint64
	Until  time.Time // when to come to an end
	Only   string    // of the faults, those whose names have it
	Rate   float64   // requests a second of a soak
	Enough int64     // histories after which to come to an end; 0 for none
}

// Over reports whether the trial should come to its end.
func (e *Env) Over() bool {
	if e.Enough > 0 && e.Histories.Load() >= e.Enough {
		return true
	}
	return !time.Now().Before(e.Until) || e.Plant != nil && len(e.Broken()) > 0
}

// Planted returns the storage with the bug in it.
func (e *Env) Planted(s tokenauth.Storage, seed uint64) tokenauth.Storage {
	if e.Plant == nil || e.Plant.Storage == nil {
		return s
	}
	return e.Plant.Storage(s, &e.State, seed)
}

func (e *Env) PlantedUsers(d *host.Directory) tokenauth.Authenticator {
	if e.Plant != nil && e.Plant.Forgetful {
		return struct{ tokenauth.Authenticator }{slowly{d}}
	}
	return d
}

// slowly takes a moment between the look at the user and the token, in which
// the user can be disabled.
type slowly struct{ *host.Directory }

func (s slowly) Authenticate(ctx context.Context, c tokenauth.Credentials) (tokenauth.Principal, error) {
	p, err := s.Directory.Authenticate(ctx, c)
	time.Sleep(time.Millisecond)
	return p, err
}
