package main

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/bearerkit/bearerkit/ginadapter"
	"github.com/bearerkit/bearerkit/storage/memory"
	"github.com/bearerkit/bearerkit/tokenauth"
)

func bare(_ testing.TB, name string, users []tokenauth.Principal) contestant {
	c := contestant{
		name:    name,
		handler: engine(nil, func(c *gin.Context) string { return c.GetHeader("X-User") }),
	}
	for _, u := range users {
		r := request()
		r.Header.Set("X-User", u.UserID)
		c.good = append(c.good, r)
	}
	return c
}

func cached(tb testing.TB, name string, users []tokenauth.Principal) contestant {
	auth := service(tb, new(memory.Store), &tokenauth.CacheOptions{})
	return ours(tb, name, auth, users)
}

// cachedAndRead is like the maker cached, except that the handler reads the token,
// which copies the token.
func cachedAndRead(tb testing.TB, name string, users []tokenauth.Principal) contestant {
	auth := service(tb, new(memory.Store), &tokenauth.CacheOptions{})
	c := ours(tb, name, auth, users)
	c.handler = engineOf(ginadapter.RequireBearer(auth), userID, func(c *gin.Context) {
		if t, ok := ginadapter.From(c); ok && t.Principal.HasRole("Reader") {
			c.Status(204)
		}
	})
	return c
}

func strict(tb testing.TB, name string, users []tokenauth.Principal) contestant {
	return ours(tb, name, service(tb, new(memory.Store), nil), users)
}

// ours returns a contestant with the guard of auth and a token for each of the
// users.
func ours(tb testing.TB, name string, auth *tokenauth.Service, users []tokenauth.Principal) contestant {
	var accessTokens []string
	for _, u := range users {
		accessTokens = append(accessTokens, issue(tb, auth, u))
	}
	revoked := issue(tb, auth, user(1_000_000_000))
	if err := auth.Revoke(tb.Context(), revoked); err != nil {
		tb.Fatal(err)
	}
	c := contestant{name: name, handler: engine(ginadapter.RequireBearer(auth), userID)}.withBearers(accessTokens)
	c.bad = append(c.bad, bearer(revoked))
	return c
}

func userID(c *gin.Context) string {
	t, _ := ginadapter.From(c)
	return t.Principal.UserID
}

func issue(tb testing.TB, auth *tokenauth.Service, p tokenauth.Principal) string {
	grant, err := auth.Issue(tb.Context(), p, nil)
	if err != nil {
		tb.Fatal(err)
	}
	return grant.AccessToken.Reveal()
}

// service returns a [tokenauth.Service]. If cache is nil, the Service reads the
// storage on each validation. Otherwise it validates from its cache, and its
// Run method runs until the test ends.
func service(tb testing.TB, s tokenauth.Storage, cache *tokenauth.CacheOptions) *tokenauth.Service {
	auth, err := tokenauth.New(s, nil, &tokenauth.Options{Cache: cache, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		tb.Fatal(err)
	}
	return running(tb, auth)
}

// running runs the Service in the background if it has a cache, until the test ends. It
// returns when the cache serves.
func running(tb testing.TB, auth *tokenauth.Service) *tokenauth.Service {
	if auth.Options().Cache == nil {
		return auth
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { auth.Run(ctx) })
	tb.Cleanup(func() { cancel(); wg.Wait() })
	for range 1000 {
		if auth.CacheStats().FeedAlive {
			return auth
		}
		time.Sleep(10 * time.Millisecond)
	}
	tb.Fatal("the cache did not receive the changes of the storage within 10 seconds")
	return nil
}
