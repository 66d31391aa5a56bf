package gormstore_test

import (
	"errors"
	"testing"

	"github.com/ncruces/go-sqlite3/gormlite"
	"gorm.io/driver/mysql"
	"gorm.io/driver/postgres"
	"gorm.io/gorm"

	"github.com/bearerkit/bearerkit/internal/throwaway"
	"github.com/bearerkit/bearerkit/storage/gormstore"
	"github.com/bearerkit/bearerkit/tokenauth"
	"github.com/bearerkit/bearerkit/tokenauth/password"
)

// A service that only validates may have read-only connections. Other services may start
// while the database is read-only for maintenance.
func TestValidatesWithReadOnlyConnections(t *testing.T) {
	t.Parallel()
	file := "file:" + t.TempDir() + "/test.db?"
	for name, test := range map[string]struct {
		open          func(string) gorm.Dialector
		dsn, readOnly string
	}{
		"postgres":   {postgres.Open, throwaway.Postgres(t), "&default_transaction_read_only=on"},
		"mariadb":    {mysql.Open, throwaway.MariaDB(t), "?tx_read_only=1"},
		"query_only": {gormlite.Open, file, "_pragma=query_only(1)"},
		"mode=ro":    {gormlite.Open, file + "vfs=", "&mode=ro"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStore(t, openDialector(t, test.open(test.dsn), nil), nil)
			create(t, s, name)
			token := mustSignIn(t, service(t, s, s.Users()), name)

			db := openDialector(t, test.open(test.dsn+test.readOnly), nil)
			if err := gormstore.Migrate(t.Context(), db, nil); err != nil {
				t.Errorf("Migrate, with nothing to do: %v", err)
			}
			s, err := gormstore.New(t.Context(), db, &gormstore.Options{Passwords: &password.Options{KeepHashes: true}})
			if err != nil {
				t.Fatal(err)
			}
			auth, err := tokenauth.New(s, s.Users(), &tokenauth.Options{Logger: quiet})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := auth.Validate(t.Context(), token); err != nil {
				t.Errorf("Validate: %v", err)
			}
			if _, err := signIn(t.Context(), auth, name, "password"); !errors.Is(err, tokenauth.ErrUnavailable) {
				t.Errorf("SignIn: error %v, want ErrUnavailable", err)
			}
			if err := auth.Revoke(t.Context(), token); !errors.Is(err, tokenauth.ErrUnavailable) {
				t.Errorf("Revoke: error %v, want ErrUnavailable", err)
			}
		})
	}
}
