package tokenauth

import (
	"context"
	"testing"
	"time"

	"github.com/bearerkit/bearerkit/tokenauth/internal/accesstoken"
)

// A feed is a storage with a feed and nothing else.
type feed struct{ Storage }

func (feed) Watch(context.Context, time.Duration, Invalidator) error { return nil }

// Not parallel: AllocsPerRun counts what the whole process allocates.
func TestCacheHitAllocatesNothing(t *testing.T) {
	s, err := New(feed{}, anyAuthenticator{}, &Options{Cache: new(CacheOptions)})
	if err != nil {
		t.Fatal(err)
	}
	(&subscription{tokenCache: s.cache, began: func() {}}).Heartbeat(time.Now().Add(time.Hour))
	token := Token{Slot: SlotOf("alice", ""), ExpiresAt: time.Now().Add(time.Hour)}
	var accessToken string
	accessToken, token.Digest = accesstoken.Mint("tat_", token.Slot.bytes())
	_, l, _ := s.cache.enter(token.Slot, &token.Digest, true)
	s.cache.keep(l, &token)
	if n := testing.AllocsPerRun(1000, func() {
		if _, err := s.validate(t.Context(), accessToken); err != nil {
			t.Fatal(err)
		}
	}); n > 0.1 {
		t.Errorf("a hit makes %v allocations", n)
	}
}
