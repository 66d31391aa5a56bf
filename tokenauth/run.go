package tokenauth

import (
	"context"
	"sync"
	"time"
)

// purgeGrace is how long an expired token stays in the storage: a clock that
// was set a day ahead by mistake must not remove anything.
const purgeGrace = 24 * time.Hour

// Run does the background work until the context ends, and returns nil. It logs
// failures and tries again.
//
//   - It purges expired tokens, if the storage is a Purger.
//   - It follows the feed of the cache, if there is one: without Run the cache
//     never serves.
//   - It ends tokens in the storage after a user or a client changed, if the
//     Authenticator or Options.Clients is a RevocationQueue, as those of gormstore
//     are. Without Run, tokens in another storage outlive the change.
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
	s.purgeRepeatedly(ctx)
	wg.Wait()
	return nil
}

func (s *Service) purgeRepeatedly(ctx context.Context) {
	ticker := time.NewTicker(s.options.PurgeInterval)
	defer ticker.Stop()
	for {
		if _, err := s.Purge(ctx); err != nil && ctx.Err() == nil {
			s.options.Logger.ErrorContext(ctx, "tokenauth: purge failed", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// Purge removes the tokens that expired more than a day ago and returns how
// many. It does nothing for a storage that removes them by itself. Only the
// context bounds it. What it removed before an error stays removed.
func (s *Service) Purge(ctx context.Context) (removed int64, err error) {
	p, ok := s.storage.(Purger)
	if !ok {
		return 0, nil
	}
	removed, err = p.Purge(ctx, s.options.Now().Add(-purgeGrace))
	if err != nil {
		return removed, unavailable("purging", err)
	}
	return removed, nil
}
