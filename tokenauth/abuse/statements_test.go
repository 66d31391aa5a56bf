package abuse_test

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"gorm.io/driver/postgres"

	"github.com/bearerkit/bearerkit/internal/throwaway"
	"github.com/bearerkit/bearerkit/storage/gormstore"
	"github.com/bearerkit/bearerkit/tokenauth"
	"github.com/bearerkit/bearerkit/tokenauth/password"
)

// statements records the statements that PostgreSQL receives, including the
// begin and the end of transactions.
type statements struct {
	mu   sync.Mutex
	sent []string
}

func (s *statements) TraceQueryStart(ctx context.Context, _ *pgx.Conn, q pgx.TraceQueryStartData) context.Context {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sent = append(s.sent, strings.Fields(q.SQL)[0])
	return ctx
}

func (*statements) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

// during calls do and returns the statements that PostgreSQL received
// meanwhile.
func (s *statements) during(do func()) []string {
	s.mu.Lock()
	before := len(s.sent)
	s.mu.Unlock()
	do()
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sent[before:]
}

// A sign-in needs few statements in PostgreSQL, whatever its outcome.
func TestSignInTakesFewStatements(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		together, clients                        bool
		first, again, wrong, nobody, blocked, me int
	}{
		{false, false, 3, 3, 1, 1, 0, 1},
		{true, false, 11, 11, 10, 10, 0, 1},
		{true, true, 13, 13, 11, 11, 1, 1},
	} {
		t.Run(fmt.Sprintf("together %v, registry %v", test.together, test.clients), func(t *testing.T) {
			t.Parallel()
			config, err := pgx.ParseConfig(throwaway.Postgres(t))
			if err != nil {
				t.Fatal(err)
			}
			trace := new(statements)
			config.Tracer = trace
			store := newStore(t, openDB(t, postgres.New(postgres.Config{Conn: stdlib.OpenDB(*config)})), &gormstore.Options{Passwords: &password.Options{KeepHashes: true}})
			for _, name := range []string{"alice", "bob"} {
				addUser(t, store, name)
			}
			if err := store.Clients().CreatePublic(t.Context(), tokenauth.Client{ID: "web"}); err != nil {
				t.Fatal(err)
			}
			o := tokenauth.Options{Now: func() time.Time { return start }} // the clock stands still, so no wait ends
			if test.together {
				o.Throttle.Key = tokenauth.NewSecret("a key of thirty-two bytes, or so")
			}
			if test.clients {
				o.Clients = store.Clients()
			}
			h := onHTTP.host(t, store, store.Users(), o)
			accessToken := ""
			signIn := func(name, password, from string) {
				issued, err := h.auth.SignIn(t.Context(), tokenauth.Credentials{
					UserName: name, Password: tokenauth.NewSecret(password), ClientID: "web", RemoteAddr: netip.MustParseAddr(from),
				})
				if err == nil {
					accessToken = issued.AccessToken.Reveal()
				}
			}
			signIn("bob", otherPassword, "192.0.2.9") // from this sign-in the Service learns that the users count attempts
			for _, step := range []struct {
				what string
				most int
				do   func()
			}{
				{"a sign-in from a new address", test.first, func() { signIn("alice", otherPassword, "192.0.2.1") }},
				{"a sign-in from a known address", test.again, func() { signIn("alice", otherPassword, "192.0.2.1") }},
				{"a wrong password", test.wrong, func() { signIn("alice", "x", "192.0.2.2") }},
				{"an unknown user", test.nobody, func() { signIn("nobody", "x", "192.0.2.2") }},
				{"a throttled sign-in", test.blocked, func() { signIn("alice", "x", "192.0.2.3") }},
				{"a request with a token", test.me, func() { h.welcomes(t, accessToken, "after all sign-ins") }},
			} {
				if step.what == "a throttled sign-in" {
					for i := range 7 {
						signIn("alice", fmt.Sprint("x", i), "192.0.2.3")
					}
				}
				sent := trace.during(step.do)
				t.Logf("%s: %d statements: %s", step.what, len(sent), strings.Join(sent, " "))
				if len(sent) > step.most {
					t.Errorf("%s takes %d statements, want at most %d", step.what, len(sent), step.most)
				}
			}
		})
	}
}
