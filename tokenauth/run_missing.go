package tokenauth

import (
	"context"
	"time"
)

// runGrace is how long a host may take to call Run.
const runGrace = 30 * time.Second

// warnRunNotCalled logs once that Run was not called, if work waits for it. It is
// called where that shows: a token is stored or has expired, or the cache cannot
// serve.
func (s *Service) warnRunNotCalled(ctx context.Context) {
	age := time.Since(s.created)
	if s.runCalled.Load() || age < runGrace {
		return
	}
	if undone := s.undone(age); len(undone) > 0 && !s.runCalled.Swap(true) {
		s.options.Logger.WarnContext(ctx, "tokenauth: some work is not done, because Service.Run was not called", "undone", undone)
	}
}

// undone returns what Run would have done in a Service of that age.
func (s *Service) undone(age time.Duration) (undone []string) {
	if s.cache != nil {
		undone = append(undone, "the cache does not serve: each validation asks the storage")
	}
	if len(s.revocationQueues()) > 0 {
		undone = append(undone, "a change of a user or a client ends no token in another storage, and one of a client in a transaction of the host's may end none")
	}
	// Another replica may run it, but a host that purges by itself has no need to.
	if _, ok := s.storage.(Purger); ok && !s.purgeCalled.Load() && age >= s.options.PurgeInterval {
		undone = append(undone, "expired tokens stay in the storage, unless another process runs it")
	}
	return undone
}
