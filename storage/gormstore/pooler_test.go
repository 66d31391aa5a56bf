package gormstore_test

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"gorm.io/driver/postgres"
	"gorm.io/gorm"
	"gorm.io/gorm/logger"

	"github.com/bearerkit/bearerkit/internal/throwaway"
	"github.com/bearerkit/bearerkit/storage/gormstore"
	"github.com/bearerkit/bearerkit/storage/gormstore/pgxfeed"
	"github.com/bearerkit/bearerkit/storage/storagetest"
	"github.com/bearerkit/bearerkit/tokenauth"
)

// An execMode is a way in which a host has its statements run.
type execMode struct {
	name, params    string // of the DSN
	prepare, simple bool   // settings of GORM and of its driver
}

var (
	execModes = []execMode{
		{name: "exec", params: "&default_query_exec_mode=exec"},
		{name: "simple_protocol", params: "&default_query_exec_mode=simple_protocol"},
		{name: "cache_describe", params: "&default_query_exec_mode=cache_describe"},
		{name: "PreferSimpleProtocol", simple: true},
	}
	preparingModes = []execMode{ // these rely on one connection of the server
		{name: "default"},
		{name: "describe_exec", params: "&default_query_exec_mode=describe_exec"},
		{name: "PrepareStmt", prepare: true},
		{name: "exec and PrepareStmt", params: "&default_query_exec_mode=exec", prepare: true},
	}
)

func (m execMode) open(t *testing.T, dsn string) *gorm.DB {
	t.Helper()
	d := postgres.New(postgres.Config{DSN: dsn + m.params, PreferSimpleProtocol: m.simple})
	return openDialector(t, d, &gorm.Config{PrepareStmt: m.prepare, Logger: logger.Discard})
}

// Everything works behind PgBouncer in the modes for which the README says so.
func TestWorksBehindPgBouncer(t *testing.T) {
	t.Parallel()
	admin := throwaway.Postgres(t)
	for pool, modes := range map[string][]execMode{
		"session":     slices.Concat(preparingModes, execModes),
		"transaction": execModes,
	} {
		t.Run(pool, func(t *testing.T) {
			t.Parallel()
			// There are fewer server connections than clients. So with pooled
			// transactions a client often gets another connection. With pooled
			// sessions it keeps its own.
			size := "default_pool_size = 4"
			if pool == "session" {
				size = "default_pool_size = 60"
			}
			bouncer := throwaway.StartPgBouncer(t, admin, "pool_mode = "+pool, size)
			for _, mode := range modes {
				t.Run(mode.name, func(t *testing.T) {
					t.Parallel()
					direct := throwaway.Postgres(t)
					db := mode.open(t, through(t, bouncer, direct))
					w := withFeed(t, db, "", pgxfeed.Listener{DSN: direct})
					useEverything(t, w, db)
				})
			}
		})
	}
}

func TestStorageBehindPgBouncer(t *testing.T) {
	if !throwaway.Long() {
		t.Skip("TestWorksBehindPgBouncer is the short form; set TOKENAUTH_LONG=1 for this one")
	}
	t.Parallel()
	direct := throwaway.Postgres(t)
	bouncer := throwaway.StartPgBouncer(t, direct, "pool_mode = transaction", "default_pool_size = 8")
	for _, mode := range execModes[:2] { // the short form runs the statements in the other modes, too
		t.Run(mode.name, func(t *testing.T) {
			e := engine{"postgres", func(testing.TB) gorm.Dialector {
				return postgres.New(postgres.Config{DSN: bouncer.DSN() + mode.params, PreferSimpleProtocol: mode.simple})
			}}
			storagetest.Run(t, e.prefixes(t, func(t *testing.T, db *gorm.DB, prefix string) tokenauth.Storage {
				return withFeed(t, db, strings.ToLower(mode.name)+prefix, pgxfeed.Listener{DSN: direct})
			}))
		})
	}
}

// If statements would fail, or those of another client run, New and Migrate return an
// error with the settings to change.
func TestRefusesPoolersThatLoseStatements(t *testing.T) {
	t.Parallel()
	direct := throwaway.Postgres(t)
	newStore(t, openDialector(t, postgres.Open(direct), nil), nil)
	for pool, modes := range map[string][]execMode{
		"transaction": preparingModes,
		"statement":   slices.Concat(preparingModes, execModes),
	} {
		for _, mode := range modes {
			t.Run(pool+"/"+mode.name, func(t *testing.T) {
				t.Parallel()
				bouncer := throwaway.StartPgBouncer(t, direct, "pool_mode = "+pool)
				db := mode.open(t, bouncer.DSN())
				advice := "pool_mode = transaction"
				if pool == "transaction" {
					advice = "default_query_exec_mode=exec"
				}
				expectRefused(t, db, nil, gormstore.ErrPooler, advice)
			})
		}
	}
}

// A pooler that does not reset its sessions leaves prepared statements to the next
// client. New refuses it.
func TestRefusesSessionsThatAreNotReset(t *testing.T) {
	t.Parallel()
	direct := throwaway.Postgres(t)
	newStore(t, openDialector(t, postgres.Open(direct), nil), nil)
	bouncer := throwaway.StartPgBouncer(t, direct, "pool_mode = session", "server_reset_query =")
	mode := preparingModes[0]
	first := mode.open(t, bouncer.DSN())
	if _, err := gormstore.New(t.Context(), first, nil); err != nil {
		t.Fatal(err)
	}
	pool, _ := first.DB()
	pool.Close()
	_, err := gormstore.New(t.Context(), mode.open(t, bouncer.DSN()), nil)
	if !errors.Is(err, gormstore.ErrPooler) || !strings.Contains(err.Error(), "server_reset_query") {
		t.Errorf("New returns %v", err)
	}
}

// If the check of New could not detect the pooler, a colliding statement is a storage
// error with the same advice. It does not make a token invalid.
func TestCollidingStatementsAreStorageErrors(t *testing.T) {
	t.Parallel()
	direct := throwaway.Postgres(t)
	newStore(t, openDialector(t, postgres.Open(direct), nil), nil)
	bouncer := throwaway.StartPgBouncer(t, direct, "pool_mode = transaction", "default_pool_size = 4")
	for _, mode := range []execMode{preparingModes[0], preparingModes[1]} {
		t.Run(mode.name, func(t *testing.T) {
			db := mode.open(t, bouncer.DSN())
			pool, err := db.DB()
			if err != nil {
				t.Fatal(err)
			}
			pool.SetMaxIdleConns(1)
			pool.SetMaxOpenConns(1) // so that only this test uses the connection
			s, err := gormstore.New(t.Context(), db, nil)
			if err != nil {
				t.Fatal(err)
			}
			user := create(t, s, mode.name)
			auth, err := tokenauth.New(s, s.Users(), &tokenauth.Options{Logger: quiet})
			if err != nil {
				t.Fatal(err)
			}
			grant, err := auth.Issue(t.Context(), tokenauth.Principal{UserID: user.ID}, nil)
			if err != nil {
				t.Fatal(err)
			}
			pool.SetMaxIdleConns(16)
			pool.SetMaxOpenConns(16)
			var mu sync.Mutex
			seen := 0
			check := func(what string, err error) {
				mu.Lock()
				defer mu.Unlock()
				switch {
				case errors.Is(err, gormstore.ErrPooler) && strings.Contains(err.Error(), "default_query_exec_mode=exec"):
					seen++
				case err != nil:
					t.Errorf("%s returns %v", what, err)
				}
			}
			var wg sync.WaitGroup
			for range 16 {
				wg.Go(func() {
					for range 20 {
						_, err := auth.Validate(t.Context(), grant.AccessToken.Reveal())
						check("Validate", err)
						// A collision is an error only if the two statements have
						// different numbers of arguments.
						_, err = s.Users().Find(t.Context(), user.ID)
						check("Find", err)
					}
				})
			}
			wg.Wait()
			if seen == 0 {
				t.Error("no statements collided, so this tests nothing")
			}
		})
	}
}

// PgBouncer refuses unknown DSN parameters, or drops them. So the search path must be a
// setting of the database or the role.
func TestSearchPathBehindPgBouncer(t *testing.T) {
	t.Parallel()
	direct := throwaway.Postgres(t)
	admin := openDialector(t, postgres.Open(direct), nil)
	if err := admin.Exec(`CREATE SCHEMA auth`).Error; err != nil {
		t.Fatal(err)
	}
	newStore(t, openDialector(t, postgres.Open(direct+"&search_path=auth"), nil), nil)
	const params = "&default_query_exec_mode=exec&search_path=auth&extra_float_digits=1"
	open := func(setting string) (*gorm.DB, error) {
		bouncer := throwaway.StartPgBouncer(t, direct, "pool_mode = transaction", setting)
		db, err := gorm.Open(postgres.Open(bouncer.DSN()+params), &gorm.Config{Logger: logger.Discard})
		if err == nil {
			pool, _ := db.DB()
			t.Cleanup(func() { pool.Close() })
		}
		return db, err
	}
	if _, err := open("max_db_connections = 0"); err == nil || !strings.Contains(err.Error(), "unsupported startup parameter") {
		t.Errorf("without ignore_startup_parameters: %v", err)
	}
	const ignore = "ignore_startup_parameters = search_path,extra_float_digits"
	db, err := open(ignore)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := gormstore.New(t.Context(), db, nil); !errors.Is(err, gormstore.ErrSchemaVersion) {
		t.Errorf("with a search path that is dropped: error %v, want ErrSchemaVersion", err)
	}
	if err := admin.Exec(`DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET search_path = auth', current_database()); END $$`).Error; err != nil {
		t.Fatal(err)
	}
	if db, err = open(ignore); err != nil {
		t.Fatal(err)
	}
	s, err := gormstore.New(t.Context(), db, nil)
	if err != nil {
		t.Fatal(err)
	}
	create(t, s, "alice")
}

// through returns the DSN behind PgBouncer of another database of the same server.
func through(t *testing.T, bouncer *throwaway.Server, direct string) string {
	t.Helper()
	u, err := url.Parse(bouncer.DSN())
	if err != nil {
		t.Fatal(err)
	}
	other, err := url.Parse(direct)
	if err != nil {
		t.Fatal(err)
	}
	u.Path = other.Path
	return u.String()
}

// useEverything runs every SQL statement of the store, with many concurrent clients.
func useEverything(t *testing.T, w watched, db *gorm.DB) {
	t.Helper()
	useAll(t, w, db)
	useTogether(t, w.Store, db)
}

// useTogether signs users in and changes them, concurrently.
func useTogether(t *testing.T, s *gormstore.Store, db *gorm.DB) {
	t.Helper()
	auth, ctx := service(t, s, s.Users()), t.Context()
	var wg sync.WaitGroup
	for i := range 12 {
		wg.Go(func() {
			user, err := s.Users().Import(ctx, gormstore.User{Name: fmt.Sprint("user", i)}, cheapHash())
			if err != nil {
				t.Error(err)
				return
			}
			for round := range long(12) {
				if err := useOnce(ctx, auth, s.Users(), db, user, round); err != nil {
					t.Errorf("%s, round %d: %v", user.Name, round, err)
					return
				}
			}
		})
	}
	wg.Wait()
}

// useOnce signs a user in, changes the user in a host's transaction, and checks that the
// change ends the token.
func useOnce(ctx context.Context, auth *tokenauth.Service, users *gormstore.Users, db *gorm.DB, user gormstore.User, round int) error {
	grant, err := signIn(ctx, auth, user.Name, "password")
	if err != nil {
		return err
	}
	accessToken := grant.AccessToken.Reveal()
	if found, err := auth.Validate(ctx, accessToken); err != nil || found.Principal.UserID != user.ID {
		return fmt.Errorf("the token is of %q: %w", found.Principal.UserID, err)
	}
	role := fmt.Sprint("Role", round)
	err = db.Transaction(func(tx *gorm.DB) error { return users.WithTx(tx).SetRoles(ctx, user.ID, role) })
	if err != nil {
		return err
	}
	if found, err := users.Find(ctx, user.ID); err != nil || fmt.Sprint(found.Roles) != "["+role+"]" {
		return fmt.Errorf("the roles are %v: %w", found.Roles, err)
	}
	if _, err := auth.Validate(ctx, accessToken); !errors.Is(err, tokenauth.ErrInvalidToken) {
		return fmt.Errorf("after the change the token is not refused: %v", err)
	}
	return nil
}

// If only one session is free, PgBouncer accepts a second client and lets its statements
// wait. New must not wait for long.
func TestNewNeedsOneSessionOfPgBouncer(t *testing.T) {
	t.Parallel()
	direct := throwaway.Postgres(t)
	newStore(t, openDialector(t, postgres.Open(direct), nil), nil)
	bouncer := throwaway.StartPgBouncer(t, direct, "pool_mode = session", "default_pool_size = 1")
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	db := preparingModes[0].open(t, bouncer.DSN())
	s, err := gormstore.New(ctx, db, nil)
	if err != nil {
		t.Fatal(err)
	}
	create(t, s, "alice")
}

// With an account that may not read pg_prepared_statements, New works without the check.
func TestNewWorksWithoutViewOfPreparedStatements(t *testing.T) {
	t.Parallel()
	a := accountsOn(t, engines[1])
	newStore(t, a.admin, nil)
	a.exec(t, `REVOKE SELECT ON pg_catalog.pg_prepared_statements FROM PUBLIC`)
	a.grant(t, a.service, "tokenauth_")
	s, err := gormstore.New(t.Context(), a.open(t, a.service), nil)
	if err != nil {
		t.Fatal(err)
	}
	create(t, s, "alice")
}
