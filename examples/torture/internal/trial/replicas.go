package trial

import (
	"context"
	"time"

	"github.com/bearerkit/bearerkit/tokenauth"
)

// Replicas is the number of [tokenauth.Service] replicas that share the storage.
const Replicas = 3

// Allowance is how much longer than the lease a cache may accept an ended token. It is
// for goroutines that decided in time but then waited for a processor.
const Allowance = 50 * time.Millisecond

// AwaitFeeds returns when all caches serve, or when the context ends. It waits at most
// five seconds for each cache.
func AwaitFeeds(ctx context.Context, replicas ...*tokenauth.Service) {
	for _, auth := range replicas {
		for deadline := time.Now().Add(5 * time.Second); !auth.CacheStats().FeedAlive && time.Now().Before(deadline); time.Sleep(time.Millisecond) {
			if ctx.Err() != nil {
				return
			}
		}
	}
}
