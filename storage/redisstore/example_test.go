package redisstore_test

import (
	"context"
	"log"

	"github.com/redis/rueidis"

	"github.com/bearerkit/bearerkit/storage/redisstore"
	"github.com/bearerkit/bearerkit/tokenauth"
)

// The service's own users, whatever they are.
var users tokenauth.Authenticator

func Example() {
	client, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{"127.0.0.1:6379"}})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	store, err := redisstore.New(client, nil)
	if err != nil {
		log.Fatal(err)
	}
	auth, err := tokenauth.New(store, users, nil)
	if err != nil {
		log.Fatal(err)
	}
	// Redis purges, so there is no need for auth.Run.
	_ = auth
}

// With a feed the service may keep tokens in memory: what ends on one replica
// is refused on all of them a moment later.
func ExampleWithFeed() {
	option := rueidis.ClientOption{InitAddress: []string{"10.0.0.1:6379", "10.0.0.2:6379", "10.0.0.3:6379"}}
	client, err := rueidis.NewClient(option)
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	store, err := redisstore.New(client, &redisstore.Options{Prefix: "myservice:tokens:"})
	if err != nil {
		log.Fatal(err)
	}
	watched, err := redisstore.WithFeed(store, option)
	if err != nil {
		log.Fatal(err)
	}
	auth, err := tokenauth.New(watched, users, &tokenauth.Options{Cache: &tokenauth.CacheOptions{}})
	if err != nil {
		log.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	go auth.Run(ctx) // keeps the feed
}
