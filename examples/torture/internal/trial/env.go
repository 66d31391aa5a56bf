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

// An Env is the environment of a [Trial].
type Env struct {
	*report.Tally
	Backend *store.Backend
	Report  *report.Report
	Plant   *plant.Plant // nil for none
	plant.State
	Seed   uint64
	Until  time.Time // when the trial must end
	Only   string    // inject only faults whose names contain it
	Rate   float64   // requests per second of the trial "soak"
	Enough int64     // the trial ends when Histories reaches it; 0 for no limit
	// Patience is for a busy machine. It is added to the maximum time of each recovery,
	// to that of an operator's change, and to that of a stream whose token ended. If it
	// is not zero, caches whose feeds are broken have a longer lease. No cache may accept
	// an ended token beyond its lease.
	Patience time.Duration
}

// Over reports whether the trial must end. A trial with a plant ends at the first
// violation.
func (e *Env) Over() bool {
	if e.Enough > 0 && e.Histories.Load() >= e.Enough {
		return true
	}
	return !time.Now().Before(e.Until) || e.Plant != nil && len(e.Broken()) > 0
}

// Planted returns the storage with the bug of [plant.Plant.Storage], if one is planted.
func (e *Env) Planted(s tokenauth.Storage, seed uint64) tokenauth.Storage {
	if e.Plant == nil || e.Plant.Storage == nil {
		return s
	}
	return e.Plant.Storage(s, &e.State, seed)
}

// PlantedUsers returns the users with the bug of [plant.Plant.Forgetful] or
// [plant.Plant.Users], if one is planted.
func (e *Env) PlantedUsers(d *host.Directory) tokenauth.Authenticator {
	if e.Plant != nil && e.Plant.Forgetful {
		return struct {
			tokenauth.Authenticator
			tokenauth.Reloader
		}{slowly{d}, d}
	}
	if e.Plant != nil && e.Plant.Users != nil {
		return e.Plant.Users(d)
	}
	return d
}

// slowly waits for a moment after it checked the user, so that the user can be disabled
// before the token is stored.
type slowly struct{ *host.Directory }

func (s slowly) Authenticate(ctx context.Context, c tokenauth.Credentials) (tokenauth.Principal, error) {
	p, err := s.Directory.Authenticate(ctx, c)
	time.Sleep(time.Millisecond)
	return p, err
}
