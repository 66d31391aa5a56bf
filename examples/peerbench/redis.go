package main

import (
	"fmt"
	"testing"

	"github.com/redis/rueidis"

	"github.com/bearerkit/bearerkit/internal/throwaway"
	"github.com/bearerkit/bearerkit/storage/redisstore"
)

// onRedis measures how much slower a validation is than the Redis command that it
// executes.
func onRedis(tb testing.TB, p plan, r *report) {
	p = p.strict()
	ctx := tb.Context()
	_, client := openRedis(tb, throwaway.Redis(tb))
	store, err := redisstore.New(client, nil)
	if err != nil {
		tb.Fatal(err)
	}
	auth := service(tb, store, nil)
	tokens := issueAll(tb, auth)
	keys, err := client.Do(ctx, client.B().Keys().Pattern("tokenauth:*").Build()).AsStrSlice()
	if err != nil || len(keys) != storedUsers {
		tb.Fatalf("Redis has %d keys, want %d, one for each user; error: %v", len(keys), storedUsers, err)
	}
	fields, err := client.Do(ctx, client.B().Hkeys().Key(keys[0]).Build()).AsStrSlice()
	if err != nil || len(fields) != 1 {
		tb.Fatalf("the hash of a user has %d fields, want 1; error: %v", len(fields), err)
	}

	t := strictTable(p, "Strict validation on Redis", fmt.Sprintf(
		"Validations, or bare reads of the same field (HGET) by rueidis, per second; %d users, one client for both.", storedUsers))
	for _, goroutines := range []int{1, 16, 64, 256} {
		t.add(strictRow(tb, p, r, goroutines, "strict_redis_vs_rueidis", tokens.validate(tb, auth), func(i int) error {
			_, err := client.Do(ctx, client.B().Hget().Key(keys[i%storedUsers]).Field(fields[0]).Build()).AsBytes()
			return err
		})...)
	}
	r.table(t)
}

func openRedis(tb testing.TB, url string) (rueidis.ClientOption, rueidis.Client) {
	o, err := rueidis.ParseURL(url)
	if err != nil {
		tb.Fatal(err)
	}
	client, err := rueidis.NewClient(o)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(client.Close)
	return o, client
}
