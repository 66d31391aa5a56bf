package tokenauth

import (
	"context"
	"fmt"
	"sync"
	"time"
)

const (
	// purgeGrace is how long an expired token stays in the storage: a clock that
	// was set a day ahead by mistake must not remove anything.
	purgeGrace = 24 * time.Hour
	// maxClockDifference is how far the clocks of the Service and the storage may
	// be apart while Run purges.
	maxClockDifference = 5 * time.Minute
)

// Run does the background work until the context ends, and returns nil. It logs
// failures and tries again.
//
//   - It purges expired tokens, if the storage is a Purger. It logs at error a
//     clock that differs from the storage's by more than 5 minutes, and does not
//     purge while it does.
//   - It follows the feed of the cache, if there is one: without Run the cache
//     never serves.
//   - It ends tokens in the storage after a user or a client changed, if the
//     Authenticator or Options.Clients is a RevocationQueue, as those of gormstore
//     are. Without Run, tokens in another storage outlive the change.
//   - It looks for another service that keeps its tokens in the same storage by
//     mistake, if the storage is a Lister, and logs it at warn: see Options.Name.
//
// Call it once for each Service. A second call beside the first does the same
// work twice, and is logged at error. Any number of replicas may run it.
func (s *Service) Run(ctx context.Context) error {
	s.runCalled.Store(true)
	if s.running.Add(1) > 1 {
		s.options.Logger.ErrorContext(ctx, "tokenauth: Service.Run was called while it runs already: once for each Service is enough")
	}
	defer s.running.Add(-1)
	var wg sync.WaitGroup
	if s.cache != nil {
		wg.Go(func() { s.cache.run(ctx) })
	}
	wg.Go(func() { s.newRevoker().run(ctx) })
	wg.Go(func() { s.lookForOthers(ctx) })
	s.purgeRepeatedly(ctx)
	wg.Wait()
	return nil
}

func (s *Service) purgeRepeatedly(ctx context.Context) {
	ticker := time.NewTicker(s.options.PurgeInterval)
	defer ticker.Stop()
	for {
		s.purgeOnce(ctx)
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// purgeOnce purges, and logs why if it cannot or must not.
func (s *Service) purgeOnce(ctx context.Context) {
	p, ok := s.storage.(Purger)
	if !ok {
		return
	}
	now, ahead, err := s.purgeTime(ctx, p)
	switch {
	case err != nil:
	case ahead.Abs() > maxClockDifference:
		s.options.Logger.ErrorContext(ctx, "tokenauth: the clock of this process differs from the storage's by more than 5 minutes: Run does not purge until they agree. If this process's clock is wrong, its tokens expire too early or too late",
			"ahead", ahead.Round(time.Second).String())
	default:
		_, err = p.Purge(ctx, now.Add(-purgeGrace))
	}
	if err != nil && ctx.Err() == nil {
		s.options.Logger.ErrorContext(ctx, "tokenauth: purge failed", "error", unavailable("purging", err))
	}
}

// Purge removes the tokens that expired more than a day ago, by this Service's
// clock and the storage's, and returns how many. It does nothing for a storage
// that removes them by itself. Only the context bounds it. What it removed before
// an error stays removed.
func (s *Service) Purge(ctx context.Context) (removed int64, err error) {
	s.purgeCalled.Store(true)
	p, ok := s.storage.(Purger)
	if !ok {
		return 0, nil
	}
	now, _, err := s.purgeTime(ctx, p)
	if err == nil {
		removed, err = p.Purge(ctx, now.Add(-purgeGrace))
	}
	if err != nil {
		return removed, unavailable("purging", err)
	}
	return removed, nil
}

// purgeTime returns the earlier time of the Service's and the storage's, and how
// far the Service's is ahead. It is the one place that looks for the clock of a
// Purger.
func (s *Service) purgeTime(ctx context.Context, p Purger) (now time.Time, ahead time.Duration, err error) {
	now = s.options.Now()
	clock, ok := p.(purgerClock)
	if !ok {
		return now, 0, nil
	}
	call, cancel, err := s.timeout.Call(ctx)
	if err != nil {
		return now, 0, err
	}
	defer cancel()
	storage, err := clock.Now(call)
	if err != nil {
		return now, 0, fmt.Errorf("reading the storage's clock: %w", err)
	}
	ahead = now.Sub(storage)
	if ahead > 0 {
		now = storage
	}
	return now, ahead, nil
}
