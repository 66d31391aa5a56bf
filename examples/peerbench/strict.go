package main

import (
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bearerkit/bearerkit/internal/throwaway"
	"github.com/bearerkit/bearerkit/tokenauth"
)

const storedUsers = 1000

// mostConnections is the maximum number of connections for bare reads, which would
// be slower with more connections.
const mostConnections = 64

// strictOnDatabases measures how much slower a validation without a cache is than a
// bare read, a single SQL statement that reads the same row. Validations use the
// default connection pool.
func strictOnDatabases(tb testing.TB, p plan, r *report) {
	p = p.strict()
	lone := &table{
		title: "Single validations",
		about: "Strict validations and bare reads of the same row in turns, one at a time: median time in microseconds.",
		head:  []string{"", "this project, p50", "bare read, p50", "ours to bare"},
	}
	for _, d := range databases {
		err := throwaway.Outside(tb.Context(), func(tb testing.TB) { strictOn(tb, p, r, d, []int{1, 4, 16, 64, 256}, lone) })
		if errors.Is(err, throwaway.ErrMissing) {
			r.skip("strict validation on "+d.name, err)
		} else if err != nil {
			tb.Fatal(d.name, ": ", err)
		}
	}
	r.table(lone)
}

// strictOn measures one database with each of the given numbers of goroutines. For
// one goroutine, it also adds a row to lone, the table of single validations.
func strictOn(tb testing.TB, p plan, r *report, d database, goroutines []int, lone *table) {
	dsn := d.make(tb)
	issuer := openCounted(tb, d, dsn)
	tokens := issueAll(tb, service(tb, storeOn(tb, d, issuer.DB), nil))
	t := strictTable(p, "Strict validation on "+d.name, fmt.Sprintf(
		"Validations, or bare reads of the same row by a prepared statement, per second; %d users. "+
			"This project has the pool as gorm.Open leaves it, the bare read a connection for each goroutine, %d at most. "+
			"Connections are the most at once, and in brackets all that were opened, with those of New and of the warm-up; "+
			"failed are validations with an error.", storedUsers, mostConnections),
		"connections, ours", "connections, bare", "failed")
	var allFailed int64
	for _, n := range goroutines {
		// New pools, so that no connection of an earlier measurement is reused.
		err := throwaway.Outside(tb.Context(), func(tb testing.TB) {
			host := openCounted(tb, d, dsn)
			auth := service(tb, storeOn(tb, d, host.DB), nil)
			pool := openCounted(tb, d, dsn).madeToMeasure(min(n, mostConnections))
			var failed atomic.Int64
			ours, bare := orCount(&failed, tokens.validate(tb, auth)), tokens.read(tb, pool.DB, d)
			figures := strictRow(tb, p, r, n, "strict_"+d.short+"_vs_prepared", ours, bare)
			t.add(append(figures, host.connections.cell(), pool.connections.cell(), decimal(float64(failed.Load()), 0))...)
			allFailed += failed.Load()
			if n == 1 {
				addLone(tb, p, r, lone, d, ours, bare)
			}
		})
		if err != nil {
			tb.Fatalf("%d goroutines: %v", n, err)
		}
	}
	r.table(t)
	r.ratio("strict_"+d.short+"_failed", float64(allFailed))
}

// orCount returns a function that calls do, and counts errors instead of returning
// them, so that a measurement continues if some validations fail.
func orCount(failed *atomic.Int64, do func(i int) error) func(i int) error {
	return func(i int) error {
		if do(i) != nil {
			failed.Add(1)
		}
		return nil
	}
}

// strict returns a copy of the plan with the slice length and number of cycles for
// comparing validations with bare reads.
func (p plan) strict() plan {
	if p.short {
		return p.of(30*time.Millisecond, 1)
	}
	return p.of(75*time.Millisecond, max(1, p.cycles/8))
}

func strictTable(p plan, title, about string, more ...string) *table {
	return &table{
		title: title,
		about: about + fmt.Sprintf(" Median and spread of %d rounds.", p.rounds),
		head:  append([]string{"goroutines", "this project, strict", "min–max", "bare", "min–max", "ours to bare"}, more...),
	}
}

// strictRow compares the function ours with the function bare, and returns the
// cells of a table row. It reports their ratio under the given name. Unless there
// are 16 goroutines, it appends the number of goroutines to the name.
func strictRow(tb testing.TB, p plan, r *report, goroutines int, name string, ours, bare func(i int) error) []string {
	figures, err := p.compare(
		concurrently("this project, strict", goroutines, ours),
		concurrently("bare", goroutines, bare))
	if err != nil {
		tb.Fatal(err)
	}
	ratio := figures[1].over(figures[0])
	if goroutines != 16 {
		name = fmt.Sprint(name, "_", goroutines)
	}
	r.ratio(name, ratio)
	return slices.Concat([]string{fmt.Sprint(goroutines)}, rates(figures[0]), rates(figures[1]), []string{times(ratio)})
}

// addLone measures single validations and bare reads in turn, and adds a row to
// the table lone. strictRow must have warmed up ours and bare before the call.
func addLone(tb testing.TB, p plan, r *report, lone *table, d database, ours, bare func(i int) error) {
	n := 5000
	if p.short {
		n = 1000
	}
	took := make([][]float64, 2)
	for i := range 2 * n {
		do := ours
		if i%2 == 1 {
			do = bare
		}
		began := time.Now()
		if err := do(i / 2); err != nil {
			tb.Fatal(err)
		}
		took[i%2] = append(took[i%2], float64(time.Since(began))/1e3)
	}
	p50, bareP50 := median(took[0]), median(took[1])
	lone.add(d.name, decimal(p50, 0), decimal(bareP50, 0), times(p50/bareP50))
	r.ratio("strict_"+d.short+"_lone_p50_us", p50)
	r.ratio("strict_"+d.short+"_lone_p50_vs_prepared", p50/bareP50)
}

func (c *counter) cell() string { return fmt.Sprintf("%d (%d)", c.most.Load(), c.opened.Load()) }

// storedTokens are the tokens of the first storedUsers users.
type storedTokens struct {
	accessTokens []string
	slots        []tokenauth.Slot
}

func issueAll(tb testing.TB, auth *tokenauth.Service) (s storedTokens) {
	for i := range storedUsers {
		u := user(i)
		s.accessTokens = append(s.accessTokens, issue(tb, auth, u))
		s.slots = append(s.slots, tokenauth.SlotOf(u.UserID, ""))
	}
	return s
}

// validate returns a function that validates a token. The function's context can be
// canceled, like that of a request.
func (s storedTokens) validate(tb testing.TB, auth *tokenauth.Service) func(i int) error {
	ctx := tb.Context()
	return func(i int) error {
		_, err := auth.Validate(ctx, s.accessTokens[i%storedUsers])
		return err
	}
}

// read returns a function that only reads the row that a validation reads. Like
// validate, it uses a context that can be canceled: drivers are slower with one, so
// the comparison would be unfair without it.
func (s storedTokens) read(tb testing.TB, pool *sql.DB, d database) func(i int) error {
	find := prepare(tb, pool, `SELECT user_key, client_key, format, digest, replaced, issued_at, expires_at, client_id, user_id, user_name, roles, attributes, stamp
		FROM tokenauth_tokens WHERE `+d.where)
	ctx := tb.Context()
	return func(i int) error {
		slot := &s.slots[i%storedUsers]
		var user, client, digest, replaced []byte
		var format, issued, expires int64
		var clientID, userID, name, roles, attributes, stamp string
		return find.QueryRowContext(ctx, slot.User[:], slot.Client[:]).Scan(
			&user, &client, &format, &digest, &replaced, &issued, &expires, &clientID, &userID, &name, &roles, &attributes, &stamp)
	}
}
