package gormstore_test

import (
	"database/sql"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gorm.io/gorm"

	"github.com/bearerkit/bearerkit/internal/throwaway"
	"github.com/bearerkit/bearerkit/storage/gormstore"
	"github.com/bearerkit/bearerkit/tokenauth"
)

const benchTokens = 1000

// BenchmarkStore compares the service with bare prepared statements of the driver that
// read and write the same rows. Both use 16 goroutines.
//
// They take turns every few hundred calls within one run, because the speed of a
// machine varies. The metric "ratio" is the service's throughput divided by that of
// the bare statements.
func BenchmarkStore(b *testing.B) {
	for _, e := range engines {
		b.Run(e.name, func(b *testing.B) {
			s, db := e.store(b)
			auth, err := tokenauth.New(s, s.Users(), &tokenauth.Options{Logger: quiet})
			if err != nil {
				b.Fatal(err)
			}
			accessTokens := make([]string, benchTokens)
			for i := range accessTokens {
				accessTokens[i] = issue(b, auth, i)
			}
			bare := prepareBare(b, e, db)
			b.Run("validate", func(b *testing.B) {
				takeTurns(b, 16,
					func(i, _ int) error { _, err := auth.Validate(b.Context(), accessTokens[i]); return err },
					func(i, _ int) error { return bare.find(b, i) })
			})
			b.Run("issue", func(b *testing.B) {
				takeTurns(b, 16,
					func(i, _ int) error { _, err := auth.Issue(b.Context(), benchPrincipal(i), nil); return err },
					func(i, _ int) error { return bare.replace(b, i) })
			})
		})
	}
}

// BenchmarkFindBatch compares FindBatch with one Find for each slot, in turns. The metric
// "ratio" is how many times faster FindBatch is.
func BenchmarkFindBatch(b *testing.B) {
	for _, e := range engines {
		b.Run(e.name, func(b *testing.B) {
			s, db := e.store(b)
			fillTokens(b, e, db, 0, 10*benchTokens)
			slots := make([]tokenauth.Slot, benchTokens)
			for i := range slots {
				slots[i] = batchToken(7 * i).Slot
			}
			for _, n := range []int{1, 4, 16, 64} {
				for _, goroutines := range []int{1, 2, 16} {
					b.Run(fmt.Sprintf("%d slots/%d", n, goroutines), func(b *testing.B) {
						some := func(i int) []tokenauth.Slot { i = min(i, benchTokens-n); return slots[i : i+n] }
						takeTurns(b, goroutines,
							func(i, _ int) error { _, err := s.FindBatch(b.Context(), some(i)); return err },
							func(i, _ int) error {
								for _, slot := range some(i) {
									if _, err := s.Find(b.Context(), slot); err != nil {
										return err
									}
								}
								return nil
							})
					})
				}
			}
		})
	}
}

// BenchmarkDevices compares PostgreSQL tables in which each user has tokens on ten devices
// ("ours") with tables in which each user has one ("bare"), in turns. Each token has a
// recorded use. There are 2,000 users, or 100,000 with TOKENAUTH_LONG=1.
//
// A sign-in of Service.Issue lists the user's tokens, to bound their number. So it takes
// longer with ten devices. The statement that stores the token is "replace".
func BenchmarkDevices(b *testing.B) {
	users := 2 * benchTokens
	if throwaway.Long() {
		users = 100_000
	}
	db := engines[1].open(b, nil)
	one, ten := newDeviceTables(b, db, "one_", users, 1), newDeviceTables(b, db, "ten_", users, 10)
	if err := db.Exec(`VACUUM ANALYZE`).Error; err != nil {
		b.Fatal(err)
	}
	for _, call := range []struct {
		name string
		do   func(deviceTables, int) error
	}{
		{"validate", func(t deviceTables, i int) error {
			_, err := t.auth.Validate(b.Context(), t.accessTokens[i])
			return err
		}},
		{"list", func(t deviceTables, i int) error {
			tokens, err := t.store.List(b.Context(), t.issued[i].Slot.User)
			if err == nil && (len(tokens) != t.devices || tokens[0].LastSeen.IsZero()) {
				err = fmt.Errorf("%d tokens", len(tokens))
			}
			return err
		}},
		{"replace", func(t deviceTables, i int) error { return t.store.Replace(b.Context(), t.issued[i]) }},
		{"issue", func(t deviceTables, i int) error {
			_, err := t.auth.Issue(b.Context(), benchPrincipal(i), &tokenauth.IssueOptions{Device: "device0"})
			return err
		}},
	} {
		b.Run(call.name, func(b *testing.B) {
			takeTurns(b, 16, func(i, _ int) error { return call.do(ten, i) }, func(i, _ int) error { return call.do(one, i) })
		})
	}
}

// deviceTables are the tables of a service with devices. The first benchTokens users have
// tokens of the service, and the others have tokens that fill the tables.
type deviceTables struct {
	store        *gormstore.Store
	auth         *tokenauth.Service
	devices      int
	accessTokens []string // of the first device of each user
	issued       []tokenauth.Token
}

func newDeviceTables(b *testing.B, db *gorm.DB, prefix string, users, devices int) deviceTables {
	b.Helper()
	s := newStore(b, db, &gormstore.Options{TablePrefix: prefix})
	auth, err := tokenauth.New(s, s.Users(), &tokenauth.Options{Logger: quiet, Devices: &tokenauth.DeviceOptions{}})
	if err != nil {
		b.Fatal(err)
	}
	t := deviceTables{store: s, auth: auth, devices: devices}
	for i := range benchTokens {
		for device := range devices {
			issued, err := auth.Issue(b.Context(), benchPrincipal(i), &tokenauth.IssueOptions{Device: fmt.Sprint("device", device)})
			if err != nil {
				b.Fatal(err)
			}
			if device == 0 {
				t.accessTokens = append(t.accessTokens, issued.AccessToken.Reveal())
				t.issued = append(t.issued, issued.Token)
			}
		}
	}
	for _, statement := range []string{
		`INSERT INTO ` + prefix + `tokens (user_key, client_key, format, digest, issued_at, expires_at, client_id, user_id, user_name, roles, attributes, stamp, device, device_name, issued_ms)
			SELECT decode(md5(i::text), 'hex'), decode(md5('device' || d), 'hex'), 1, sha256((i || ' ' || d)::bytea), extract(epoch FROM now()), extract(epoch FROM now()) + 1209600,
			'', 'user' || i, 'somebody', 'Reader', '{}', 'stamp', 'device' || d, 'a phone', 123 FROM generate_series(?::int, ?::int) AS i, generate_series(1, ?::int) AS d ORDER BY md5((i + d)::text)`,
		`INSERT INTO ` + prefix + `uses SELECT user_key, client_key, digest, issued_at FROM ` + prefix + `tokens`,
	} {
		args := []any{benchTokens + 1, users, devices}
		if strings.Contains(statement, "uses") {
			args = nil
		}
		if err := db.Exec(statement, args...).Error; err != nil {
			b.Fatal(err)
		}
	}
	return t
}

func benchPrincipal(i int) tokenauth.Principal {
	return tokenauth.Principal{UserID: fmt.Sprint("user", i), UserName: "somebody", Roles: []string{"Reader"}, Stamp: "stamp"}
}

func issue(b *testing.B, auth *tokenauth.Service, i int) string {
	b.Helper()
	grant, err := auth.Issue(b.Context(), benchPrincipal(i), nil)
	if err != nil {
		b.Fatal(err)
	}
	return grant.AccessToken.Reveal()
}

type bareStatements struct{ findStmt, replaceStmt *sql.Stmt }

func prepareBare(b *testing.B, e engine, db *gorm.DB) bareStatements {
	b.Helper()
	pool, err := db.DB()
	if err != nil {
		b.Fatal(err)
	}
	find := `SELECT user_key, client_key, format, digest, replaced, issued_at, expires_at, client_id, user_id, user_name, roles, attributes, stamp
		FROM tokenauth_tokens WHERE user_key = ? AND client_key = ?`
	replace := `UPDATE tokenauth_tokens SET digest = ?, issued_at = ?, expires_at = ? WHERE user_key = ? AND client_key = ?`
	if e.name == "postgres" {
		find = `SELECT user_key, client_key, format, digest, replaced, issued_at, expires_at, client_id, user_id, user_name, roles, attributes, stamp
			FROM tokenauth_tokens WHERE user_key = $1 AND client_key = $2`
		replace = `UPDATE tokenauth_tokens SET digest = $1, issued_at = $2, expires_at = $3 WHERE user_key = $4 AND client_key = $5`
	}
	var s bareStatements
	if s.findStmt, err = pool.Prepare(find); err != nil {
		b.Fatal(err)
	}
	if s.replaceStmt, err = pool.Prepare(replace); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { s.findStmt.Close(); s.replaceStmt.Close() })
	return s
}

func (s bareStatements) find(b *testing.B, i int) error {
	slot := tokenauth.SlotOf(fmt.Sprint("user", i), "")
	var user, client, digest, replaced []byte
	var format, issued, expires int64
	var clientID, userID, name, roles, attributes, stamp string
	return s.findStmt.QueryRowContext(b.Context(), slot.User[:], slot.Client[:]).Scan(
		&user, &client, &format, &digest, &replaced, &issued, &expires, &clientID, &userID, &name, &roles, &attributes, &stamp)
}

func (s bareStatements) replace(b *testing.B, i int) error {
	slot := tokenauth.SlotOf(fmt.Sprint("user", i), "")
	digest := tokenauth.Digest{byte(i), byte(i >> 8)}
	now := time.Now().Unix()
	_, err := s.replaceStmt.ExecContext(b.Context(), digest[:], now, now+1209600, slot.User[:], slot.Client[:])
	return err
}

func takeTurns(b *testing.B, goroutines int, ours, bare func(i, n int) error) {
	b.ReportAllocs()
	const slice = 512
	var took [2]time.Duration
	for _, do := range []func(i, n int) error{ours, bare} { // connects and prepares
		inParallel(b, goroutines, slice, do)
	}
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

// inParallel calls do n times from several goroutines, with the index of a random token
// and the number of the call.
func inParallel(b *testing.B, goroutines, n int, do func(i, call int) error) time.Duration {
	var next atomic.Int64
	var wg sync.WaitGroup
	began := time.Now()
	for range goroutines {
		wg.Go(func() {
			random := rand.New(rand.NewPCG(1, uint64(began.UnixNano())))
			for {
				call := int(next.Add(1)) - 1
				if call >= n {
					return
				}
				if err := do(random.IntN(benchTokens), call); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	return time.Since(began)
}
