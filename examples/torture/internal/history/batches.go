package history

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bearerkit/bearerkit/examples/torture/internal/plant"
	"github.com/bearerkit/bearerkit/examples/torture/internal/trial"
	"github.com/bearerkit/bearerkit/tokenauth"
)

// Batches runs the trial "batches". Services without a cache look tokens up in
// batches. Many concurrent histories use the same replicas, so that look-ups wait and
// share statements. Each history must be linearizable. Every other generation of
// replicas has faults, and half of both kinds have refresh tokens. The trial fails if no statement had two slots or more.
func Batches(tb testing.TB, e *trial.Env) {
	var o outcomes
	var sizes batchSizes
	before := e.Histories.Load()
	var handles []tokenauth.Storage
	for range trial.Replicas {
		s := batchFinder(e.Backend.Connect(tb), e.Backend.Name)
		if s == nil {
			tb.Errorf("batches: the storage %s is not a BatchFinder", e.Backend.Name)
			return
		}
		handles = append(handles, s)
	}
	const perGeneration, atOnce = 64, 16
	for generation := uint64(0); generation == 0 || !e.Over(); generation++ {
		rng := rand.New(rand.NewPCG(e.Seed, 1<<34+generation))
		rate := 0.0
		if generation%2 == 1 {
			rate = 0.02
		}
		s := newSetting(e, &o, rate)
		if generation/2%2 == 0 {
			s.refreshes(rng, generation/4*2+generation%2, atOnce)
		}
		s.answers = true // a Service returns an error if it gets another slot's token
		for i := range trial.Replicas {
			faulty := &batchedChaos{newChaos(handles[i], rate, rng.Uint64()), handles[i].(tokenauth.BatchFinder)}
			storage := e.Planted(faulty, rng.Uint64()) // the plant is outside, and so sees the faults
			refresher, ok := storage.(tokenauth.Refresher)
			if !ok { // the plants of this trial do not refresh
				refresher = faulty
			}
			s.add(tb, &measured{storage, refresher, storage.(tokenauth.BatchFinder), &sizes}, nil)
		}
		each(atOnce, func(worker int) {
			for i := uint64(worker); i < perGeneration; i += atOnce {
				n := generation*perGeneration + i
				if n >= atOnce && e.Over() { // each worker makes at least one history
					return
				}
				p := drawPlan(rand.New(rand.NewPCG(e.Seed, n)), fmt.Sprintf("batches %d %d", e.Seed, n), 0)
				p.recent = true // so that several callers look the same token up at once
				s.judge(tb, "batches", n, p, 0)
			}
		})
	}
	section := o.section(e, "Histories in batches", "Services without a cache look tokens up in batches, for many concurrent histories. Each history must be linearizable.", halfRefresh, before)
	section.Note("%s", &sizes)
	e.Report.Add(section)
	if sizes.batches.Load() == 0 && tb.Context().Err() == nil {
		tb.Errorf("batches: the trial tested nothing: none of %d calls of FindBatch had two slots or more", sizes.calls.Load())
	}
}

// batchFinder returns the storage if it is a [tokenauth.BatchFinder]. It adds a
// FindBatch to the memory storage. Otherwise it returns nil.
func batchFinder(s tokenauth.Storage, name string) tokenauth.Storage {
	if _, ok := s.(tokenauth.BatchFinder); ok {
		return s
	}
	if name == "memory" {
		refresher, _ := s.(tokenauth.Refresher)
		return &findsEach{s, refresher}
	}
	return nil
}

// A findsEach is a [tokenauth.BatchFinder] that calls Find for each slot. It takes
// about as long as a database server.
type findsEach struct {
	tokenauth.Storage
	tokenauth.Refresher
}

// FindBatch implements [tokenauth.BatchFinder].
func (f *findsEach) FindBatch(ctx context.Context, slots []tokenauth.Slot) ([]tokenauth.Found, error) {
	time.Sleep(rand.N(plant.Moment / 2))
	found := make([]tokenauth.Found, len(slots))
	for i, slot := range slots {
		found[i].Token, found[i].Err = f.Find(ctx, slot)
	}
	time.Sleep(rand.N(plant.Moment / 2))
	return found, nil
}

// batchSizes counts the calls of [tokenauth.BatchFinder.FindBatch] and their slots.
// Batches is the number of calls with two slots or more.
type batchSizes struct{ calls, batches, slots, largest atomic.Int64 }

func (b *batchSizes) String() string {
	return fmt.Sprintf("Of %d calls of FindBatch, %d had two slots or more. All calls together had %d slots, and the largest call had %d.",
		b.calls.Load(), b.batches.Load(), b.slots.Load(), b.largest.Load())
}

// A measured is a [tokenauth.BatchFinder] that counts its calls.
type measured struct {
	tokenauth.Storage
	tokenauth.Refresher
	finder tokenauth.BatchFinder
	sizes  *batchSizes
}

func (m *measured) FindBatch(ctx context.Context, slots []tokenauth.Slot) ([]tokenauth.Found, error) {
	n := int64(len(slots))
	m.sizes.calls.Add(1)
	m.sizes.slots.Add(n)
	if n > 1 {
		m.sizes.batches.Add(1)
	}
	for {
		largest := m.sizes.largest.Load()
		if n <= largest || m.sizes.largest.CompareAndSwap(largest, n) {
			return m.finder.FindBatch(ctx, slots)
		}
	}
}
