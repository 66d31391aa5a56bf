package main

import (
	"fmt"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/bearerkit/bearerkit/internal/throwaway"
	"github.com/bearerkit/bearerkit/storage/redisstore"
)

// onRedis measures what the service adds to the command that it needs.
func onRedis(tb testing.TB, p plan, r *report) {
	p = p.of(100*time.Millisecond, max(2, p.cycles/2))
	ctx := tb.Context()
	_, client := openRedis(tb, throwaway.Redis(tb))
	store, err := redisstore.New(client, nil)
	if err != nil {
		tb.Fatal(err)
	}
	auth := service(tb, store, nil)
	var accessTokens []string
	for i := range storedUsers {
		accessTokens = append(accessTokens, issue(tb, auth, user(i)))
	}
	keys, err := client.Do(ctx, client.B().Keys().Pattern("tokenauth:*").Build()).AsStrSlice()
	if err != nil || len(keys) != storedUsers {
		tb.Fatal(len(keys), " keys for ", storedUsers, " users: ", err)
	}
	fields, err := client.Do(ctx, client.B().Hkeys().Key(keys[0]).Build()).AsStrSlice()
	if err != nil || len(fields) != 1 {
		tb.Fatal(len(fields), " fields for a user: ", err)
	}

	for _, goroutines := range []int{16, 64} {
		figures, err := p.compare(
			concurrently("this project, strict", goroutines, func(i int) error {
				_, err := auth.Validate(ctx, accessTokens[i%storedUsers])
				return err
			}),
			concurrently("bare HGET of rueidis", goroutines, func(i int) error {
				_, err := client.Do(ctx, client.B().Hget().Key(keys[i%storedUsers]).Field(fields[0]).Build()).AsBytes()
				return err
			}))
		if err != nil {
			tb.Fatal(err)
		}
		t := &table{
			title: fmt.Sprintf("Strict validation on Redis, %d goroutines", goroutines),
			about: fmt.Sprintf("Validations, or bare reads of the same field, per second; %d users, one client. Median and spread of %d rounds.", storedUsers, p.rounds),
			head:  []string{"", "per second", "min–max", "ours to this"},
		}
		for _, f := range figures {
			t.add(append(append([]string{f.name}, rates(f)...), times(f.over(figures[0])))...)
		}
		r.table(t)
		name := "strict_redis_vs_rueidis"
		if goroutines != 16 {
			name = fmt.Sprint(name, "_", goroutines)
		}
		r.ratio(name, figures[1].over(figures[0]))
	}
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
