package gormstore_test

import (
	"strings"
	"testing"
	"time"

	"gorm.io/driver/mysql"
	"gorm.io/driver/postgres"
	"gorm.io/gorm"

	"github.com/bearerkit/bearerkit/storage/gormstore"
	"github.com/bearerkit/bearerkit/storage/storagetest/throwaway"
	"github.com/bearerkit/bearerkit/tokenauth"
)

// numbered returns a token of the one user, by its digest.
func numbered(n byte) tokenauth.Token {
	now := time.Now().Truncate(time.Second).UTC()
	return tokenauth.Token{
		Slot: tokenauth.SlotOf("1", ""), Digest: tokenauth.Digest{n},
		Principal: tokenauth.Principal{UserID: "1"}, IssuedAt: now, ExpiresAt: now.Add(time.Hour),
	}
}

func displaces(t *testing.T, s *gormstore.Store, n byte, want bool) {
	t.Helper()
	displaced, err := s.Displace(t.Context(), numbered(n))
	if err != nil || displaced != want {
		t.Errorf("token %d: Displace returns %v, error %v, want %v", n, displaced, err, want)
	}
	if got, err := s.Find(t.Context(), tokenauth.SlotOf("1", "")); err != nil || got.Digest != (tokenauth.Digest{n}) || got.Replaced.IsZero() == want {
		t.Errorf("token %d: Find returns %v, replaced %v, error %v", n, got.Digest, got.Replaced, err)
	}
}

// However the host connects, and whatever it has its driver count.
func TestDisplaceWithDSNs(t *testing.T) {
	t.Parallel()
	for name, dialector := range map[string]func(t *testing.T) gorm.Dialector{
		"mariadb":              func(t *testing.T) gorm.Dialector { return mysql.Open(throwaway.MariaDB(t)) },
		"mariadb found rows":   func(t *testing.T) gorm.Dialector { return mysql.Open(throwaway.MariaDB(t) + "?clientFoundRows=true") },
		"mariadb interpolated": func(t *testing.T) gorm.Dialector { return mysql.Open(throwaway.MariaDB(t) + "?interpolateParams=true") },
		"postgres":             func(t *testing.T) gorm.Dialector { return postgres.Open(throwaway.Postgres(t)) },
		"postgres simple protocol": func(t *testing.T) gorm.Dialector {
			return postgres.New(postgres.Config{DSN: throwaway.Postgres(t), PreferSimpleProtocol: true})
		},
		"sqlite": func(t *testing.T) gorm.Dialector { return engines[0].dialector(t) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, prepare := range []bool{false, true} {
				s := newStore(t, openDialector(t, dialector(t), &gorm.Config{PrepareStmt: prepare}), nil)
				displaces(t, s, 1, false)
				displaces(t, s, 2, true)
				displaces(t, s, 3, true)
				if err := s.RevokeUser(t.Context(), tokenauth.UserKeyOf("1")); err != nil {
					t.Fatal(err)
				}
				displaces(t, s, 4, false)
				// Sent again, as a driver does whose connection broke.
				displaces(t, s, 4, false)
			}
		})
	}
}

// PostgreSQL sends what a statement returns before it commits, and may refuse
// to commit then.
func TestDisplaceThatIsNotCommitted(t *testing.T) {
	t.Parallel()
	for _, simple := range []bool{false, true} {
		db := openDialector(t, postgres.New(postgres.Config{DSN: throwaway.Postgres(t), PreferSimpleProtocol: simple}), nil)
		s := newStore(t, db, nil)
		displaces(t, s, 1, false)
		for _, statement := range []string{
			`CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'refused'; END $$`,
			`CREATE CONSTRAINT TRIGGER refuse AFTER UPDATE ON tokenauth_tokens DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse()`,
		} {
			if err := db.Exec(statement).Error; err != nil {
				t.Fatal(err)
			}
		}
		if _, err := s.Displace(t.Context(), numbered(2)); err == nil || !strings.Contains(err.Error(), "refused") {
			t.Errorf("Displace returns error %v", err)
		}
		if got, err := s.Find(t.Context(), tokenauth.SlotOf("1", "")); err != nil || got.Digest != (tokenauth.Digest{1}) {
			t.Errorf("the slot has %v, error %v", got.Digest, err)
		}
	}
}
