//go:build unix

package storage_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/bearerkit/bearerkit/internal/throwaway"
	"github.com/bearerkit/bearerkit/tokenauth"
)

// A processFigures is what a replica with streams uses.
type processFigures struct {
	Goroutines int
	Bytes      uint64        // of live objects and of stacks
	CPU        time.Duration // user and system time since its start
}

func init() { figures = answerFigures }

// answerFigures answers with the processFigures of this process.
func answerFigures(w http.ResponseWriter, r *http.Request) {
	var f processFigures
	if r.FormValue("memory") != "" {
		runtime.GC()
		runtime.GC()
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	f.Goroutines, f.Bytes = runtime.NumGoroutine(), m.HeapAlloc+m.StackInuse
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	f.CPU = time.Duration(used.Utime.Nano() + used.Stime.Nano())
	json.NewEncoder(w).Encode(f)
}

// BenchmarkStreams opens 10,000 streams, each with a token of its own, at a replica
// in another process. It reports what they cost there: bytes and goroutines with
// those of net/http, CPU time at rest, how long single revocations of this process
// take to reach their streams, the duration and CPU time of a revocation of all, and
// the goroutines and memory that are left afterwards.
//
//	go test -run '^$' -bench Streams -benchtime 1x ./storage
func BenchmarkStreams(b *testing.B) {
	for _, c := range []streamsConfig{{Engine: "postgres"}, {Engine: "postgres", Cache: true}, {Engine: "redis"}, {Engine: "redis", Cache: true}, {Engine: "mariadb"}} {
		b.Run(fmt.Sprintf("%s/cache=%v", c.Engine, c.Cache), func(b *testing.B) {
			c.Interval = 5 * time.Second
			switch c.Engine {
			case "postgres":
				c.DSN = throwaway.StartPostgres(b).DSN()
			case "redis":
				c.DSN = throwaway.StartRedis(b).DSN()
			case "mariadb":
				c.DSN = throwaway.StartMariaDB(b).DSN()
			}
			for range b.N {
				benchmarkStreams(b, c)
			}
			b.ReportMetric(0, "ns/op")
		})
	}
}

func benchmarkStreams(b *testing.B, c streamsConfig) {
	const n, singly = 10_000, 200
	storage, db, err := c.open(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	if db != nil {
		pool, err := db.DB()
		if err != nil {
			b.Fatal(err)
		}
		defer pool.Close()
	}
	auth, err := tokenauth.New(storage, nil, &tokenauth.Options{Timeout: time.Minute, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		b.Fatal(err)
	}
	url := startStreams(b, c)
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	measure := func(query string) (f processFigures) {
		response, err := client.Get(strings.TrimSuffix(url, "/events") + "/figures" + query)
		if err != nil {
			b.Fatal(err)
		}
		defer response.Body.Close()
		if err := json.NewDecoder(response.Body).Decode(&f); err != nil {
			b.Fatal(err)
		}
		return f
	}
	concurrently := func(do func(i int)) {
		var wg sync.WaitGroup
		for worker := range 16 {
			wg.Go(func() {
				for i := worker; i < n; i += 16 {
					do(i)
				}
			})
		}
		wg.Wait()
	}
	issued := make([]tokenauth.IssuedToken, n)
	concurrently(func(i int) {
		id := fmt.Sprint("user", i)
		var err error
		if issued[i], err = auth.Issue(b.Context(), tokenauth.Principal{UserID: id, UserName: id}, nil); err != nil {
			b.Error(err)
		}
	})
	before := measure("?memory=1")
	streams := make([]*remoteStream, n)
	concurrently(func(i int) { streams[i] = openRemote(b, client, url, issued[i]) })
	time.Sleep(10 * time.Second) // the streams are checked once after they are opened
	open := measure("?memory=1")
	b.ReportMetric(float64(int64(open.Bytes)-int64(before.Bytes))/n, "B/stream")
	b.ReportMetric(float64(open.Goroutines-before.Goroutines)/n, "goroutines/stream")

	const rest = 15 * time.Second
	resting := measure("")
	time.Sleep(rest)
	b.ReportMetric(100*float64(measure("").CPU-resting.CPU)/float64(rest), "%CPU-at-rest")

	var ended []time.Time
	for _, s := range streams[:singly] {
		if err := auth.Revoke(b.Context(), s.text); err != nil {
			b.Fatal(err)
		}
		ended = append(ended, time.Now())
		time.Sleep(20 * time.Millisecond)
	}
	var took []time.Duration
	for i, s := range streams[:singly] {
		<-s.ended
		took = append(took, s.at.Sub(ended[i]))
	}
	slices.Sort(took)
	b.ReportMetric(took[singly/2].Seconds()*1000, "ms-p50")
	b.ReportMetric(took[singly*99/100].Seconds()*1000, "ms-p99")

	resting = measure("")
	began := time.Now()
	if err := auth.RevokeClient(context.WithoutCancel(b.Context()), ""); err != nil {
		b.Fatal(err)
	}
	revoked := time.Now()
	last := revoked
	for _, s := range streams[singly:] {
		<-s.ended
		if s.at.After(last) {
			last = s.at
		}
	}
	b.ReportMetric(revoked.Sub(began).Seconds(), "s-to-revoke-all")
	b.ReportMetric(last.Sub(revoked).Seconds(), "s-to-end-all-afterwards")
	b.ReportMetric((measure("").CPU - resting.CPU).Seconds(), "CPU-s-to-end-all")

	time.Sleep(2 * time.Second) // the connections close
	left := measure("?memory=1")
	b.ReportMetric(float64(left.Goroutines-before.Goroutines), "goroutines-left")
	b.ReportMetric(float64(int64(left.Bytes)-int64(before.Bytes))/1024, "KiB-left")
}
