package gormstore_test

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"gorm.io/driver/postgres"
	"gorm.io/gorm"

	"github.com/bearerkit/bearerkit/internal/throwaway"
	"github.com/bearerkit/bearerkit/storage/gormstore"
	"github.com/bearerkit/bearerkit/storage/gormstore/pgxfeed"
	"github.com/bearerkit/bearerkit/tokenauth"
)

// BenchmarkFeed measures the cost of the feed's trigger for sign-ins on PostgreSQL, with
// 16 goroutines. A sign-in that replaces a token notifies; a user's first one does not.
func BenchmarkFeed(b *testing.B) {
	for _, feed := range []bool{false, true} {
		db := openDialector(b, postgres.Open(throwaway.Postgres(b)), nil)
		auth := service(b, newStore(b, db, &gormstore.Options{Feed: feed}), noUsers{})
		issued := 0
		for _, replacing := range []bool{false, true} {
			b.Run(fmt.Sprintf("feed=%v/replacing=%v", feed, replacing), func(b *testing.B) {
				users := make([]tokenauth.Principal, b.N)
				for i := range users {
					users[i] = benchPrincipal(i % benchTokens)
					if !replacing {
						issued++
						users[i].UserID = fmt.Sprint("first", issued)
					}
				}
				if replacing {
					for i := range benchTokens {
						issue(b, auth, i)
					}
				}
				b.ResetTimer()
				took := inParallel(b, 16, b.N, func(_, n int) error {
					_, err := auth.Issue(b.Context(), users[n], nil)
					return err
				})
				b.ReportMetric(float64(b.N)/took.Seconds(), "issues/s")
				b.ReportMetric(0, "ns/op")
			})
		}
	}
}

// BenchmarkHeartbeat measures the cost of heartbeats at the default lease, without other
// load. It reports the share of one core that the server takes, the share that this
// process with all replicas takes, and the rows that are written. The run with zero
// replicas is the base line.
func BenchmarkHeartbeat(b *testing.B) {
	const beat, window = 2 * time.Second / 4, 10 * time.Second
	for _, replicas := range []int{0, 1, 10} {
		b.Run(fmt.Sprintf("replicas=%d", replicas), func(b *testing.B) {
			for range b.N {
				dsn := throwaway.StartPostgres(b).DSN()
				db := openDialector(b, postgres.Open(dsn), nil)
				newStore(b, db, &gormstore.Options{Feed: true})
				ctx, cancel := context.WithCancel(b.Context())
				var watching sync.WaitGroup
				for range replicas {
					feed := new(counting)
					w := watcher(b, openDialector(b, postgres.Open(dsn), nil))
					watching.Go(func() { w.Watch(ctx, beat, feed) })
					for feed.alive.Load() < 2 {
						time.Sleep(time.Millisecond)
					}
				}
				server, process, rows := serverTime(b, db), processTime(b), writtenRows(b, db)
				time.Sleep(window)
				b.ReportMetric(100*(serverTime(b, db)-server).Seconds()/window.Seconds(), "%core-server")
				b.ReportMetric(100*(processTime(b)-process).Seconds()/window.Seconds(), "%core-process")
				b.ReportMetric((writtenRows(b, db)-rows)/window.Seconds(), "rows/s")
				b.ReportMetric(0, "ns/op")
				cancel()
				watching.Wait()
			}
		})
	}
}

func watcher(tb testing.TB, db *gorm.DB) tokenauth.Watcher {
	tb.Helper()
	s, err := gormstore.New(tb.Context(), db, nil)
	if err != nil {
		tb.Fatal(err)
	}
	w, err := gormstore.WithFeed(tb.Context(), s, pgxfeed.Listener{})
	if err != nil {
		tb.Fatal(err)
	}
	return w.(tokenauth.Watcher)
}

// serverTime returns the CPU time of the server's processes that have a connection. It
// needs Linux.
func serverTime(tb testing.TB, db *gorm.DB) (sum time.Duration) {
	tb.Helper()
	var pids []int
	if err := db.Raw(`SELECT pid FROM pg_stat_activity`).Scan(&pids).Error; err != nil {
		tb.Fatal(err)
	}
	for _, pid := range pids {
		sum += cpuTime(tb, strconv.Itoa(pid))
	}
	return sum
}

func processTime(tb testing.TB) time.Duration { return cpuTime(tb, "self") }

func cpuTime(tb testing.TB, pid string) time.Duration {
	tb.Helper()
	stat, err := os.ReadFile("/proc/" + pid + "/stat")
	if err != nil {
		tb.Skip(err)
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	fields := strings.Fields(rest) // from the third on, see proc(5)
	user, _ := strconv.Atoi(fields[11])
	system, _ := strconv.Atoi(fields[12])
	const tick = 10 * time.Millisecond
	return time.Duration(user+system) * tick
}

func writtenRows(tb testing.TB, db *gorm.DB) (n float64) {
	tb.Helper()
	time.Sleep(1100 * time.Millisecond) // until the other sessions' statistics are visible
	if err := db.Raw(`SELECT n_tup_upd FROM pg_stat_user_tables WHERE relname = 'tokenauth_tokens'`).Scan(&n).Error; err != nil {
		tb.Fatal(err)
	}
	return n
}

// BenchmarkRevocationReachesReplica measures the time from the start of a revocation to
// the invalidation at another replica.
func BenchmarkRevocationReachesReplica(b *testing.B) {
	dsn := throwaway.Postgres(b)
	s := newStore(b, openDialector(b, postgres.Open(dsn), nil), &gormstore.Options{Feed: true})
	auth := service(b, s, noUsers{})
	feed := &latest{invalidated: make(chan time.Time, 1)}
	ctx, cancel := context.WithCancel(b.Context())
	w := watcher(b, openDialector(b, postgres.Open(dsn), nil))
	var watching sync.WaitGroup
	watching.Go(func() { w.Watch(ctx, 500*time.Millisecond, feed) })
	defer watching.Wait()
	defer cancel()
	for feed.alive.Load() == 0 {
		time.Sleep(time.Millisecond)
	}
	var took []time.Duration
	for b.Loop() {
		issue(b, auth, 1)
		began := time.Now()
		if err := s.RevokeUser(b.Context(), tokenauth.UserKeyOf(benchPrincipal(1).UserID)); err != nil {
			b.Fatal(err)
		}
		took = append(took, (<-feed.invalidated).Sub(began))
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "p50-ms")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "p99-ms")
}

type latest struct {
	counting
	invalidated chan time.Time
}

func (l *latest) Invalidate(tokenauth.UserKey) { l.invalidated <- time.Now() }
