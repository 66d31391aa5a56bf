package gormstore_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"gorm.io/driver/postgres"

	"github.com/bearerkit/bearerkit/internal/throwaway"
	"github.com/bearerkit/bearerkit/storage/gormstore"
	"github.com/bearerkit/bearerkit/tokenauth"
)

// A service may be connected to a standby by its DSN, by a balancer or after a failover.
// It must not answer from there: a standby still has ended tokens, and lacks new ones.
func TestStandbyIsUnavailable(t *testing.T) {
	t.Parallel()
	primary := throwaway.StartPostgres(t)
	standby := throwaway.StartPostgresStandby(t, primary)
	route := new(balancer)
	for _, s := range []*throwaway.Server{primary, standby} {
		config, err := pgx.ParseConfig(s.DSN())
		if err != nil {
			t.Fatal(err)
		}
		route.nodes = append(route.nodes, stdlib.GetConnector(*config))
	}
	route.fixed.Store(1)
	pool := openConnector(t, route)
	db := openDialector(t, postgres.New(postgres.Config{Conn: pool}), nil)
	pool.SetMaxIdleConns(0)
	s := newStore(t, db, nil)
	ctx, users, clients := t.Context(), s.Users(), s.Clients()
	auth := service(t, s, users)
	user := create(t, s, "alice")
	if err := clients.CreatePublic(ctx, tokenauth.Client{ID: "app"}); err != nil {
		t.Fatal(err)
	}
	valid, ended := mustSignIn(t, auth, "alice"), issueTo(t, auth, "bob")

	copied := openDialector(t, postgres.Open(standby.DSN()), nil)
	eventually(t, "the standby has the tokens", func() bool {
		var n int
		return copied.Raw("SELECT count(*) FROM tokenauth_tokens").Row().Scan(&n) == nil && n == 2
	})
	if err := copied.Exec("SELECT pg_wal_replay_pause()").Error; err != nil {
		t.Fatal(err)
	}
	if err := auth.Revoke(ctx, ended); err != nil {
		t.Fatal(err)
	}
	create(t, s, "carol")
	late := mustSignIn(t, auth, "carol")

	route.fixed.Store(2)
	for what, accessToken := range map[string]string{"valid": valid, "ended": ended, "new": late} {
		if _, err := auth.Validate(ctx, accessToken); !errors.Is(err, tokenauth.ErrUnavailable) || !strings.Contains(err.Error(), "standby") {
			t.Errorf("at a standby a token that is %s: %v", what, err)
		}
	}
	for _, name := range []string{"alice", "carol"} {
		if _, err := signIn(ctx, auth, name, "password"); !errors.Is(err, tokenauth.ErrUnavailable) {
			t.Errorf("at a standby %s signs in: error %v, want ErrUnavailable", name, err)
		}
	}
	principal := tokenauth.Principal{UserID: user.ID}
	for name, call := range map[string]func() error{
		"New":                        func() error { _, err := gormstore.New(ctx, db, nil); return err },
		"List":                       func() error { _, err := s.List(ctx, tokenauth.UserKeyOf("nobody")); return err },
		"FindBatch":                  func() error { _, err := s.FindBatch(ctx, batchSlots(2)); return err },
		"FindBatch of one":           func() error { _, err := s.FindBatch(ctx, batchSlots(1)); return err },
		"Users.Find":                 func() error { _, err := users.Find(ctx, "no-id"); return err },
		"Users.FindByName":           func() error { _, err := users.FindByName(ctx, "nobody"); return err },
		"Users.Count":                func() error { _, err := users.Count(ctx); return err },
		"Users.LiveCheck":            func() error { return users.LiveCheck(ctx, tokenauth.Token{Principal: principal}) },
		"Users.Recheck":              func() error { return users.Recheck(ctx, principal) },
		"Users.PendingRevocations":   func() error { _, err := users.PendingRevocations(ctx, tokenauth.Revocation{}); return err },
		"Clients.FindClient":         func() error { _, err := clients.FindClient(ctx, "nobody"); return err },
		"Clients.PendingRevocations": func() error { _, err := clients.PendingRevocations(ctx, tokenauth.Revocation{}); return err },
	} {
		err := call()
		if err == nil || errors.Is(err, tokenauth.ErrNotFound) || errors.Is(err, tokenauth.ErrRejected) {
			t.Errorf("%s at a standby: %v", name, err)
		} else if name != "Users.Recheck" && (!strings.Contains(err.Error(), "standby") || !strings.Contains(err.Error(), "target_session_attrs")) {
			t.Errorf("%s at a standby returns an error that does not name the standby: %v", name, err)
		}
	}

	route.fixed.Store(1)
	if _, err := auth.Validate(ctx, valid); err != nil {
		t.Errorf("after returning to the primary: %v", err)
	}
}
