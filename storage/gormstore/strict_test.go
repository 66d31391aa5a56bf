package gormstore_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	mysqldriver "github.com/go-sql-driver/mysql"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"gorm.io/driver/mysql"
	"gorm.io/driver/postgres"
	"gorm.io/gorm"

	"github.com/bearerkit/bearerkit/internal/throwaway"
	"github.com/bearerkit/bearerkit/storage/gormstore"
	"github.com/bearerkit/bearerkit/tokenauth"
	"github.com/bearerkit/bearerkit/tokenauth/password"
)

// A countingConnector counts the connections that it opens.
type countingConnector struct {
	driver.Connector
	opened atomic.Int64
}

func (c *countingConnector) Connect(ctx context.Context) (driver.Conn, error) {
	c.opened.Add(1)
	return c.Connector.Connect(ctx)
}

// A statementCounter is a store that counts its reads of tokens.
type statementCounter struct {
	*gormstore.Store
	inProgress, most    atomic.Int64 // concurrent reads, now and at most
	slow                atomic.Int64 // reads so slow that the next may have begun
	failed, failedSlots atomic.Int64 // failed reads, and the slots in them
	largest             atomic.Int64 // the largest number of slots in a read
}

func (c *statementCounter) Find(ctx context.Context, s tokenauth.Slot) (tokenauth.Token, error) {
	end := c.begin(1)
	t, err := c.Store.Find(ctx, s)
	if errors.Is(err, tokenauth.ErrNotFound) || errors.Is(err, tokenauth.ErrCorrupt) {
		end(nil)
	} else {
		end(err)
	}
	return t, err
}

func (c *statementCounter) FindBatch(ctx context.Context, s []tokenauth.Slot) ([]tokenauth.Found, error) {
	end := c.begin(len(s))
	found, err := c.Store.FindBatch(ctx, s)
	end(err)
	return found, err
}

// slowRead is the duration of a read that counts as slow. After 100 ms the Service begins
// the next read. The limit here is lower, because the Service starts its clock earlier.
const slowRead = 80 * time.Millisecond

func (c *statementCounter) begin(slots int) (end func(error)) {
	began := time.Now()
	raise(&c.most, c.inProgress.Add(1))
	raise(&c.largest, int64(slots))
	return func(err error) {
		if time.Since(began) > slowRead {
			c.slow.Add(1)
		}
		if err != nil {
			c.failed.Add(1)
			c.failedSlots.Add(int64(slots))
		}
		c.inProgress.Add(-1)
	}
}

func raise(most *atomic.Int64, n int64) {
	for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
	}
}

// mostReads is the maximum number of concurrent reads, including slow ones.
const mostReads = 16

// expectFewStatements checks that at most two reads ran at once. It allows more if some
// reads were slow because the machine was busy.
func (c *statementCounter) expectFewStatements(t *testing.T) {
	t.Helper()
	if most, slow := c.most.Load(), c.slow.Load(); most > min(2+slow, mostReads) {
		t.Errorf("%d statements ran at once, and %d were slow", most, slow)
	}
	if c.largest.Load() < 2 {
		t.Error("no statement served two callers")
	}
}

// pooled opens a database of the engine with the default settings of the pool.
func pooled(tb testing.TB, engine string) (*gorm.DB, *sql.DB, *countingConnector) {
	tb.Helper()
	var connector driver.Connector
	switch engine {
	case "postgres":
		config, err := pgx.ParseConfig(throwaway.Postgres(tb))
		if err != nil {
			tb.Fatal(err)
		}
		connector = stdlib.GetConnector(*config)
	case "mariadb":
		config, err := mysqldriver.ParseDSN(throwaway.MariaDB(tb))
		if err != nil {
			tb.Fatal(err)
		}
		if connector, err = mysqldriver.NewConnector(config); err != nil {
			tb.Fatal(err)
		}
	}
	c := &countingConnector{Connector: connector}
	pool := openConnector(tb, c)
	return openPool(tb, engine, pool), pool, c
}

// openPool opens a database and keeps the default settings of its pool.
func openPool(tb testing.TB, engine string, pool *sql.DB) *gorm.DB {
	tb.Helper()
	d := postgres.New(postgres.Config{Conn: pool})
	if engine == "mariadb" {
		d = mysql.New(mysql.Config{Conn: pool})
	}
	db, err := gorm.Open(d, &gorm.Config{})
	if err != nil {
		tb.Fatal(err)
	}
	return db
}

// onServers runs a test with PostgreSQL and MariaDB.
func onServers(t *testing.T, test func(t *testing.T, engine string)) {
	t.Parallel()
	for _, engine := range []string{"postgres", "mariadb"} {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			test(t, engine)
		})
	}
}

// busyTimeout is the timeout for calls that may wait for many others on a busy machine.
const busyTimeout = 20 * time.Second

func quietService(tb testing.TB, s tokenauth.Storage, a tokenauth.Authenticator) *tokenauth.Service {
	tb.Helper()
	auth, err := tokenauth.New(s, a, &tokenauth.Options{Logger: quiet, Timeout: busyTimeout, Throttle: tokenauth.ThrottleOptions{InsecureOff: true}})
	if err != nil {
		tb.Fatal(err)
	}
	return auth
}

// A holder is a user with a token.
type holder struct{ id, accessToken string }

func issueToEach(tb testing.TB, auth *tokenauth.Service, n int) []holder {
	tb.Helper()
	all := make([]holder, n)
	for i := range all {
		id := fmt.Sprint("user", i)
		issued, err := auth.Issue(tb.Context(), tokenauth.Principal{UserID: id, UserName: id}, nil)
		if err != nil {
			tb.Fatal(err)
		}
		all[i] = holder{id, issued.AccessToken.Reveal()}
	}
	return all
}

// validate validates the holder's token. It also returns an error if the result is
// another user's token.
func (h *holder) validate(ctx context.Context, auth *tokenauth.Service) error {
	token, err := auth.Validate(ctx, h.accessToken)
	if err == nil && token.Principal.UserID != h.id {
		err = fmt.Errorf("the token of %s is that of %s", h.id, token.Principal.UserID)
	}
	return err
}

// keepValidating validates in n goroutines, at least once in each, until stop is called.
// The function stop returns the number of validations. An error fails the test.
func keepValidating(t *testing.T, auth *tokenauth.Service, holders []holder, n int) (stop func() int64) {
	t.Helper()
	var wg sync.WaitGroup
	var done atomic.Bool
	var validated atomic.Int64
	for i := range n {
		wg.Go(func() {
			for again := true; again; again = !done.Load() {
				h := &holders[i%len(holders)]
				if err := h.validate(t.Context(), auth); err != nil {
					if !done.Swap(true) {
						t.Errorf("validating: %v", err)
					}
					return
				}
				validated.Add(1)
			}
		})
	}
	stop = func() int64 {
		done.Store(true)
		wg.Wait()
		return validated.Load()
	}
	t.Cleanup(func() { stop() })
	return stop
}

func TestValidationsNeedTwoConnections(t *testing.T) {
	onServers(t, func(t *testing.T, engine string) {
		db, pool, connector := pooled(t, engine)
		reads := &statementCounter{Store: newStore(t, db, nil)}
		auth := quietService(t, reads, noUsers{})
		holders := issueToEach(t, auth, 100)
		before, closedBefore := connector.opened.Load(), pool.Stats().MaxIdleClosed

		const goroutines = 256
		stop := keepValidating(t, auth, holders, goroutines)
		for began := time.Now(); time.Since(began) < 700*time.Millisecond; time.Sleep(time.Millisecond) {
			if open := pool.Stats().OpenConnections; open > mostReads+2 { // two of them idle
				t.Errorf("%d connections are open", open)
				break
			}
		}
		validated := stop()
		opened, closed := connector.opened.Load()-before, pool.Stats().MaxIdleClosed-closedBefore
		t.Logf("%d validations; %d connections opened, %d closed as idle; %d statements slow", validated, opened, closed, reads.slow.Load())
		if validated < goroutines {
			t.Errorf("there were %d validations", validated)
		}
		reads.expectFewStatements(t)
		// After a slow read, on a busy machine, another read may begin.
		if slow := reads.slow.Load(); opened > 2+slow || closed > slow {
			t.Errorf("%d connections were opened and %d closed as idle, and %d statements were slow", opened, closed, slow)
		}
	})
}

// However many validations run, they leave connections of the pool for sign-ins. If each
// validation waited for a connection, sign-ins would have to wait behind all of them.
func TestSignInsKeepConnections(t *testing.T) {
	const goroutines, most = 400, 50
	onServers(t, func(t *testing.T, engine string) {
		db, pool, _ := pooled(t, engine)
		reads := &statementCounter{Store: newStore(t, db, &gormstore.Options{Passwords: &password.Options{KeepHashes: true, Timeout: busyTimeout}})}
		auth := quietService(t, reads, reads.Users())
		holders := issueToEach(t, auth, 100)
		for i := range most {
			create(t, reads.Store, fmt.Sprint("alice", i))
		}
		for _, test := range []struct{ connections, signIns int }{{8, most}, {2, 10}, {1, 10}} {
			t.Run(fmt.Sprint(test.connections), func(t *testing.T) {
				pool.SetMaxOpenConns(test.connections)
				stop := keepValidating(t, auth, holders, goroutines)
				var wg sync.WaitGroup
				began := time.Now()
				for i := range test.signIns {
					wg.Go(func() {
						if _, err := signIn(t.Context(), auth, fmt.Sprint("alice", i), "password"); err != nil {
							t.Errorf("signing in: %v", err)
						}
					})
				}
				wg.Wait()
				took := time.Since(began)
				validated := stop()
				t.Logf("%d sign-ins took %v, beside %d validations", test.signIns, took, validated)
				if validated < goroutines {
					t.Errorf("there were %d validations", validated)
				}
				reads.expectFewStatements(t)
			})
		}
	})
}

func TestFaultyRowsAffectOnlyTheirOwnCallers(t *testing.T) {
	onEach(t, func(t *testing.T, e engine) {
		s, db := e.store(t)
		reads := &statementCounter{Store: s}
		auth := quietService(t, reads, noUsers{})
		holders := issueToEach(t, auth, 20)
		corrupt, missing := &holders[3], &holders[11]
		for h, statement := range map[*holder]string{
			corrupt: "UPDATE tokenauth_tokens SET format = 99 WHERE user_key = ?",
			missing: "DELETE FROM tokenauth_tokens WHERE user_key = ?",
		} {
			user := tokenauth.SlotOf(h.id, "").User
			if result := db.Exec(statement, user[:]); result.Error != nil || result.RowsAffected != 1 {
				t.Fatalf("%d rows, error %v", result.RowsAffected, result.Error)
			}
		}
		began := time.Now()
		// A busy machine may run the callers one after another.
		for n := 0; n < long(400) || reads.largest.Load() < 2 && time.Since(began) < time.Minute; n++ {
			var wg sync.WaitGroup
			for i := range 2 * len(holders) { // two callers for each
				h := &holders[i/2]
				wg.Go(func() {
					err := h.validate(t.Context(), auth)
					faulty := h == corrupt || h == missing
					if faulty != errors.Is(err, tokenauth.ErrInvalidToken) || faulty == (err == nil) || errors.Is(err, tokenauth.ErrUnavailable) {
						t.Errorf("%s, faulty %v: %v", h.id, faulty, err)
					}
				})
			}
			wg.Wait()
		}
		if reads.largest.Load() < 2 {
			t.Error("no statement served two callers")
		}
	})
}

// A valueTracer is a pgx tracer. It counts the statements on tokens whose context has the
// value of a request, and those whose context does not.
type valueTracer struct{ with, without map[string]*atomic.Int64 }

type requestKey struct{}

func newValueTracer() *valueTracer {
	count := func() map[string]*atomic.Int64 {
		return map[string]*atomic.Int64{"SELECT": new(atomic.Int64), "WITH": new(atomic.Int64), "INSERT": new(atomic.Int64)}
	}
	return &valueTracer{count(), count()}
}

func (v *valueTracer) TraceQueryStart(ctx context.Context, _ *pgx.Conn, q pgx.TraceQueryStartData) context.Context {
	verb, rest, _ := strings.Cut(strings.TrimSpace(q.SQL), " ")
	count := v.without
	if ctx.Value(requestKey{}) != nil {
		count = v.with
	}
	if n := count[verb]; n != nil && strings.Contains(rest, "tokenauth_tokens") {
		n.Add(1)
	}
	return ctx
}

func (*valueTracer) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

// The context of a statement for several requests has no values of any request.
func TestBatchedReadsCarryNoRequestValues(t *testing.T) {
	t.Parallel()
	config, err := pgx.ParseConfig(throwaway.Postgres(t))
	if err != nil {
		t.Fatal(err)
	}
	tracer := newValueTracer()
	config.Tracer = tracer
	db := openPool(t, "postgres", openConnector(t, stdlib.GetConnector(*config)))
	reads := &statementCounter{Store: newStore(t, db, nil)}
	auth := quietService(t, reads, noUsers{})
	holders := issueToEach(t, auth, 20)
	request := func(n int) context.Context { return context.WithValue(t.Context(), requestKey{}, n) }
	selects := tracer.without["SELECT"].Load() // the statements of New
	var wg sync.WaitGroup
	for i := range 100 {
		wg.Go(func() {
			// Calls with different deadlines send their statements in other goroutines.
			ctx, cancel := request(i), context.CancelFunc(func() {})
			if i%2 == 0 {
				ctx, cancel = context.WithTimeout(ctx, time.Minute)
			}
			defer cancel()
			for range 10 {
				if err := holders[i%len(holders)].validate(ctx, auth); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if with, without := tracer.with["SELECT"].Load(), tracer.without["SELECT"].Load()-selects; with != 0 || without == 0 || reads.largest.Load() < 2 {
		t.Errorf("%d statements have the value of a request and %d none; the largest is for %d slots", with, without, reads.largest.Load())
	}
	// The INSERT of a sign-in has the value, so the tracer works.
	if _, err := auth.Issue(request(1), tokenauth.Principal{UserID: "alice"}, nil); err != nil || tracer.with["INSERT"].Load() != 1 {
		t.Errorf("the tracer saw %d INSERT statements with the value, error %v", tracer.with["INSERT"].Load(), err)
	}
}
