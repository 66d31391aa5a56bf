package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/bearerkit/bearerkit/tokenauth"
)

// acceptedEverywhere sends alice's token to each replica once, right after the
// sign-in. It returns an error unless every replica accepts it on that request.
func (s *script) acceptedEverywhere(ctx context.Context) error {
	for _, r := range s.replicas {
		a, err := call(ctx, "GET", r.url()+"/me", s.alice.AccessToken)
		if err := a.wanted(200, err); err != nil {
			return err
		}
	}
	return nil
}

// refusedEverywhere prints how long after an event each replica refused a token.
// It returns an error if a replica takes longer than twice the cache lease. The
// factor of two allows for a busy machine. The printed times include the requests.
func (s *script) refusedEverywhere(ctx context.Context, accessToken string, since time.Time, event string) error {
	ctx, cancel := context.WithTimeout(ctx, 2*lease)
	defer cancel()
	refused := make([]answer, len(s.replicas))
	took := make([]time.Duration, len(s.replicas))
	errs := make([]error, len(s.replicas))
	var wg sync.WaitGroup
	for i, r := range s.replicas {
		wg.Go(func() {
			for errs[i] == nil && refused[i].status != http.StatusUnauthorized {
				refused[i], errs[i] = call(ctx, "GET", r.url()+"/me", accessToken)
				took[i] = time.Since(since)
			}
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("waiting until every replica refuses the token: %w", err)
	}
	var each []string
	for i, r := range s.replicas {
		each = append(each, fmt.Sprintf("%s after %.1f ms", r.name, took[i].Seconds()*1000))
	}
	s.say("Refused %.1f ms after %s (%s):", slices.Max(took).Seconds()*1000, event, strings.Join(each, ", "))
	s.say("“%s”", refused[0].Description)
	return nil
}

// feedsAlive waits until every replica's cache feed is alive, that is, until the
// replica is notified of changes in the database. Until then, a replica bypasses
// its cache and reads the database for each request.
func (s *script) feedsAlive(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	for _, r := range s.replicas {
		for {
			now, err := figures(ctx, r)
			if err != nil {
				return err
			}
			if now.FeedAlive {
				break
			}
			select {
			case <-ctx.Done():
				return fmt.Errorf("%s did not receive notifications of changes in the database: %w", r.name, ctx.Err())
			case <-ticker.C:
			}
		}
	}
	return nil
}

// figures returns the statistics of a replica's cache.
func figures(ctx context.Context, p *process) (stats tokenauth.CacheStats, err error) {
	r, err := http.NewRequestWithContext(ctx, "GET", p.url()+"/cache", nil)
	if err != nil {
		return stats, err
	}
	response, err := client.Do(r)
	if err != nil {
		return stats, err
	}
	defer response.Body.Close()
	return stats, json.NewDecoder(response.Body).Decode(&stats)
}

// shares describes how many requests each replica answered.
func shares(answered map[string]int) string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(answered)) {
		parts = append(parts, fmt.Sprintf("%s answered %d", name, answered[name]))
	}
	return strings.Join(parts, ", ")
}
