package tokenauth

import (
	"context"
	"fmt"
	"sync"
	"time"
)

const (
	// purgeGrace is how long an expired token stays in the storage. It protects
	// valid tokens if a clock is wrong by up to a day.
	purgeGrace = 24 * time.Hour
	// maxClockDifference is the largest difference between the Service's clock
	// and the storage's at which Run still purges.
	maxClockDifference = 5 * time.Minute
)

// Run does the background work until the context ends, and then returns nil. It
// logs failures and tries again. Call it once for each Service, in every
// process:
//
//	go auth.Run(ctx)
//
// Its work is:
//
//   - It purges expired tokens, if the storage is a [Purger]. While the
//     Service's clock differs from the storage's by more than 5 minutes, Run
//     logs an error and does not purge.
//   - It records when tokens were used, and ends idle tokens
//     ([Options.IdleTimeout], [Options.MaxLifetime], [Options.Devices],
//     [Options.Keys]). Without Run, a token in use may end as idle or expired. Run
//     ends no idle tokens while it does not purge.
//   - It follows the storage's feed, which the cache needs ([Options.Cache]).
//     Without Run the cache is never used.
//   - It ends open streams whose token ended ([Requirement.Stream]). Without Run
//     a guard for streams answers 503. When Run returns, it ends all streams.
//   - It ends tokens after a change to a user or a client, if the
//     [Authenticator] or [Options.Clients] is a [RevocationQueue], as
//     gormstore's are. Without Run, a token that is not stored together with
//     the users stays valid after such a change.
//   - It logs a warning if another service keeps its tokens in the same
//     storage, and the storage is a [Lister]. See [Options.Name].
//
// All replicas may call Run at the same time. A second call on the same Service
// while the first call is running logs an error, and the same work is done
// twice.
func (s *Service) Run(ctx context.Context) error {
	s.runCalled.Store(true)
	if s.running.Add(1) > 1 {
		s.options.Logger.ErrorContext(ctx, "tokenauth: Service.Run was called while it is already running: call it once for each Service")
	}
	defer s.running.Add(-1)
	var wg sync.WaitGroup
	if s.feed != nil {
		wg.Go(func() { s.feed.run(ctx) })
	}
	wg.Go(func() { s.streams.run(ctx, s.lookStreamed) })
	if s.uses != nil {
		wg.Go(func() { s.uses.run(ctx) })
	}
	if s.keys != nil && s.keys.uses != s.uses {
		wg.Go(func() { s.keys.uses.run(ctx) })
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
		if s.purgeOnce(ctx) && s.uses != nil {
			s.uses.endIdle(ctx)
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// purgeOnce purges once, or logs why it could not. It reports false if the
// clocks differ, or if it could not read the storage's clock.
func (s *Service) purgeOnce(ctx context.Context) (clocksAgree bool) {
	p, purges := s.storage.(Purger)
	if !purges && s.options.IdleTimeout == 0 {
		return true
	}
	now, ahead, err := s.purgeTime(ctx)
	switch {
	case err != nil:
	case ahead.Abs() > maxClockDifference:
		s.options.Logger.ErrorContext(ctx, "tokenauth: the clock of this process differs from the storage's by more than 5 minutes: Run does not purge or end idle tokens until they agree. If this process's clock is wrong, its tokens expire too early or too late",
			"ahead", ahead.Round(time.Second).String())
	default:
		clocksAgree = true
		if purges {
			_, err = p.Purge(ctx, now.Add(-purgeGrace))
		}
	}
	if err != nil && ctx.Err() == nil {
		s.options.Logger.ErrorContext(ctx, "tokenauth: purge failed", "error", unavailable("purging", err))
	}
	return clocksAgree
}

// Purge removes the tokens that expired more than a day ago by both clocks,
// this Service's and the storage's. It returns how many it removed. Purge does
// nothing if the storage is not a [Purger]. Only the context limits its
// duration. After an error, the tokens that it already removed stay removed.
// [Service.Run] also purges, at regular intervals.
func (s *Service) Purge(ctx context.Context) (removed int64, err error) {
	s.purgeCalled.Store(true)
	p, ok := s.storage.(Purger)
	if !ok {
		return 0, nil
	}
	now, _, err := s.purgeTime(ctx)
	if err == nil {
		removed, err = p.Purge(ctx, now.Add(-purgeGrace))
	}
	if err != nil {
		return removed, unavailable("purging", err)
	}
	return removed, nil
}

// purgeTime returns the earlier of the Service's time and the storage's, and
// how far the Service's clock is ahead of the storage's. If the storage has no
// clock, purgeTime returns the Service's time and 0.
func (s *Service) purgeTime(ctx context.Context) (now time.Time, ahead time.Duration, err error) {
	now = s.options.Now()
	clock, ok := s.storage.(storageClock)
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
