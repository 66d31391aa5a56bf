package redisstore_test

import (
	"context"
	"log"

	"github.com/redis/rueidis"

	"github.com/bearerkit/bearerkit/storage/redisstore"
	"github.com/bearerkit/bearerkit/tokenauth"
)

// users checks the passwords of the service's own users.
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
	// Redis removes expired tokens by itself. Run ends the tokens of users and
	// clients that change.
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	go auth.Run(ctx)
}

// With a feed the service can validate from memory. When a token ends on one
// replica, all replicas refuse it a moment later.
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
