package gormstore_test

import (
	"testing"

	"github.com/bearerkit/bearerkit/tokenauth"
)

// pgx takes a connection that breaks behind a statement of the simple protocol
// for one on which nothing was sent, and database/sql then sends it again.
func TestTokenThatIsStoredTwiceDoesNotReplaceItself(t *testing.T) {
	onEach(t, func(t *testing.T, e engine) {
		s, _ := e.store(t)
		expect := func(digest, replaced byte) {
			t.Helper()
			got, err := s.Find(t.Context(), tokenauth.SlotOf("1", ""))
			if err != nil || got.Digest != (tokenauth.Digest{digest}) || got.Replaced != (tokenauth.Digest{replaced}) {
				t.Errorf("the slot has %v, which replaced %v, %v", got.Digest, got.Replaced, err)
			}
		}
		for _, step := range []struct{ digest, replaced byte }{{1, 0}, {1, 0}, {2, 1}, {2, 1}, {2, 1}, {3, 2}} {
			if err := s.Replace(t.Context(), numbered(step.digest)); err != nil {
				t.Fatal(err)
			}
			expect(step.digest, step.replaced)
		}
	})
}

// A row that somebody spoiled is mended by the next sign-in.
func TestSpoiledDigestIsNotCopied(t *testing.T) {
	onEach(t, func(t *testing.T, e engine) {
		if e.name == "mariadb" {
			t.Skip("the column has 32 bytes always")
		}
		s, db := e.store(t)
		auth := service(t, s, nobody{})
		issueTo(t, auth, "1")
		spoil := map[string]string{"sqlite": "substr(digest, 1, 31)", "postgres": "substring(digest from 1 for 31)"}[e.name]
		if err := db.Exec("UPDATE tokenauth_tokens SET digest = " + spoil).Error; err != nil {
			t.Fatal(err)
		}
		if _, err := auth.Validate(t.Context(), issueTo(t, auth, "1")); err != nil {
			t.Error(err)
		}
	})
}
