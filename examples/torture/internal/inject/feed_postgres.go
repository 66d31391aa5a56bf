package inject

import (
	"context"
	"fmt"
	"testing"
	"time"

	"gorm.io/driver/postgres"

	"github.com/bearerkit/bearerkit/examples/torture/internal/network"
	"github.com/bearerkit/bearerkit/examples/torture/internal/store"
	"github.com/bearerkit/bearerkit/storage/gormstore/pgxfeed"
	"github.com/bearerkit/bearerkit/tokenauth"
)

// A postgresFeed is a PostgreSQL database into whose triggers faults are injected.
type postgresFeed struct{ sqlServer }

func postgresFeedTarget(tb testing.TB, b *store.Backend, ownBeat bool) *Target {
	tb.Helper()
	direct := b.Direct()
	s := &postgresFeed{sqlServer{admin: openAdmin(tb, "pgx", direct)}}
	must(tb, s.admin.QueryRowContext(tb.Context(), "SELECT current_database()").Scan(&s.database))
	replicas := 0
	connect := func(tb testing.TB, _ []*network.Network) tokenauth.Storage {
		if replicas++; b.Name == "postgres" && replicas%3 == 0 {
			// Every third replica writes like a session of logical replication.
			return store.OpenGORM(tb, postgres.Open(b.DSN+"&session_replication_role=replica"), &pgxfeed.Listener{})
		}
		return b.Connect(tb)
	}
	if ownBeat {
		sound := connect
		connect = func(tb testing.TB, _ []*network.Network) tokenauth.Storage {
			return ownBeatOfPostgres(sound(tb, nil), direct)
		}
	}
	return &Target{Connect: connect, Faults: s.faults()}
}

func (s *postgresFeed) faults() []*Fault {
	const (
		reload    = "SELECT pg_reload_conf()"
		table     = "ALTER TABLE torture_tokens "
		always    = table + "ENABLE ALWAYS TRIGGER torture_tell"
		alwaysAll = table + "ENABLE ALWAYS TRIGGER torture_tell_all"
		beatRow   = "WHERE user_id = '' AND user_name = 'heartbeat of the feed'"
		function  = "CREATE OR REPLACE FUNCTION torture_tell() RETURNS trigger LANGUAGE plpgsql AS "
		listeners = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'LISTEN %'"
		sessions  = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
	)
	database := "ALTER DATABASE " + s.database
	return []*Fault{
		s.between("trigger disabled", []string{table + "DISABLE TRIGGER torture_tell"}, []string{always}),
		s.between("trigger of TRUNCATE disabled", []string{table + "DISABLE TRIGGER torture_tell_all"}, []string{alwaysAll}),
		s.between("all triggers disabled", []string{table + "DISABLE TRIGGER ALL"}, []string{always, alwaysAll}),
		s.between("trigger of origins only", []string{table + "ENABLE TRIGGER torture_tell"}, []string{always}),
		s.between("trigger of replicas only", []string{table + "ENABLE REPLICA TRIGGER torture_tell"}, []string{always}),
		s.between("trigger renamed", []string{"ALTER TRIGGER torture_tell ON torture_tokens RENAME TO renamed"},
			[]string{"ALTER TRIGGER renamed ON torture_tokens RENAME TO torture_tell"}),
		s.also("trigger disabled, old heartbeats repeated",
			Again(5*time.Millisecond, s.do("SELECT pg_notify('torture_feed', 'beat row ' || stamp) FROM torture_tokens "+beatRow)),
			[]string{table + "DISABLE TRIGGER torture_tell"}, []string{always}),
		s.altered("trigger dropped", "DROP TRIGGER torture_tell ON torture_tokens"),
		s.altered("triggers dropped, with their function", "DROP FUNCTION torture_tell() CASCADE"),
		s.altered("trigger of updates only", "DROP TRIGGER torture_tell ON torture_tokens",
			"CREATE TRIGGER torture_tell AFTER UPDATE ON torture_tokens FOR EACH ROW EXECUTE FUNCTION torture_tell()", always),
		s.altered("function of an older version", function+"$$ BEGIN PERFORM pg_notify('torture_feed', encode(OLD.user_key, 'hex')); RETURN NULL; END $$"),
		s.altered("function that does nothing", function+"$$ BEGIN RETURN NULL; END $$"),
		s.altered("table replaced by a copy", "ALTER TABLE torture_tokens RENAME TO torture_before",
			"CREATE TABLE torture_tokens (LIKE torture_before INCLUDING ALL)", "INSERT INTO torture_tokens SELECT * FROM torture_before", "DROP TABLE torture_before"),
		s.between("table renamed away", []string{"ALTER TABLE torture_tokens RENAME TO torture_away"}, []string{"ALTER TABLE torture_away RENAME TO torture_tokens"}),
		s.between("sessions of replicas, all terminated", []string{database + " SET session_replication_role = replica", sessions},
			[]string{database + " RESET session_replication_role", sessions}),
		once("heartbeat deleted", s.do("DELETE FROM torture_tokens "+beatRow)),
		while("heartbeat deleted again and again", whileItLasts, Again(10*time.Millisecond, s.do("DELETE FROM torture_tokens "+beatRow))),
		while("heartbeat locked", whileItLasts, s.locked("SELECT FROM torture_tokens "+beatRow+" FOR UPDATE")),
		s.between("heartbeat kept by a trigger", []string{
			"CREATE OR REPLACE FUNCTION torture_keep() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$",
			"CREATE TRIGGER keep BEFORE UPDATE ON torture_tokens FOR EACH ROW WHEN (OLD.user_id = '') EXECUTE FUNCTION torture_keep()",
			table + "ENABLE ALWAYS TRIGGER keep"},
			[]string{"DROP TRIGGER keep ON torture_tokens"}),
		once("listeners terminated", s.do(listeners)),
		while("listeners terminated again and again", whileItLasts, Again(20*time.Millisecond, s.do(listeners))),
		s.between("server read-only", []string{"ALTER SYSTEM SET default_transaction_read_only = on", reload},
			[]string{"ALTER SYSTEM RESET default_transaction_read_only", reload}),
	}
}

// altered returns a [Fault] of the triggers or their table. One transaction makes the
// changes, and another one recreates the triggers as they were.
func (s *postgresFeed) altered(name string, statements ...string) *Fault {
	return &Fault{Name: name, Lasts: whileItLasts, Strike: func(ctx context.Context) (func() error, error) {
		repair, err := s.definitions(ctx)
		if err != nil {
			return nil, err
		}
		return func() error { return s.atOnce(ctx, repair) }, s.atOnce(ctx, statements)
	}}
}

// definitions returns statements that recreate the triggers as they are now.
func (s *postgresFeed) definitions(ctx context.Context) (statements []string, err error) {
	names := []string{"torture_tell", "torture_tell_all"}
	for _, name := range names {
		statements = append(statements, "DROP TRIGGER IF EXISTS "+name+" ON torture_tokens")
	}
	var function string
	// Look the function up by name. With a constant of type regproc, a cached plan would
	// keep the ID of a dropped function.
	const readFunction = "SELECT pg_get_functiondef(oid) FROM pg_proc WHERE proname = 'torture_tell'"
	if err := s.admin.QueryRowContext(ctx, readFunction).Scan(&function); err != nil {
		return nil, fmt.Errorf("reading the trigger function: %w", err)
	}
	statements = append(statements, function)
	for _, name := range names {
		var trigger string
		const readTrigger = "SELECT pg_get_triggerdef(t.oid) FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid WHERE c.relname = 'torture_tokens' AND t.tgname = $1"
		if err := s.admin.QueryRowContext(ctx, readTrigger, name).Scan(&trigger); err != nil {
			return nil, fmt.Errorf("reading the trigger %s: %w", name, err)
		}
		statements = append(statements, trigger, "ALTER TABLE torture_tokens ENABLE ALWAYS TRIGGER "+name)
	}
	return statements, nil
}

// atOnce runs the statements in one transaction that locks the table. It tries up to
// three times, because its connection may have been terminated, or a deadlock may have
// aborted it.
func (s *postgresFeed) atOnce(ctx context.Context, statements []string) (err error) {
	for range 3 {
		if err = s.transact(ctx, statements); err == nil {
			return nil
		}
	}
	return err
}

func (s *postgresFeed) transact(ctx context.Context, statements []string) error {
	tx, err := s.admin.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	for _, statement := range append([]string{"LOCK TABLE torture_tokens IN ACCESS EXCLUSIVE MODE"}, statements...) {
		if _, err := tx.ExecContext(ctx, statement); err != nil {
			return fmt.Errorf("%s: %w", statement, err)
		}
	}
	return tx.Commit()
}
