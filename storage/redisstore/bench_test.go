package redisstore_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/bearerkit/bearerkit/internal/throwaway"
	"github.com/bearerkit/bearerkit/tokenauth"
)

const benchTokens = 1000

// BenchmarkStore compares the store, and a service on it, with bare commands of
// the same client that read and write as much.
//
// The two take turns every few hundred calls within one run, because the speed of
// a machine varies from second to second. The metric "ratio" is the throughput of
// the store divided by that of the bare command.
func BenchmarkStore(b *testing.B) {
	client := open(b, option(b, throwaway.Redis(b)))
	prefix := newPrefix(b, client)
	s := newStore(b, client, prefix)
	auth := service(b, s, tokenauth.Options{})
	accessTokens := make([]string, benchTokens)
	slots := make([]tokenauth.Slot, benchTokens)
	names, fields := make([]string, benchTokens), make([]string, benchTokens)
	var value string
	for i := range accessTokens {
		user := fmt.Sprint("user", i)
		accessTokens[i] = issue(b, auth, user, "")
		slots[i] = tokenauth.SlotOf(user, "")
		names[i], fields[i] = key(prefix, slots[i].User), fmt.Sprintf("%x", slots[i].Client[:])
		var err error
		if value, err = client.Do(b.Context(), client.B().Hget().Key(names[i]).Field(fields[i]).Build()).ToString(); err != nil {
			b.Fatal(err)
		}
	}
	hget := func(i int) error {
		_, err := client.Do(b.Context(), client.B().Hget().Key(names[i]).Field(fields[i]).Build()).ToString()
		return err
	}
	// The service sets a deadline for each call, so the bare command has one too.
	timed := func(i int) error {
		ctx, cancel := context.WithTimeout(b.Context(), 2*time.Second)
		defer cancel()
		_, err := client.Do(ctx, client.B().Hget().Key(names[i]).Field(fields[i]).Build()).ToString()
		return err
	}
	// hset writes to keys of its own, because validate needs the tokens
	// unchanged.
	hset := func(i int) error {
		return client.Do(b.Context(), client.B().Hset().Key(prefix+names[i]).FieldValue().FieldValue(fields[i], value).Build()).Error()
	}
	read := rueidis.NewLuaScriptReadOnly(`return redis.call('HGET', KEYS[1], ARGV[1])`)
	for _, goroutines := range []int{1, 16, 64} {
		b.Run(fmt.Sprint("find/", goroutines), func(b *testing.B) {
			takeTurns(b, goroutines, func(i int) error { _, err := s.Find(b.Context(), slots[i]); return err }, hget)
		})
		b.Run(fmt.Sprint("validate/", goroutines), func(b *testing.B) {
			takeTurns(b, goroutines, func(i int) error { _, err := auth.Validate(b.Context(), accessTokens[i]); return err }, timed)
		})
	}
	// The bare client reads as many fields, in one pipeline.
	hgets := func(i, n int) error {
		ctx, cancel := context.WithTimeout(b.Context(), 2*time.Second)
		defer cancel()
		commands := make(rueidis.Commands, n)
		for k := range commands {
			at := (i + k) % benchTokens
			commands[k] = client.B().Hget().Key(names[at]).Field(fields[at]).Build()
		}
		for _, answer := range client.DoMulti(ctx, commands...) {
			if _, err := answer.ToString(); err != nil {
				return err
			}
		}
		return nil
	}
	for _, n := range []int{1, 4, 16, 64} {
		for _, goroutines := range []int{1, 2, 4} {
			b.Run(fmt.Sprintf("batch of %d/%d", n, goroutines), func(b *testing.B) {
				takeTurns(b, goroutines, func(i int) error {
					ctx, cancel := context.WithTimeout(b.Context(), 2*time.Second)
					defer cancel()
					_, err := s.FindBatch(ctx, slots[i:min(i+n, benchTokens)])
					return err
				}, func(i int) error { return hgets(i, min(n, benchTokens-i)) })
			})
		}
	}
	for _, goroutines := range []int{16, 64} {
		// A script that only reads shows the cost of a script as such.
		b.Run(fmt.Sprint("script/", goroutines), func(b *testing.B) {
			takeTurns(b, goroutines, func(i int) error {
				return read.Exec(b.Context(), client, names[i:i+1], fields[i:i+1]).Error()
			}, hset)
		})
		b.Run(fmt.Sprint("issue/", goroutines), func(b *testing.B) {
			takeTurns(b, goroutines, func(i int) error {
				_, err := auth.Issue(b.Context(), tokenauth.Principal{UserID: fmt.Sprint("another", i), UserName: "somebody", Roles: []string{"Reader"}, Stamp: "stamp"}, nil)
				return err
			}, hset)
		})
	}
}

func takeTurns(b *testing.B, goroutines int, ours, bare func(i int) error) {
	b.ReportAllocs()
	const slice = 512
	var took [2]time.Duration
	for done := 0; done < b.N; done += slice {
		order := []int{0, 1}
		if (done/slice)%2 == 1 {
			order = []int{1, 0}
		}
		for _, which := range order {
			do := ours
			if which == 1 {
				do = bare
			}
			took[which] += inParallel(b, goroutines, min(slice, b.N-done), do)
		}
	}
	b.ReportMetric(float64(took[0].Nanoseconds())/float64(b.N), "ours-ns/op")
	b.ReportMetric(float64(took[1].Nanoseconds())/float64(b.N), "bare-ns/op")
	b.ReportMetric(float64(took[1])/float64(took[0]), "ratio")
	b.ReportMetric(0, "ns/op")
}

func inParallel(b *testing.B, goroutines, n int, do func(i int) error) time.Duration {
	var next atomic.Int64
	var wg sync.WaitGroup
	began := time.Now()
	for range goroutines {
		wg.Go(func() {
			random := rand.New(rand.NewPCG(1, uint64(began.UnixNano())))
			for next.Add(1) <= int64(n) {
				if err := do(random.IntN(benchTokens)); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	return time.Since(began)
}
