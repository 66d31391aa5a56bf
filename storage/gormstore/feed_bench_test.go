package gormstore_test

import (
	"fmt"
	"testing"

	"gorm.io/driver/postgres"

	"github.com/bearerkit/bearerkit/internal/throwaway"
	"github.com/bearerkit/bearerkit/storage/gormstore"
	"github.com/bearerkit/bearerkit/tokenauth"
)

// BenchmarkFeed tells what the feed's trigger costs a sign-in on PostgreSQL, by
// 16 goroutines: one that replaces a token notifies, and a user's first does
// not.
func BenchmarkFeed(b *testing.B) {
	for _, feed := range []bool{false, true} {
		db := openDialector(b, postgres.Open(throwaway.Postgres(b)), nil)
		auth := service(b, newStore(b, db, &gormstore.Options{Feed: feed}), nobody{})
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
				took := inParallel(b, b.N, func(_, n int) error {
					_, err := auth.Issue(b.Context(), users[n], "")
					return err
				})
				b.ReportMetric(float64(b.N)/took.Seconds(), "issues/s")
				b.ReportMetric(0, "ns/op")
			})
		}
	}
}
