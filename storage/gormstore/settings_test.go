package gormstore_test

import (
	"bytes"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"gorm.io/driver/mysql"
	"gorm.io/gorm"

	"github.com/bearerkit/bearerkit/internal/throwaway"
	"github.com/bearerkit/bearerkit/storage/gormstore"
	"github.com/bearerkit/bearerkit/tokenauth"
	"github.com/bearerkit/bearerkit/tokenauth/throttle"
)

// works calls every method of a store. It checks the results through plain, a pool with
// the engine's default settings, where they must be committed.
func works(t *testing.T, s *gormstore.Store, plain *gorm.DB) {
	t.Helper()
	ctx, must := t.Context(), func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	users, clients := s.Users(), s.Clients()
	const name = "Jürgen\U00020000" // the last letter has four bytes in UTF-8
	user, err := users.Import(ctx, gormstore.User{Name: name, Roles: []string{"Reader"}, Attributes: map[string]string{"o'clock\\": "ß\"😀"}}, cheapHash())
	must(err)
	for _, id := range []string{"one", "two", "three"} {
		_, err := clients.Create(ctx, tokenauth.Client{ID: id, Roles: []string{"Reader"}})
		must(err)
		if _, err := clients.Create(ctx, tokenauth.Client{ID: id}); !errors.Is(err, gormstore.ErrExists) {
			t.Errorf("client %s again: error %v, want ErrExists", id, err)
		}
	}
	must(useDevices(ctx, s))
	must(useRefresh(ctx, s))
	auth := service(t, s, users)
	issue := func(client string) string {
		t.Helper()
		issued, err := auth.Issue(ctx, tokenauth.Principal{UserID: user.ID, UserName: name, Stamp: "ÿ'\\😀"}, &tokenauth.IssueOptions{ClientID: client})
		must(err)
		return issued.AccessToken.Reveal()
	}
	var tokens []string
	for _, client := range []string{"one", "two", "three"} {
		tokens = append(tokens, issue(client))
	}
	mustSignIn(t, auth, name)
	kept := mustSignIn(t, auth, "JÜRGEN\U00020000")
	listed, err := s.List(ctx, tokenauth.UserKeyOf(user.ID))
	if err != nil || len(listed) != 4 {
		t.Errorf("List: %d tokens, error %v", len(listed), err)
	}
	slots := batchSlots(64)
	for i, token := range listed {
		slots[20*i] = token.Slot
	}
	for i, f := range expectFound(t, s, slots) {
		if (f.Err == nil) != (i%20 == 0) {
			t.Errorf("slot %d of a batch: %v", i, f.Err)
		}
	}

	reader, err := gormstore.New(ctx, plain, nil)
	must(err)
	elsewhere := service(t, reader, reader.Users())
	valid := func(accessToken string) bool {
		t.Helper()
		_, here := auth.Validate(ctx, accessToken)
		_, there := elsewhere.Validate(ctx, accessToken)
		if errors.Is(here, tokenauth.ErrUnavailable) || (here == nil) != (there == nil) {
			t.Errorf("Validate: %v here, %v at a plain connection", here, there)
		}
		return there == nil
	}
	if !valid(kept) || !valid(tokens[0]) {
		t.Error("a new token is not valid")
	}
	must(auth.RevokeClient(ctx, "one"))
	must(clients.SetDisabled(ctx, "two", true))
	must(clients.Delete(ctx, "three"))
	for i, token := range tokens {
		if valid(token) {
			t.Errorf("token %d is valid after its client was deleted", i)
		}
	}
	_, err = clients.RotateSecret(ctx, "one")
	must(err)
	must(clients.DropOldSecret(ctx, "one"))
	must(clients.SetIntrospection(ctx, "one", true, false))
	found, err := reader.Clients().FindClient(ctx, "one")
	if err != nil || len(found.Secrets) != 1 || !found.IntrospectsOwn {
		t.Errorf("a client is %+v, error %v", found, err)
	}

	now := time.Now().UnixMilli()
	keys := []throttle.Key{{1, 0xff, 0x80}, {2}, {3}}
	want := []throttle.Counter{{Failures: 3, FailedAt: now}, {Failures: 9, FailedAt: now - (101 * 24 * time.Hour).Milliseconds()}, {Failures: 1, FailedAt: now}}
	counters := func(s *gormstore.Store) (got []throttle.Counter) {
		t.Helper()
		must(s.UpdateCounters(ctx, keys, func(c []throttle.Counter) { got = slices.Clone(c) }))
		return got
	}
	must(s.UpdateCounters(ctx, keys, func(c []throttle.Counter) { copy(c, want) }))
	want[0].Failures++
	must(s.UpdateCounters(ctx, keys, func(c []throttle.Counter) { copy(c, want) }))
	if got := counters(reader); !slices.Equal(got, want) || !slices.Equal(counters(s), want) {
		t.Errorf("counters are %+v, want %+v", got, want)
	}
	if err := plain.Exec("UPDATE tokenauth_tokens SET expires_at = 1 WHERE client_id = ''").Error; err != nil {
		t.Fatal(err)
	}
	if removed, err := s.Purge(ctx, time.Now()); removed != 1 || err != nil {
		t.Errorf("Purge: %d, %v", removed, err)
	}
	if got := counters(reader); got[1] != (throttle.Counter{}) || got[0] != want[0] {
		t.Errorf("after the purge, counters are %+v", got)
	}

	for _, change := range []func() error{
		func() error { return users.SetRoles(ctx, user.ID, "Auditor") },
		func() error { return users.SetPassword(ctx, user.ID, tokenauth.NewSecret("password")) },
		func() error { return users.SetDisabled(ctx, user.ID, false) },
		func() error { return auth.RevokeUser(ctx, user.ID) },
		func() error { return users.Delete(ctx, user.ID) },
	} {
		if err := plain.Exec("UPDATE tokenauth_users SET password_hash = ?", cheapHash()).Error; err != nil {
			t.Fatal(err)
		}
		token := mustSignIn(t, auth, name)
		must(change())
		if valid(token) {
			t.Error("a token is valid after a change of its user")
		}
	}
	for _, queue := range []tokenauth.RevocationQueue{users, clients} {
		pending, err := queue.PendingRevocations(ctx, tokenauth.Revocation{})
		if err != nil || len(pending) == 0 {
			t.Errorf("pending revocations: %v, error %v", pending, err)
		}
		for _, p := range pending {
			must(queue.RemoveRevocation(ctx, p))
		}
		if pending, err = queue.PendingRevocations(ctx, tokenauth.Revocation{}); err != nil || len(pending) != 0 {
			t.Errorf("pending revocations after their removal: %v, error %v", pending, err)
		}
	}
	if n, err := users.Count(ctx); n != 0 || err != nil {
		t.Errorf("%d users, error %v", n, err)
	}
}

// parameters are DSN parameters. The driver sets those that it does not know as session
// variables on each connection.
func parameters(pairs ...string) string {
	var text []string
	for _, pair := range pairs {
		name, value, _ := strings.Cut(pair, "=")
		text = append(text, name+"="+url.QueryEscape(value))
	}
	return "?" + strings.Join(text, "&")
}

var mariadbWorks = []struct {
	name       string
	parameters []string
}{
	{"safe updates", []string{"sql_safe_updates=1", "sql_select_limit=1", "max_join_size=1000"}},
	{"READ COMMITTED", []string{"tx_isolation='READ-COMMITTED'"}},
	{"SERIALIZABLE", []string{"tx_isolation='SERIALIZABLE'"}},
	{"snapshot isolation", []string{"innodb_snapshot_isolation=1"}},
	{"no mode", []string{"sql_mode=''"}},
	{"modes of writing", []string{"sql_mode='ANSI,NO_BACKSLASH_ESCAPES,PIPES_AS_CONCAT,HIGH_NOT_PRECEDENCE,NO_UNSIGNED_SUBTRACTION,IGNORE_SPACE,SIMULTANEOUS_ASSIGNMENT'"}},
	{"modes of checking", []string{"sql_mode='TRADITIONAL,ONLY_FULL_GROUP_BY,PAD_CHAR_TO_FULL_LENGTH,NO_ZERO_DATE,NO_AUTO_VALUE_ON_ZERO'"}},
	{"Oracle's mode", []string{"sql_mode='ORACLE'"}},
	{"no backslashes, interpolated", []string{"sql_mode='NO_BACKSLASH_ESCAPES'", "interpolateParams=true"}},
	{"MyISAM by default", []string{"default_storage_engine=MyISAM", "innodb_strict_mode=0", "foreign_key_checks=0"}},
	{"short timeouts", []string{"innodb_lock_wait_timeout=1", "lock_wait_timeout=1", "max_statement_time=5", "idle_transaction_timeout=5"}},
	{"latin1", []string{"charset=latin1"}},
	{"binary", []string{"charset=binary"}},
	{"time zone and language", []string{"time_zone='+05:45'", "lc_time_names='de_DE'", "parseTime=true", "loc=Asia/Kathmandu"}},
	{"options of the driver", []string{"clientFoundRows=true", "multiStatements=true", "columnsWithAlias=true", "interpolateParams=true", "rejectReadOnly=true", "allowNativePasswords=true"}},
	{"SQL of old clients", []string{"sql_auto_is_null=1", "sql_big_selects=0", "sql_quote_show_create=0", "sql_notes=0"}},
}

var mariadbRefuses = []struct{ name, parameters, says string }{
	{"autocommit", parameters("autocommit=0"), "autocommit is 0, must be 1"},
	{"completion_type CHAIN", parameters("completion_type=1"), "completion_type is CHAIN, must be NO_CHAIN"},
	{"completion_type RELEASE", parameters("completion_type=2"), "completion_type is RELEASE, must be NO_CHAIN"},
	{"READ UNCOMMITTED", parameters("tx_isolation='READ-UNCOMMITTED'"), "tx_isolation is READ-UNCOMMITTED, must be"},
	{"unique_checks", parameters("unique_checks=0"), "unique_checks is 0, must be 1"},
	{"empty is NULL", parameters("sql_mode='EMPTY_STRING_IS_NULL'"), "sql_mode has EMPTY_STRING_IS_NULL"},
	{"character set", parameters("character_set_connection=latin1"), "character_set_client is utf8mb4 and character_set_connection latin1, must be the same"},
	{"collation", parameters("collation_connection=utf8mb3_general_ci"), "character_set_connection utf8mb3, must be the same"},
}

func TestMariaDBSettings(t *testing.T) {
	t.Parallel()
	for i, test := range mariadbWorks {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			inLongVariant(t, i >= 7)
			dsn := throwaway.MariaDB(t)
			works(t, newStore(t, openDialector(t, mysql.Open(dsn+parameters(test.parameters...)), nil), nil), openDialector(t, mysql.Open(dsn), nil))
		})
	}
	for _, test := range mariadbRefuses {
		t.Run("refused: "+test.name, func(t *testing.T) {
			t.Parallel()
			dsn := throwaway.MariaDB(t)
			db := openDialector(t, mysql.Open(dsn+test.parameters), nil)
			refused := func(by string, err error) {
				t.Helper()
				if !errors.Is(err, gormstore.ErrSetting) || !strings.Contains(err.Error(), test.says) {
					t.Errorf("%s returns %v, want %q in it", by, err, test.says)
				}
			}
			refused("Migrate", gormstore.Migrate(t.Context(), db, nil))
			newStore(t, openDialector(t, mysql.Open(dsn), nil), nil)
			_, err := gormstore.New(t.Context(), db, nil)
			refused("New", err)
		})
	}
}

// If a session gets a harmful setting after New, each call returns a storage error and
// changes nothing. No token is refused as invalid. The pool has one connection here.
func TestSessionThatDoesNotCommitIsAnError(t *testing.T) {
	t.Parallel()
	for _, setting := range []struct{ name, bad, good string }{
		{"autocommit", "SET autocommit = 0", "SET autocommit = 1"},
		{"completion_type", "SET completion_type = 'CHAIN'", "SET completion_type = 'NO_CHAIN'"},
		{"character set", "SET collation_connection = latin1_swedish_ci", "SET NAMES utf8mb4"},
	} {
		t.Run(setting.name, func(t *testing.T) {
			t.Parallel()
			dsn := throwaway.MariaDB(t)
			db := openDialector(t, mysql.Open(dsn), nil)
			pool, err := db.DB()
			if err != nil {
				t.Fatal(err)
			}
			pool.SetMaxOpenConns(1)
			s := newStore(t, db, nil)
			auth, ctx := service(t, s, s.Users()), t.Context()
			user := create(t, s, "alice")
			if _, err := s.Clients().Create(ctx, tokenauth.Client{ID: "client"}); err != nil {
				t.Fatal(err)
			}
			token := mustSignIn(t, auth, "alice")
			refreshing := refreshToken("refreshing", 1)
			refreshedAgain := nextToken(refreshing, 2)
			if err := s.Replace(ctx, refreshing); err != nil {
				t.Fatal(err)
			}
			before := dump(t, db)
			if err := db.Exec(setting.bad).Error; err != nil {
				t.Fatal(err)
			}
			calls := map[string]func() error{
				"Validate": func() error { _, err := auth.Validate(ctx, token); return err },
				"SignIn":   func() error { _, err := signIn(ctx, auth, "alice", "password"); return err },
				"SignIn, wrong": func() error {
					_, err := signIn(ctx, auth, "alice", "wrong")
					return err
				},
				"Issue": func() error {
					_, err := auth.Issue(ctx, tokenauth.Principal{UserID: user.ID, UserName: "alice"}, nil)
					return err
				},
				"Revoke":         func() error { return auth.Revoke(ctx, token) },
				"RevokeUser":     func() error { return auth.RevokeUser(ctx, user.ID) },
				"RevokeClient":   func() error { return auth.RevokeClient(ctx, "") },
				"SetDisabled":    func() error { return s.Users().SetDisabled(ctx, user.ID, true) },
				"Delete":         func() error { return s.Users().Delete(ctx, user.ID) },
				"disable client": func() error { return s.Clients().SetDisabled(ctx, "client", true) },
				"Recheck":        func() error { return s.Users().Recheck(ctx, tokenauth.Principal{UserID: user.ID}) },
				"FindClient":     func() error { _, err := s.Clients().FindClient(ctx, "nobody"); return err },
				"UpdateCounters": func() error {
					return s.UpdateCounters(ctx, []throttle.Key{{1}}, func(c []throttle.Counter) { c[0].Failures = 7 })
				},
				"PendingRevocations": func() error { _, err := s.Users().PendingRevocations(ctx, tokenauth.Revocation{}); return err },
				"FindBatch":          func() error { _, err := s.FindBatch(ctx, batchSlots(2)); return err },
				"FindRefresh":        func() error { _, err := s.FindRefresh(ctx, batchSlots(2)); return err },
				"Refresh":            func() error { _, err := s.Refresh(ctx, refreshing, refreshedAgain); return err },
				"Replace":            func() error { return s.Replace(ctx, refreshedAgain) },
				"FindBatch of one":   func() error { _, err := s.FindBatch(ctx, batchSlots(1)); return err },
			}
			for name, call := range calls {
				err := call()
				if err == nil || errors.Is(err, tokenauth.ErrRejected) || errors.Is(err, tokenauth.ErrInvalidToken) || errors.Is(err, tokenauth.ErrNotFound) {
					t.Errorf("%s: %v", name, err)
				} else if !strings.Contains(err.Error(), "autocommit must be 1, completion_type must be NO_CHAIN") {
					t.Errorf("%s says %q", name, err)
				}
			}
			if after := dump(t, openDialector(t, mysql.Open(dsn), nil)); after != before {
				t.Errorf("the tables are now\n%s, were\n%s", after, before)
			}
			if err := db.Exec(setting.good).Error; err != nil {
				t.Fatal(err)
			}
			if _, err := auth.Validate(ctx, token); err != nil {
				t.Errorf("after restoring the setting: %v", err)
			}
		})
	}
}

// dump returns the content of all tables in MariaDB.
func dump(t *testing.T, db *gorm.DB) string {
	t.Helper()
	var text bytes.Buffer
	for _, table := range []string{"tokens", "users", "counters", "clients", "revocations", "uses"} {
		var rows []map[string]any
		if err := db.Raw("SELECT * FROM tokenauth_" + table).Scan(&rows).Error; err != nil {
			t.Fatal(err)
		}
		fmt.Fprintln(&text, table, rows)
	}
	return text.String()
}

// Global settings of the server apply to each session that does not override them.
func TestMariaDBServerSettings(t *testing.T) {
	t.Parallel()
	server := throwaway.StartMariaDBWith(t, "--log-bin", "--lower-case-table-names=1", "--character-set-server=utf16", "--collation-server=utf16_bin",
		"--innodb-force-primary-key=1", "--innodb-default-row-format=redundant", "--default-time-zone=-03:30", "--binlog-format=ROW")
	plain := openDialector(t, mysql.Open(server.DSN()), nil)
	set := func(statement string) {
		t.Helper()
		if err := plain.Exec(statement).Error; err != nil {
			t.Fatal(err)
		}
	}
	// The account has no SUPER: init_connect does not run for accounts that have it.
	set("CREATE USER service IDENTIFIED BY ''")
	set("GRANT SELECT, INSERT, UPDATE, DELETE, CREATE, ALTER ON *.* TO service")
	openWith := func(parameters string) *gorm.DB {
		return openDialector(t, mysql.Open(strings.Replace(server.DSN(), "root@", "service@", 1)+parameters), nil)
	}
	open := func() *gorm.DB { return openWith("") }

	works(t, newStore(t, open(), nil), plain)
	for _, test := range []struct{ bad, good, says, parameters string }{ // with the parameters in the DSN, New works
		{"SET GLOBAL autocommit = 0", "SET GLOBAL autocommit = 1", "autocommit is 0", "?autocommit=1"},
		{"SET GLOBAL init_connect = 'SET autocommit = 0'", "SET GLOBAL init_connect = ''", "autocommit is 0", "?autocommit=1"},
		{"SET GLOBAL init_connect = 'SET collation_connection = utf8mb3_unicode_ci'", "SET GLOBAL init_connect = ''", "character_set_connection utf8mb3", "?charset=utf8mb4"},
		{"SET GLOBAL completion_type = 1", "SET GLOBAL completion_type = 0", "completion_type is CHAIN", "?completion_type=0"},
		{"SET GLOBAL tx_isolation = 'READ-UNCOMMITTED'", "SET GLOBAL tx_isolation = 'REPEATABLE-READ'", "READ-UNCOMMITTED", "?tx_isolation=%27READ-COMMITTED%27"},
		{"SET GLOBAL binlog_format = STATEMENT", "SET GLOBAL binlog_format = MIXED", "binlog_format is STATEMENT, must be ROW or MIXED", ""},
	} {
		set(test.bad)
		_, err := gormstore.New(t.Context(), open(), nil)
		if !errors.Is(err, gormstore.ErrSetting) || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s: New returns %v", test.bad, err)
		}
		if test.parameters != "" {
			if _, err := gormstore.New(t.Context(), openWith(test.parameters), nil); err != nil {
				t.Errorf("%s, and the DSN has %s: New returns %v", test.bad, test.parameters, err)
			}
		}
		set(test.good)
	}
	set("DELETE FROM tokenauth_clients")
	set("DELETE FROM tokenauth_counters")
	works(t, newStore(t, open(), nil), plain) // in the mixed format of the log

	// While the server is read-only, tokens stay valid.
	db := open()
	s := newStore(t, db, nil)
	auth := service(t, s, s.Users())
	create(t, s, "alice")
	token := mustSignIn(t, auth, "alice")
	set("SET GLOBAL read_only = 1")
	if _, err := gormstore.New(t.Context(), db, nil); err != nil {
		t.Errorf("read_only: New returns %v", err)
	}
	if _, err := signIn(t.Context(), auth, "alice", "password"); !errors.Is(err, tokenauth.ErrUnavailable) {
		t.Errorf("read_only: SignIn returns %v, want ErrUnavailable", err)
	}
	if _, err := auth.Validate(t.Context(), token); err != nil {
		t.Errorf("read_only: Validate returns %v", err)
	}
	set("SET GLOBAL read_only = 0")
	token = mustSignIn(t, auth, "alice")

	set("SET GLOBAL enforce_storage_engine = 'Aria'")
	set("SET GLOBAL sql_mode = ''")
	o := &gormstore.Options{TablePrefix: "aria_"}
	set("SET SESSION enforce_storage_engine = NULL")
	aria := open()
	if err := gormstore.Migrate(t.Context(), aria, o); err == nil { // creates the tables
		t.Error("with Aria Migrate returns nil")
	}
	expectRefused(t, aria, o, gormstore.ErrSetting, "uses the storage engine Aria, must use InnoDB")
	set("CREATE TABLE tokenauth_of_the_host (id INTEGER PRIMARY KEY) ENGINE = MyISAM") // not a table of this package
	if _, err := gormstore.New(t.Context(), open(), nil); err != nil {
		t.Errorf("with a table of the host's: %v", err)
	}
	if _, err := auth.Validate(t.Context(), token); err != nil {
		t.Error(err)
	}
}

// inLongVariant skips a test of a setting that is not one of the first.
func inLongVariant(t *testing.T, only bool) {
	t.Helper()
	if only && !throwaway.Long() {
		t.Skip("set TOKENAUTH_LONG=1 to test this setting")
	}
}

func second[T any](_ T, err error) error { return err }

// A value that is too long for its column is an error, even without a strict sql_mode.
func TestLongValuesAreNotCutOff(t *testing.T) {
	t.Parallel()
	s := newStore(t, openDialector(t, mysql.Open(throwaway.MariaDB(t)+parameters("sql_mode=''")), nil), nil)
	ctx, user := t.Context(), create(t, s, "alice")
	long := slices.Repeat([]string{strings.Repeat("x", 1000)}, 70)
	_, byCreate := s.Clients().Create(ctx, tokenauth.Client{ID: "client", Roles: long})
	_, byImport := s.Users().Import(ctx, gormstore.User{Name: "bob", Roles: long}, cheapHash())
	_, byAttributes := s.Users().Import(ctx, gormstore.User{Name: "bob", Attributes: map[string]string{"a": strings.Repeat("x", 70_000)}}, cheapHash())
	for by, err := range map[string]error{
		"Clients.Create": byCreate, "Users.Import": byImport, "Users.Import of attributes": byAttributes,
		"Users.SetRoles": s.Users().SetRoles(ctx, user.ID, long...),
		"Replace":        s.Replace(ctx, tokenauth.Token{ClientID: strings.Repeat("x", 257)}),
		"Rename":         s.Rename(ctx, tokenauth.Slot{}, tokenauth.Digest{}, strings.Repeat("x", 129)),
	} {
		if !errors.Is(err, gormstore.ErrInvalid) {
			t.Errorf("%s: error %v, want ErrInvalid", by, err)
		}
	}
}

// Create returns ErrExists for a taken name, even in a host's transaction whose snapshot
// is older than the user.
func TestTakenNameInSnapshotTransaction(t *testing.T) {
	t.Parallel()
	for _, isolation := range []sql.IsolationLevel{sql.LevelRepeatableRead, sql.LevelSerializable, sql.LevelReadCommitted} {
		t.Run(isolation.String(), func(t *testing.T) {
			t.Parallel()
			s, db := engines[2].store(t)
			err := db.Transaction(func(tx *gorm.DB) error {
				if n, err := s.Users().WithTx(tx).Count(t.Context()); n != 0 || err != nil { // takes the snapshot
					t.Errorf("%d users, error %v", n, err)
				}
				if isolation != sql.LevelSerializable { // at this level the count locks
					create(t, s, "alice")
				} else if _, err := s.Users().WithTx(tx).Import(t.Context(), gormstore.User{Name: "alice"}, cheapHash()); err != nil {
					t.Error(err)
				}
				_, err := s.Users().WithTx(tx).Import(t.Context(), gormstore.User{Name: "ALICE"}, cheapHash())
				return err
			}, &sql.TxOptions{Isolation: isolation})
			if !errors.Is(err, gormstore.ErrExists) {
				t.Errorf("creating the user again: error %v, want ErrExists", err)
			}
		})
	}
}

// With innodb_snapshot_isolation, MariaDB rolls back a transaction at REPEATABLE READ
// that would miss a token. The error says what to do.
func TestSnapshotIsolationMissesNoToken(t *testing.T) {
	t.Parallel()
	db := openDialector(t, mysql.Open(throwaway.MariaDB(t)+parameters("innodb_snapshot_isolation=1")), nil)
	s := newStore(t, db, nil)
	auth, ctx := service(t, s, s.Users()), t.Context()
	user := create(t, s, "alice")
	mustSignIn(t, auth, "alice")
	var token string
	change := func(level sql.IsolationLevel) error {
		return db.Transaction(func(tx *gorm.DB) error {
			if _, err := s.Users().WithTx(tx).Count(ctx); err != nil { // takes the snapshot
				return err
			}
			token = mustSignIn(t, auth, "alice")
			return s.Users().WithTx(tx).SetRoles(ctx, user.ID, "Auditor")
		}, &sql.TxOptions{Isolation: level})
	}
	err := change(sql.LevelRepeatableRead)
	if err == nil || !strings.Contains(err.Error(), "begin the transaction at READ COMMITTED") {
		t.Errorf("at REPEATABLE READ: %v", err)
	}
	if _, err := auth.Validate(ctx, token); err != nil {
		t.Errorf("the transaction was rolled back, but the token has ended: %v", err)
	}
	if err := change(sql.LevelReadCommitted); err != nil {
		t.Errorf("at READ COMMITTED: %v", err)
	}
	if _, err := auth.Validate(ctx, token); !errors.Is(err, tokenauth.ErrInvalidToken) {
		t.Errorf("after a change at READ COMMITTED: error %v, want ErrInvalidToken", err)
	}
}
