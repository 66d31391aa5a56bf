package main

import (
	"context"
	"time"

	"github.com/redis/rueidis"

	"github.com/bearerkit/bearerkit/examples/quickstart/service"
	"github.com/bearerkit/bearerkit/storage/redisstore"
	"github.com/bearerkit/bearerkit/tokenauth"
)

// openRedis opens a store with tokens in Redis and users in memory.
func openRedis(ctx context.Context, storeURL string, feed bool) (*service.Store, error) {
	option, err := rueidis.ParseURL(storeURL)
	if err != nil {
		return nil, invalidURL("redis")
	}
	option.DisableCache = true            // the store does not use the client's cache
	option.ConnWriteTimeout = time.Second // requests on a lost connection fail after a second instead of ten
	s, err := service.OpenMemory(ctx, storeURL, feed)
	if err != nil {
		return nil, err
	}
	client, err := rueidis.NewClient(option)
	if err != nil {
		return nil, err
	}
	if s.Tokens, err = openTokens(client, option, feed); err != nil {
		client.Close()
		return nil, err
	}
	s.Close = func() error { client.Close(); return nil }
	return s, nil
}

func openTokens(client rueidis.Client, option rueidis.ClientOption, feed bool) (tokenauth.Storage, error) {
	s, err := redisstore.New(client, nil)
	if err != nil || !feed {
		return s, err
	}
	return redisstore.WithFeed(s, option)
}
