package tokenauth

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/bearerkit/bearerkit/tokenauth/internal/accesstoken"
)

// A feed is a Storage that has Watch and no other method that works.
type feed struct{ Storage }

func (feed) Watch(context.Context, time.Duration, Invalidator) error { return nil }

// newCached returns a Service whose cache already holds the token of
// accessToken.
func newCached(t *testing.T) (s *Service, accessToken string) {
	t.Helper()
	s, err := New(feed{}, anyAuthenticator{}, &Options{Cache: new(CacheOptions)})
	if err != nil {
		t.Fatal(err)
	}
	(&subscription{changeFeed: s.feed, began: func() {}}).Heartbeat(time.Now().Add(time.Hour))
	token := Token{Slot: SlotOf("alice", ""), ExpiresAt: time.Now().Add(time.Hour), Principal: Principal{Roles: []string{"Reader"}}}
	accessToken, token.Digest = accesstoken.Mint("tat_", token.Slot.bytes())
	_, l, _ := s.cache.enter(token.Slot, &token.Digest, true)
	s.cache.keep(l, &token, 0)
	return s, accessToken
}

// Not parallel: AllocsPerRun counts the allocations of the whole process.
func TestCacheHitAllocatesNothing(t *testing.T) {
	s, accessToken := newCached(t)
	if n := testing.AllocsPerRun(1000, func() {
		if _, err := s.validate(t.Context(), accessToken); err != nil {
			t.Fatal(err)
		}
	}); n > 0.1 {
		t.Errorf("a cache hit makes %v allocations, want 0", n)
	}
}

// A request gets one context and one copy, however many guards it passes.
//
// Not parallel: AllocsPerRun counts the allocations of the whole process.
func TestGuardsAllocateTwice(t *testing.T) {
	s, accessToken := newCached(t)
	reached := 0
	var handler http.Handler = http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached++ })
	r := httptest.NewRequest("GET", "/", nil)
	r.Header.Set("Authorization", "Bearer "+accessToken)
	w := httptest.NewRecorder()
	for i, guard := range []func(http.Handler) http.Handler{s.RequireBearer, s.RequireRole("Reader"), s.Optional} {
		handler = guard(handler)
		if n := testing.AllocsPerRun(1000, func() {
			clear(w.Header()) // each response has its own
			handler.ServeHTTP(w, r)
		}); n > 2.1 {
			t.Errorf("%d guards make %v allocations, want 2", i+1, n)
		}
	}
	if reached != 3*1001 {
		t.Errorf("the handler was called %d times, want %d", reached, 3*1001)
	}
}
