package tokenauth

import (
	"context"
	"time"
)

// runGrace is how long after [New] a host may take to call [Service.Run].
const runGrace = 30 * time.Second

// warnRunNotCalled logs once that [Service.Run] was not called, if some of its
// work is needed. Callers are places where that shows: a token is stored or has
// expired, or the cache cannot be used.
func (s *Service) warnRunNotCalled(ctx context.Context) {
	age := time.Since(s.created)
	if s.runCalled.Load() || age < runGrace {
		return
	}
	if undone := s.undone(age); len(undone) > 0 && !s.runCalled.Swap(true) {
		s.options.Logger.WarnContext(ctx, "tokenauth: some work is not done, because Service.Run was not called", "undone", undone)
	}
}

// undone returns the work that Run would have done, for a Service of this age.
func (s *Service) undone(age time.Duration) (undone []string) {
	if s.cache != nil {
		undone = append(undone, "the cache does not serve: each validation asks the storage")
	}
	if len(s.revocationQueues()) > 0 {
		undone = append(undone, "a change of a user or a client ends no tokens in another storage; a change of a client in a transaction of the host may end no tokens at all")
	}
	// A host that calls Purge does not need this. Another replica may also do it.
	if _, ok := s.storage.(Purger); ok && !s.purgeCalled.Load() && age >= s.options.PurgeInterval {
		undone = append(undone, "expired tokens stay in the storage, unless another process runs it")
	}
	return undone
}
