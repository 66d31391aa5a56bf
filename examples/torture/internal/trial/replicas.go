package trial

import (
	"context"
	"time"

	"github.com/bearerkit/bearerkit/tokenauth"
)

// Replicas is how many services share the storage.
const Replicas = 3

// Allowance is what a validation may take longer than the lease: a goroutine
// that was just about to accept when its time ran out may have to wait for a
// processor.
const Allowance = 50 * time.Millisecond

// AwaitFeeds returns when all caches serve, or some time has passed.
func AwaitFeeds(ctx context.Context, replicas ...*tokenauth.Service) {
	for _, auth := range replicas {
		for deadline := time.Now().Add(5 * time.Second); !auth.CacheStats().FeedAlive && time.Now().Before(deadline); time.Sleep(time.Millisecond) {
			if ctx.Err() != nil {
				return
			}
		}
	}
}
