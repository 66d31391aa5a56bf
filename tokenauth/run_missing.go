package tokenauth

import (
	"context"
	"time"
)

// runGrace is how long after [New] a host may take to call [Service.Run] before
// the Service logs a warning.
const runGrace = 30 * time.Second

// warnRunNotCalled logs once that [Service.Run] was not called, if some of
// Run's work is needed. The Service calls it where the missing work has an
// effect: when a token is stored or has expired, or when the cache cannot be
// used.
func (s *Service) warnRunNotCalled(ctx context.Context) {
	age := time.Since(s.created)
	if s.runCalled.Load() || age < runGrace {
		return
	}
	if undone := s.undone(age); len(undone) > 0 && !s.runCalled.Swap(true) {
		s.options.Logger.WarnContext(ctx, "tokenauth: some work is not done, because Service.Run was not called", "undone", undone)
	}
}

// undone describes the work that is not done because Run was not called. The
// parameter age is the time since [New].
func (s *Service) undone(age time.Duration) (undone []string) {
	if s.cache != nil {
		undone = append(undone, "the cache is not used: each validation asks the storage")
	}
	if s.uses != nil {
		undone = append(undone, "it is not recorded when tokens are used: "+s.options.unrecordedUses())
	}
	if s.keys != nil && s.uses == nil {
		undone = append(undone, "it is not recorded when API keys are used")
	}
	if len(s.revocationQueues()) > 0 {
		undone = append(undone, "a change of a user or a client does not end tokens that are kept in another storage; if a client was changed in a transaction of your own, all its tokens may stay valid")
	}
	// A host that calls Purge itself does not need Run for this.
	if _, ok := s.storage.(Purger); ok && !s.purgeCalled.Load() && age >= s.options.PurgeInterval {
		undone = append(undone, "expired tokens stay in the storage, unless another process calls Run")
	}
	return undone
}
