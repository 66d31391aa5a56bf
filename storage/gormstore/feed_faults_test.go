package gormstore_test

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"gorm.io/driver/postgres"
	"gorm.io/gorm"

	"github.com/bearerkit/bearerkit/internal/throwaway"
	"github.com/bearerkit/bearerkit/internal/trial"
	"github.com/bearerkit/bearerkit/storage/gormstore"
	"github.com/bearerkit/bearerkit/storage/gormstore/pgxfeed"
	"github.com/bearerkit/bearerkit/tokenauth"
)

// logged returns a replica and its log.
func logged(t testing.TB, s tokenauth.Storage, lease time.Duration) (*tokenauth.Service, *syncBuffer) {
	t.Helper()
	log := new(syncBuffer)
	return replicaWith(t, s, tokenauth.Options{
		Cache: &tokenauth.CacheOptions{Lease: lease}, Timeout: busyTimeout,
		Logger: slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelWarn})),
	}), log
}

// with adds session settings to a DSN of package throwaway.
func with(dsn, settings string) string { return dsn + "&" + settings }

// inPlace replaces the default prefix in a statement or script.
func inPlace(prefix, statement string) string {
	return strings.ReplaceAll(statement, "tokenauth_", prefix)
}

// A feedFault breaks the path of notifications, or only seems to.
type feedFault struct {
	name string
	// do are the statements that cause the fault, with the default prefix.
	do []string
	// end is a statement that ends all tokens; empty means Service.Revoke.
	end []string
	// says is a part of the log; empty means that the feed stays alive.
	says string
}

const (
	lacksTrigger = "lacks the trigger"
	grant        = `GRANT SELECT, INSERT, UPDATE, DELETE ON tokenauth_tokens TO tokenauth_service`
)

var feedFaults = []feedFault{
	{name: "trigger disabled", do: []string{`ALTER TABLE tokenauth_tokens DISABLE TRIGGER tokenauth_tell`}, says: lacksTrigger},
	{name: "all triggers disabled", do: []string{`ALTER TABLE tokenauth_tokens DISABLE TRIGGER ALL`}, says: lacksTrigger},
	{name: "trigger dropped", do: []string{`DROP TRIGGER tokenauth_tell ON tokenauth_tokens`}, says: lacksTrigger},
	{name: "trigger of replicas only", do: []string{`ALTER TABLE tokenauth_tokens ENABLE REPLICA TRIGGER tokenauth_tell`}, says: lacksTrigger},
	{name: "trigger of origins only", do: []string{`ALTER TABLE tokenauth_tokens ENABLE TRIGGER tokenauth_tell`},
		end: []string{`SET session_replication_role = replica`, `DELETE FROM tokenauth_tokens`}, says: lacksTrigger},
	{name: "trigger of updates only", do: []string{`DROP TRIGGER tokenauth_tell ON tokenauth_tokens`,
		`CREATE TRIGGER tokenauth_tell AFTER UPDATE ON tokenauth_tokens FOR EACH ROW EXECUTE FUNCTION tokenauth_tell()`,
		`ALTER TABLE tokenauth_tokens ENABLE ALWAYS TRIGGER tokenauth_tell`}, says: lacksTrigger},
	{name: "trigger of one column's updates", do: []string{`DROP TRIGGER tokenauth_tell ON tokenauth_tokens`,
		`CREATE TRIGGER tokenauth_tell AFTER UPDATE OF stamp OR DELETE ON tokenauth_tokens FOR EACH ROW EXECUTE FUNCTION tokenauth_tell()`,
		`ALTER TABLE tokenauth_tokens ENABLE ALWAYS TRIGGER tokenauth_tell`},
		end: []string{`UPDATE tokenauth_tokens SET digest = '\x00' WHERE user_name = 'alice'`}, says: lacksTrigger},
	{name: "moved to a table that inherits", do: []string{`CREATE TABLE tokenauth_child () INHERITS (tokenauth_tokens)`,
		`WITH moved AS (DELETE FROM ONLY tokenauth_tokens WHERE user_name = 'alice' RETURNING *) INSERT INTO tokenauth_child SELECT * FROM moved`},
		end: []string{`DELETE FROM tokenauth_child`}, says: lacksTrigger},
	{name: "function of the user's", do: []string{`CREATE OR REPLACE FUNCTION tokenauth_tell() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$`}, says: lacksTrigger},
	{name: "trigger of TRUNCATE disabled", do: []string{`ALTER TABLE tokenauth_tokens DISABLE TRIGGER tokenauth_tell_all`},
		end: []string{`TRUNCATE tokenauth_tokens`}, says: lacksTrigger},
	{name: "table recreated", do: []string{`CREATE TABLE tokenauth_new (LIKE tokenauth_tokens INCLUDING ALL)`, `DROP TABLE tokenauth_tokens`,
		`ALTER TABLE tokenauth_new RENAME TO tokenauth_tokens`, grant}, end: []string{`SELECT 1`}, says: lacksTrigger},
	{name: "table swapped", do: []string{`BEGIN`, `ALTER TABLE tokenauth_tokens RENAME TO tokenauth_before`,
		`CREATE TABLE tokenauth_tokens (LIKE tokenauth_before INCLUDING ALL)`, `INSERT INTO tokenauth_tokens SELECT * FROM tokenauth_before`, grant, `COMMIT`}, says: lacksTrigger},
	{name: "no right to change", do: []string{`REVOKE UPDATE ON tokenauth_tokens FROM tokenauth_service`}, says: "permission denied"},
	{name: "heartbeat kept by a trigger", do: []string{
		`CREATE FUNCTION tokenauth_keep() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$`,
		`CREATE TRIGGER keep BEFORE UPDATE ON tokenauth_tokens FOR EACH ROW EXECUTE FUNCTION tokenauth_keep()`}, says: "trigger or a rule of yours"},

	{name: "none"},
	{name: "session of a replica", end: []string{`SET session_replication_role = replica`, `DELETE FROM tokenauth_tokens`}},
	{name: "TRUNCATE in a session of a replica", end: []string{`SET session_replication_role = replica`, `TRUNCATE tokenauth_tokens`}},
	{name: "trigger off and on again", end: []string{`BEGIN`, `ALTER TABLE tokenauth_tokens DISABLE TRIGGER tokenauth_tell`, `DELETE FROM tokenauth_tokens WHERE user_name = 'alice'`,
		`ALTER TABLE tokenauth_tokens ENABLE ALWAYS TRIGGER tokenauth_tell`, `COMMIT`}},
	{name: "TRUNCATE", end: []string{`TRUNCATE tokenauth_tokens`}},
	{name: "heartbeat deleted", do: []string{`DELETE FROM tokenauth_tokens WHERE user_id = ''`}},
	{name: "heartbeat expired", do: []string{`UPDATE tokenauth_tokens SET expires_at = 0 WHERE user_id = ''`}},
	{name: "table altered", do: []string{`ALTER TABLE tokenauth_tokens ADD COLUMN tenant text`}},
}

// Whatever breaks the path of notifications, no token is accepted for longer than the
// lease after it ended. The log has the reason once. A harmless change loses neither a
// notification nor the feed.
func TestFeedFaultsEndTokensWithinTheLease(t *testing.T) {
	t.Parallel()
	dsn := throwaway.Postgres(t)
	admin := openDialector(t, postgres.Open(dsn), nil)
	for i, fault := range feedFaults {
		t.Run(fault.name, func(t *testing.T) {
			t.Parallel()
			run := 0
			trial.Run(t, func(t *trial.T) {
				run++
				prefix := fmt.Sprintf("fault%d_%d_", i, run)
				roleFor(t, admin, prefix)
				s := newStore(t, admin, &gormstore.Options{Feed: true, TablePrefix: prefix})
				inOneSession(t, admin, prefix, []string{grant, `GRANT SELECT ON tokenauth_schema TO tokenauth_service`})
				w := withPrefix(t, with(dsn, "role="+prefix+"service"), prefix, pgxfeed.Listener{DSN: dsn})
				reader, log := logged(t, w, lease)
				writer := service(t, s, noUsers{})
				accessToken := issueTo(t, writer, "alice")
				warm(t, reader, accessToken)

				inOneSession(t, admin, prefix, fault.do)
				if len(fault.end) > 0 {
					inOneSession(t, admin, prefix, fault.end)
				} else if err := writer.Revoke(t.Context(), accessToken); err != nil {
					t.Fatal(err)
				}
				endsWithin(t, reader, accessToken, time.Now(), lease)

				if fault.says != "" {
					eventually(t, "the log says "+fault.says, func() bool { return strings.Contains(log.String(), fault.says) })
					return
				}
				accessToken = issueTo(t, writer, "alice")
				warm(t, reader, accessToken)
				if err := writer.Revoke(t.Context(), accessToken); err != nil {
					t.Fatal(err)
				}
				endsWithin(t, reader, accessToken, time.Now(), lease)
				if lines := log.String(); strings.Contains(lines, "feed") {
					t.Late(fmt.Errorf("the feed was lost: %s", lines))
				}
			})
		})
	}
}

// roleFor creates a role without rights. The test drops it at its end.
func roleFor(t testing.TB, admin *gorm.DB, prefix string) {
	t.Helper()
	inOneSession(t, admin, prefix, []string{`CREATE ROLE tokenauth_service`})
	t.Cleanup(func() {
		if err := admin.Exec(inPlace(prefix, `DROP OWNED BY tokenauth_service; DROP ROLE tokenauth_service`)).Error; err != nil {
			t.Error(err)
		}
	})
}

// withPrefix opens a store with a feed on existing tables.
func withPrefix(t testing.TB, dsn, prefix string, l pgxfeed.Listener) watched {
	t.Helper()
	s, err := gormstore.New(t.Context(), openDialector(t, postgres.Open(dsn), nil), &gormstore.Options{TablePrefix: prefix})
	if err != nil {
		t.Fatal(err)
	}
	w, err := gormstore.WithFeed(t.Context(), s, l)
	if err != nil {
		t.Fatal(err)
	}
	return watched{s, w.(tokenauth.Watcher)}
}

func inOneSession(t testing.TB, db *gorm.DB, prefix string, statements []string) {
	t.Helper()
	pool, err := db.DB()
	if err != nil {
		t.Fatal(err)
	}
	conn, err := pool.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for _, statement := range append(statements, `RESET session_replication_role`) {
		if _, err := conn.ExecContext(t.Context(), inPlace(prefix, statement)); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
}

// endsWithin fails the test if the token, which has just ended, is accepted after the
// lease.
func endsWithin(t testing.TB, auth *tokenauth.Service, accessToken string, ended time.Time, lease time.Duration) {
	t.Helper()
	for {
		began := time.Now()
		_, err := auth.Validate(t.Context(), accessToken)
		if errors.Is(err, tokenauth.ErrInvalidToken) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		if after := began.Sub(ended); after > lease {
			t.Fatalf("a token is accepted %v after it ended, the lease is %v", after, lease)
		}
		time.Sleep(time.Millisecond)
	}
}
