package prommetrics_test

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/bearerkit/bearerkit/storage/memory"
	"github.com/bearerkit/bearerkit/tokenauth"
	"github.com/bearerkit/bearerkit/tokenauth/prommetrics"
	"github.com/bearerkit/bearerkit/tokenauth/tokenauthtest"
)

// cached returns a Service whose cache has room for one token.
func cached(t *testing.T) *tokenauth.Service {
	t.Helper()
	auth, err := tokenauth.New(new(memory.Store), new(tokenauthtest.Users), &tokenauth.Options{
		Cache: &tokenauth.CacheOptions{MaxEntries: 1}, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	return auth
}

const figures = `
# HELP tokenauth_cache_entries Tokens in the cache, valid or not.
# TYPE tokenauth_cache_entries gauge
tokenauth_cache_entries %d
# HELP tokenauth_cache_evictions_total Valid tokens that the cache dropped because it was full.
# TYPE tokenauth_cache_evictions_total counter
tokenauth_cache_evictions_total %d
# HELP tokenauth_cache_feed_alive 1 while the feed is alive and the cache may answer, else 0.
# TYPE tokenauth_cache_feed_alive gauge
tokenauth_cache_feed_alive %d
# HELP tokenauth_cache_flushes_total Times that the cache invalidated all tokens.
# TYPE tokenauth_cache_flushes_total counter
tokenauth_cache_flushes_total %d
# HELP tokenauth_cache_invalidations_total Times that the cache invalidated the tokens of a user because one of them ended.
# TYPE tokenauth_cache_invalidations_total counter
tokenauth_cache_invalidations_total %d
# HELP tokenauth_cache_lookups_total Validations, by whether the cache answered.
# TYPE tokenauth_cache_lookups_total counter
tokenauth_cache_lookups_total{result="bypass"} %d
tokenauth_cache_lookups_total{result="hit"} %d
tokenauth_cache_lookups_total{result="miss"} %d
`

func TestCacheStatsAreExported(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		auth := cached(t)
		registry := register(t, prommetrics.New().Cache(auth))
		expect := func(alive int) tokenauth.CacheStats {
			t.Helper()
			s := auth.CacheStats()
			text := fmt.Sprintf(figures, s.Entries, s.Evictions, alive, s.Flushes, s.Invalidations, s.Bypasses, s.Hits, s.Misses)
			if err := testutil.GatherAndCompare(registry, strings.NewReader(text)); err != nil {
				t.Error(err)
			}
			return s
		}
		expect(0)

		validate := func(accessToken string, times int) {
			t.Helper()
			for range times {
				if _, err := auth.Validate(t.Context(), accessToken); err != nil {
					t.Fatal(err)
				}
			}
		}
		issue := func(userID string) string {
			t.Helper()
			return strings.TrimPrefix(tokenauthtest.Bearer(t, auth, tokenauth.Principal{UserID: userID}), "Bearer ")
		}
		validate(issue("17"), 12) // bypasses: Run has not been called
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go auth.Run(ctx)
		synctest.Wait()
		for _, userID := range []string{"17", "42", "43", "44"} {
			validate(issue(userID), 10)
		}
		for range 10 {
			if err := auth.RevokeUser(t.Context(), "44"); err != nil {
				t.Fatal(err)
			}
		}
		got := expect(1)
		// If two statistics were equal, the test could not find that the collector
		// swaps them.
		seen := make(map[uint64]bool)
		for _, n := range []uint64{0, got.Hits, got.Misses, got.Bypasses, got.Invalidations, got.Flushes, got.Evictions} {
			if seen[n] {
				t.Errorf("two of the statistics are equal, or one is 0: %+v", got)
			}
			seen[n] = true
		}
		cancel()
		synctest.Wait()
		expect(0)
	})
}
