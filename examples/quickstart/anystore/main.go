// Anystore is the quickstart with all storages. It takes longer to compile than
// the quickstart.
//
//	go run ./examples/quickstart/anystore [-addr HOST:PORT] [-store STORE] [-cache] [-throttle=off]
//
// STORE is sqlite:PATH, memory:, postgres://…, mysql://…, redis://…, rediss://…
// or unix://PATH (a Redis socket). With Redis, the store holds only the tokens; the
// users are in memory and are created again at each start.
package main

import (
	"context"

	"github.com/bearerkit/bearerkit/examples/internal/stores"
	"github.com/bearerkit/bearerkit/examples/quickstart/service"
	"github.com/bearerkit/bearerkit/storage/gormstore"
	"github.com/bearerkit/bearerkit/storage/gormstore/pgxfeed"
)

func main() {
	service.Main("anystore", map[string]service.Open{
		"memory":     service.OpenMemory,
		"sqlite":     service.OpenSQLite,
		"postgres":   openPostgres,
		"postgresql": openPostgres,
		"mysql":      openMySQL,
		"redis":      openRedis,
		"rediss":     openRedis,
		"unix":       openRedis,
	})
}

func openPostgres(ctx context.Context, storeURL string, feed bool) (*service.Store, error) {
	dialector, err := stores.Postgres(storeURL)
	if err != nil {
		return nil, err
	}
	s, err := service.OpenGORM(ctx, dialector, &gormstore.Options{Feed: feed})
	if err != nil || !feed {
		return s, err
	}
	tokens, err := gormstore.WithFeed(ctx, s.Tokens.(*gormstore.Store), pgxfeed.Listener{})
	if err != nil {
		s.Close()
		return nil, err
	}
	s.Tokens = tokens
	return s, nil
}

func openMySQL(ctx context.Context, storeURL string, feed bool) (*service.Store, error) {
	dialector, err := stores.MySQL(storeURL)
	if err != nil {
		return nil, err
	}
	return service.OpenGORM(ctx, dialector, &gormstore.Options{Feed: feed})
}

// openRedis opens a store with tokens in Redis and users in memory.
func openRedis(ctx context.Context, storeURL string, feed bool) (*service.Store, error) {
	s, err := service.OpenMemory(ctx, storeURL, feed)
	if err != nil {
		return nil, err
	}
	tokens, stop, err := stores.Redis(storeURL, feed)
	if err != nil {
		return nil, err
	}
	s.Tokens, s.Close = tokens, func() error { stop(); return nil }
	return s, nil
}
