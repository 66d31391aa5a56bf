package gormstore_test

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"gorm.io/driver/mysql"
	"gorm.io/driver/postgres"
	"gorm.io/gorm"
	"gorm.io/gorm/logger"
	"gorm.io/gorm/schema"

	"github.com/bearerkit/bearerkit/internal/throwaway"
	"github.com/bearerkit/bearerkit/storage/gormstore"
	"github.com/bearerkit/bearerkit/tokenauth"
)

// exercise signs a user in, changes the user, validates, uses devices, refreshes and purges.
func exercise(t *testing.T, s *gormstore.Store) (accessToken string, digest tokenauth.Digest) {
	t.Helper()
	auth := service(t, s, s.Users())
	user := create(t, s, "alice")
	if err := s.Users().SetRoles(t.Context(), user.ID, "Reader"); err != nil {
		t.Fatal(err)
	}
	mustSignIn(t, auth, "alice")
	grant, err := signIn(t.Context(), auth, "alice", "password")
	if err != nil {
		t.Fatal(err)
	}
	accessToken = grant.AccessToken.Reveal()
	token, err := auth.Validate(t.Context(), accessToken)
	if err != nil || !token.IssuedAt.Equal(grant.Token.IssuedAt) || token.Replaced.IsZero() {
		t.Fatalf("Validate returns %+v, error %v", token, err)
	}
	if err := errors.Join(useDevices(t.Context(), s), useRefresh(t.Context(), s)); err != nil {
		t.Fatal(err)
	}
	if _, err := auth.Purge(t.Context()); err != nil {
		t.Fatal(err)
	}
	return accessToken, grant.Token.Digest
}

// The store works with any GORM settings of the host. The host's logger prints no digest,
// password hash or token.
func TestWorksWithHostSettingsAndLogsNoSecret(t *testing.T) {
	onEach(t, func(t *testing.T, e engine) {
		for name, config := range map[string]gorm.Config{
			"defaults":      {},
			"prepared":      {PrepareStmt: true},
			"naming":        {NamingStrategy: schema.NamingStrategy{TablePrefix: "host_", SingularTable: true, NoLowerCase: true}},
			"errors":        {TranslateError: true, SkipDefaultTransaction: true, QueryFields: true, AllowGlobalUpdate: true},
			"dry callbacks": {DisableNestedTransaction: true, DisableAutomaticPing: true, CreateBatchSize: 1},
		} {
			t.Run(name, func(t *testing.T) {
				var printed bytes.Buffer
				config.Logger = logger.New(log.New(&printed, "", 0), logger.Config{LogLevel: logger.Info, SlowThreshold: time.Nanosecond})
				s := newStore(t, e.open(t, &config), nil)
				accessToken, digest := exercise(t, s)
				for _, secret := range []string{accessToken, digest.String(), cheapHash(), string(digest[:])} {
					if strings.Contains(printed.String(), secret) {
						t.Errorf("the host's logger printed %q", secret)
					}
				}
			})
		}
	})
}

func TestWorksWithDSNParameters(t *testing.T) {
	t.Parallel()
	for _, params := range []string{"", "?parseTime=true&loc=America%2FNew_York", "?interpolateParams=true", "?clientFoundRows=true&charset=latin1", "?time_zone=%27%2B05%3A00%27&sql_mode=ANSI_QUOTES"} {
		t.Run("mariadb"+params, func(t *testing.T) {
			t.Parallel()
			exercise(t, newStore(t, openDialector(t, mysql.Open(throwaway.MariaDB(t)+params), nil), nil))
		})
	}
	t.Run("postgres simple protocol", func(t *testing.T) {
		t.Parallel()
		d := postgres.New(postgres.Config{DSN: throwaway.Postgres(t) + "&TimeZone=Asia/Kathmandu", PreferSimpleProtocol: true})
		exercise(t, newStore(t, openDialector(t, d, nil), nil))
	})
}

func TestPrefixesSeparateStores(t *testing.T) {
	onEach(t, func(t *testing.T, e engine) {
		db := e.open(t, nil)
		a := newStore(t, db, &gormstore.Options{TablePrefix: "first_"})
		b := newStore(t, db, &gormstore.Options{TablePrefix: "second_"})
		accessToken, _ := exercise(t, a)
		if _, err := service(t, b, b.Users()).Validate(t.Context(), accessToken); !errors.Is(err, tokenauth.ErrInvalidToken) {
			t.Errorf("validating a token with another prefix: error %v, want ErrInvalidToken", err)
		}
		for _, prefix := range []string{"Upper_", "a-b", "1a", strings.Repeat("x", 33), "a;b"} {
			if err := gormstore.Migrate(t.Context(), db, &gormstore.Options{TablePrefix: prefix}); err == nil {
				t.Errorf("prefix %q is accepted", prefix)
			}
		}
	})
}

func TestMigrateUpAndDown(t *testing.T) {
	onEach(t, func(t *testing.T, e engine) {
		db, ctx := e.open(t, nil), t.Context()
		_, err := gormstore.New(ctx, db, nil)
		if !errors.Is(err, gormstore.ErrSchemaVersion) || !strings.Contains(err.Error(), "Migrate") {
			t.Errorf("without a schema: %v", err)
		}
		migrateAtOnce(t, db, nil)
		s, err := gormstore.New(ctx, db, nil)
		if err != nil {
			t.Fatal(err)
		}
		accessToken, _ := exercise(t, s)
		if err := gormstore.Migrate(ctx, db, nil); err != nil {
			t.Error(err)
		}
		if _, err := service(t, s, s.Users()).Validate(ctx, accessToken); err != nil {
			t.Errorf("after migrating again: %v", err)
		}

		// Apply the scripts by hand, down and up again.
		script := func(name string) { t.Helper(); apply(t, e, db, name) }
		script("0007_refresh.down.sql")
		if _, err := gormstore.New(ctx, db, nil); !errors.Is(err, gormstore.ErrSchemaVersion) {
			t.Errorf("after one script down: error %v, want ErrSchemaVersion", err)
		}
		script("0006_devices.down.sql")
		script("0005_revocations.down.sql")
		script("0004_introspection.down.sql")
		script("0003_clients.down.sql")
		script("0002_counters.down.sql")
		if _, err := gormstore.New(ctx, db, nil); !errors.Is(err, gormstore.ErrSchemaVersion) {
			t.Errorf("after six scripts down: error %v, want ErrSchemaVersion", err)
		}
		script("0001_init.down.sql")
		if _, err := gormstore.New(ctx, db, nil); !errors.Is(err, gormstore.ErrSchemaVersion) {
			t.Errorf("after all scripts down: error %v, want ErrSchemaVersion", err)
		}
		script("0001_init.up.sql")
		script("0001_init.up.sql")
		for _, file := range []string{"0002_counters", "0003_clients"} {
			script(file + ".up.sql")
			script(file + ".up.sql")
		}
		script("0004_introspection.up.sql")
		script("0005_revocations.up.sql")
		script("0005_revocations.up.sql")
		script("0006_devices.up.sql")
		script("0007_refresh.up.sql")
		if s, err = gormstore.New(ctx, db, nil); err != nil {
			t.Fatal(err)
		}
		exercise(t, s)
		if err := db.Exec(`DELETE FROM tokenauth_schema`).Error; err != nil {
			t.Fatal(err)
		}
		if _, err := gormstore.New(ctx, db, nil); !errors.Is(err, gormstore.ErrSchemaVersion) {
			t.Errorf("with an old schema: error %v, want ErrSchemaVersion", err)
		}
	})
}

// migrateAtOnce calls Migrate concurrently, as replicas do that start at the same time.
func migrateAtOnce(t *testing.T, db *gorm.DB, o *gormstore.Options) {
	t.Helper()
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			if err := gormstore.Migrate(t.Context(), db, o); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

// apply applies a script of the engine by hand.
func apply(t *testing.T, e engine, db *gorm.DB, name string) {
	t.Helper()
	folder := e.name
	if folder == "mariadb" {
		folder = "mysql"
	}
	text, err := gormstore.Migrations.ReadFile("migrations/" + folder + "/" + name)
	if err != nil {
		t.Fatal(err)
	}
	for statement := range strings.SplitSeq(string(text), ";\n") {
		if strings.TrimSpace(statement) == "" {
			continue
		}
		if err := db.Exec(statement).Error; err != nil {
			t.Fatal(err)
		}
	}
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	if _, err := gormstore.New(t.Context(), nil, nil); err == nil {
		t.Error("a nil database is accepted")
	}
	_, db := engines[0].store(t)
	tx := db.Begin()
	defer tx.Rollback()
	if _, err := gormstore.New(t.Context(), tx, nil); err == nil || !strings.Contains(err.Error(), "transaction") {
		t.Errorf("a transaction: %v", err)
	}
}

// A dump of the database contains no access token, and no secret part of one.
func TestDatabaseHoldsNoAccessToken(t *testing.T) {
	onEach(t, func(t *testing.T, e engine) {
		s, db := e.store(t)
		accessToken, _ := exercise(t, s)
		var dump bytes.Buffer
		for _, table := range []string{"tokenauth_tokens", "tokenauth_users", "tokenauth_counters", "tokenauth_clients", "tokenauth_revocations", "tokenauth_uses", "tokenauth_schema"} {
			rows, err := db.Raw("SELECT * FROM " + table).Rows()
			if err != nil {
				t.Fatal(err)
			}
			columns, err := rows.Columns()
			if err != nil {
				t.Fatal(err)
			}
			for rows.Next() {
				values := make([]sql.RawBytes, len(columns))
				targets := make([]any, len(columns))
				for i := range values {
					targets[i] = &values[i]
				}
				if err := rows.Scan(targets...); err != nil {
					t.Fatal(err)
				}
				for _, value := range values {
					fmt.Fprintf(&dump, "%s\n%x\n", value, []byte(value))
				}
			}
			rows.Close()
		}
		if dump.Len() == 0 {
			t.Fatal("the dump is empty")
		}
		if e.name == "sqlite" {
			files, _ := filepath.Glob(filepath.Join(sqliteFolder(t, db), "*"))
			for _, file := range files {
				b, err := os.ReadFile(file)
				if err != nil {
					t.Fatal(err)
				}
				dump.Write(b)
			}
		}
		// Search for the whole token, and for its secret half in each alignment.
		secret := accessToken[len("tat_")+44 : len("tat_")+86]
		for _, part := range []string{accessToken, secret, "password\n"} {
			if bytes.Contains(dump.Bytes(), []byte(part)) {
				t.Errorf("the dump has %q", part)
			}
		}
	})
}

func sqliteFolder(t *testing.T, db *gorm.DB) string {
	t.Helper()
	var seq int
	var name, file string
	if err := db.Raw("PRAGMA database_list").Row().Scan(&seq, &name, &file); err != nil {
		t.Fatal(err)
	}
	return filepath.Dir(file)
}

// On PostgreSQL repeated sign-ins, refreshes, new names and recorded uses do not
// change an index. The test starts its own server, because transactions in other
// databases would keep dead rows from being pruned.
func TestSignInsAndUsesAreHOTUpdates(t *testing.T) {
	t.Parallel()
	db := openDialector(t, postgres.Open(throwaway.StartPostgres(t).DSN()), nil)
	s := newStore(t, db, nil)
	auth := service(t, s, s.Users())
	const users, rounds = 50, 40
	for round := range rounds {
		uses := make([]tokenauth.Use, users)
		for i := range users {
			issued, err := auth.Issue(t.Context(), tokenauth.Principal{UserID: fmt.Sprint(i), UserName: "somebody", Roles: []string{"Reader"}}, nil)
			if err != nil {
				t.Fatal(err)
			}
			uses[i] = use(issued.Token, hour.Add(time.Duration(round)*time.Hour))
			was := refreshToken(fmt.Sprint("refreshing", i), 0)
			if round == 0 {
				err = s.Replace(t.Context(), nextToken(was, 1))
			} else {
				_, err = s.Refresh(t.Context(), nextToken(was, byte(round)), nextToken(was, byte(round+1)))
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		if err := s.RecordUses(t.Context(), uses); err != nil {
			t.Fatal(err)
		}
		if round == 0 {
			continue
		}
		for i := range users {
			if err := s.Rename(t.Context(), uses[i].Slot, uses[i].Digest, fmt.Sprint("name ", round)); err != nil {
				t.Fatal(err)
			}
		}
	}
	pool, err := db.DB()
	if err != nil {
		t.Fatal(err)
	}
	pool.SetMaxIdleConns(0) // a backend reports its statistics when it ends
	for table, want := range map[string]int{"tokenauth_tokens": 3 * users * (rounds - 1), "tokenauth_uses": users * (rounds - 1)} {
		var updates, hot int
		deadline := time.Now().Add(time.Minute)
		for updates < want && time.Now().Before(deadline) {
			if err := pool.QueryRow(`SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = $1`, table).Scan(&updates, &hot); err != nil {
				t.Fatal(err)
			}
		}
		t.Logf("%s: %d updates, %d of them HOT", table, updates, hot)
		if updates != want || hot < updates*95/100 {
			t.Errorf("%s: %d of %d updates were HOT, want at least %d", table, hot, updates, updates*95/100)
		}
	}
}

// A service does not get a driver as a dependency of this package.
func TestImportsNoDriver(t *testing.T) {
	t.Parallel()
	out, err := exec.CommandContext(context.Background(), "go", "list", "-deps", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, driver := range []string{"pgx", "go-sql-driver", "sqlite", "lib/pq"} {
		if strings.Contains(string(out), driver) {
			t.Errorf("imports %s", driver)
		}
	}
}
