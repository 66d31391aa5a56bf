package main

import (
	"encoding/json"
	"os"
	"testing"
	"time"

	"gorm.io/driver/postgres"
	"gorm.io/gorm"
	"gorm.io/gorm/logger"

	"github.com/bearerkit/bearerkit/storage/gormstore"
	"github.com/bearerkit/bearerkit/storage/gormstore/pgxfeed"
	"github.com/bearerkit/bearerkit/storage/redisstore"
	"github.com/bearerkit/bearerkit/tokenauth"
)

// An order is a command to a replica: issue, revoke, watch or bypasses.
type order struct {
	Do          string
	AccessToken string
	Count       int
}

type replicaAnswer struct {
	AccessTokens []string
	At           int64 // time in Unix nanoseconds; 0 if the token was not refused
	Bypasses     uint64
}

// replica is the role of a child that is a replica of a service with a cache.
func replica(tb testing.TB, args []string, ready func(any)) {
	auth := service(tb, openWatched(tb, args[0], args[1]), &tokenauth.CacheOptions{})
	ready(struct{}{})
	ctx := tb.Context()
	for orders := json.NewDecoder(os.Stdin); ; {
		var o order
		if err := orders.Decode(&o); err != nil {
			return // the parent has ended
		}
		switch o.Do {
		case "issue":
			var a replicaAnswer
			for i := range o.Count {
				a.AccessTokens = append(a.AccessTokens, issue(tb, auth, user(i)))
			}
			ready(a)
		case "revoke":
			if err := auth.Revoke(ctx, o.AccessToken); err != nil {
				tb.Fatal(err)
			}
			ready(replicaAnswer{At: time.Now().UnixNano()})
		case "watch":
			// The first validation fills the cache. Wait for a validation
			// that uses the cache.
			for hits := auth.CacheStats().Hits; auth.CacheStats().Hits == hits; {
				if _, err := auth.Validate(ctx, o.AccessToken); err != nil {
					tb.Fatal(err)
				}
			}
			ready(replicaAnswer{})
			ready(replicaAnswer{At: firstRefusal(tb, auth, o.AccessToken)})
		case "bypasses":
			ready(replicaAnswer{Bypasses: auth.CacheStats().Bypasses})
		}
	}
}

// firstRefusal validates the token until it is refused, and returns the time of the
// refusal in Unix nanoseconds. It gives up after a second and returns 0.
func firstRefusal(tb testing.TB, auth *tokenauth.Service, accessToken string) int64 {
	ctx := tb.Context()
	for began := time.Now(); time.Since(began) < time.Second; {
		for range 16 {
			if _, err := auth.Validate(ctx, accessToken); err != nil {
				return time.Now().UnixNano()
			}
		}
		// Without a pause this loop would take a core from the processes that
		// it waits for. The result includes the pause.
		time.Sleep(10 * time.Microsecond)
	}
	return 0
}

const writers = 16

// signInOnAndOn is the role of a child that issues tokens without a pause, to put
// load on the storage.
func signInOnAndOn(tb testing.TB, args []string, ready func(any)) {
	auth := service(tb, openWatched(tb, args[0], args[1]), &tokenauth.CacheOptions{})
	for g := range writers {
		go func() {
			for i := 0; tb.Context().Err() == nil; i++ {
				auth.Issue(tb.Context(), user(10_000_000+100*g+i%100), nil)
			}
		}()
	}
	ready(struct{}{})
	untilParentEnds()
}

// openWatched opens a storage that notifies the cache of changes.
func openWatched(tb testing.TB, kind, dsn string) tokenauth.Storage {
	if kind == "redis" {
		o, client := openRedis(tb, dsn)
		s, err := redisstore.New(client, nil)
		if err != nil {
			tb.Fatal(err)
		}
		watched, err := redisstore.WithFeed(s, o)
		if err != nil {
			tb.Fatal(err)
		}
		return watched
	}
	db, err := gorm.Open(postgres.Open(dsn), &gorm.Config{Logger: logger.Discard})
	if err != nil {
		tb.Fatal(err)
	}
	pool, err := db.DB()
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { pool.Close() })
	pool.SetMaxOpenConns(writers + 1)
	pool.SetMaxIdleConns(writers + 1)
	if err := gormstore.Migrate(tb.Context(), db, &gormstore.Options{Feed: true}); err != nil {
		tb.Fatal(err)
	}
	s, err := gormstore.New(tb.Context(), db, nil)
	if err != nil {
		tb.Fatal(err)
	}
	watched, err := gormstore.WithFeed(tb.Context(), s, pgxfeed.Listener{})
	if err != nil {
		tb.Fatal(err)
	}
	return watched
}
