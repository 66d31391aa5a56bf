package main

import (
	"bytes"
	"log"
	"slices"
	"strings"
	"testing"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/logger"

	"github.com/bearerkit/bearerkit/tokenauth"
)

// unchanging returns the columns that a sign-in must not change.
func (s *site) unchanging(t *testing.T, userName string) (columns string) {
	t.Helper()
	names := []string{"UserName", "SecurityStamp", "AccessFailedCount", "LockoutEnabled"}
	if s.identity == "core" {
		names = append(names, "NormalizedUserName", "ConcurrencyStamp")
	}
	for _, name := range names {
		columns += name + "=" + s.column(t, name, userName) + " "
	}
	return columns
}

func TestSignInReplacesHash(t *testing.T) {
	onEach(t, false, func(t *testing.T, s *site) {
		for _, p := range people[1:] {
			before := s.unchanging(t, p.userName)
			token := s.signIn(t, p.typed, p.password).token(t)
			if hash := s.column(t, "PasswordHash", p.userName); !strings.HasPrefix(hash, "$argon2id$") {
				t.Errorf("after a sign-in the hash of %s begins with %.10s, want $argon2id$", p.userName, hash)
			}
			if after := s.unchanging(t, p.userName); after != before {
				t.Errorf("the sign-in changed the row from %s to %s", before, after)
			}
			if a := s.get(t, "/api/values", token.AccessToken); a.status != 200 {
				t.Errorf("after the hash was replaced: got %+v, want 200", a)
			}
			s.signIn(t, p.typed, p.password).token(t)
			if got := s.signIn(t, p.typed, p.password+"!"); got != refused {
				t.Errorf("wrong password: got %+v, want %+v", got, refused)
			}
		}
	})
}

func TestKeepHashes(t *testing.T) {
	onEach(t, true, func(t *testing.T, s *site) {
		for _, p := range people {
			before := s.column(t, "PasswordHash", p.userName)
			s.signIn(t, p.typed, p.password).token(t)
			if after := s.column(t, "PasswordHash", p.userName); after != before || after == "" {
				t.Errorf("the sign-in of %s changed the hash", p.userName)
			}
		}
	})
}

// The SQL log of the host contains no hash.
func TestLogsNoHash(t *testing.T) {
	t.Parallel()
	s := newSite(t, engines["sqlite"].store(t), "sqlite", "2", false)
	var printed bytes.Buffer
	chatty := logger.New(log.New(&printed, "", 0), logger.Config{LogLevel: logger.Info})
	users, err := newUsers(t.Context(), s.db.Session(&gorm.Session{Logger: chatty}), layouts["2"], false)
	if err != nil {
		t.Fatal(err)
	}
	credentials := tokenauth.Credentials{UserName: "bob", Password: tokenauth.NewSecret("password")}
	if _, err := users.Authenticate(t.Context(), credentials); err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(s.column(t, "PasswordHash", "bob"), "$argon2id$") || printed.Len() > 0 {
		t.Errorf("the SQL log has %d bytes, want 0, or the hash was not replaced", printed.Len())
	}
}

// Without a SecurityStamp the hash takes its place, so a sign-in must not
// replace the hash.
func TestMissingSecurityStampKeepsHash(t *testing.T) {
	onEach(t, false, func(t *testing.T, s *site) {
		s.exec(t, `UPDATE "AspNetUsers" SET "SecurityStamp" = NULL WHERE "UserName" = 'bob'`)
		before := s.column(t, "PasswordHash", "bob")
		token := s.signIn(t, "bob", "password").token(t)
		if s.column(t, "PasswordHash", "bob") != before {
			t.Error("the sign-in changed the hash")
		}
		s.exec(t, `UPDATE "AspNetUsers" SET "PasswordHash" = 'another' WHERE "UserName" = 'bob'`)
		if a := s.get(t, "/api/values", token.AccessToken); a.status != 401 {
			t.Errorf("after a change of the password: got %+v, want 401", a)
		}
	})
}

// If the old application changes a password during a sign-in, the new password
// stays and the sign-in is refused.
func TestPasswordChangesDuringSignIn(t *testing.T) {
	onEach(t, false, func(t *testing.T, s *site) {
		const other = "AP6BvSiS6iPzXRl4VpJiSwn2Dd/PJNe6+ezEbE/6Czb4GYYuC5ja0AdAZGYgxCVr0w==" // of "password"
		changed := false
		err := s.db.Callback().Raw().Before("gorm:raw").Register("change", func(tx *gorm.DB) {
			if !changed && strings.HasPrefix(tx.Statement.SQL.String(), s.quoted(`UPDATE "AspNetUsers"`)) {
				changed = true // exec below calls this function again
				s.exec(t, `UPDATE "AspNetUsers" SET "PasswordHash" = ?, "SecurityStamp" = 'another' WHERE "UserName" = 'Alice'`, other)
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		if got := s.signIn(t, "alice", "my password"); got != refused {
			t.Errorf("old password: got %+v, want %+v", got, refused)
		}
		if !changed || s.column(t, "PasswordHash", "Alice") != other {
			t.Errorf("the sign-in overwrote the new password (it was set: %v)", changed)
		}
		s.signIn(t, "alice", "password").token(t)
	})
}

// A change of a user by the old application ends the user's token.
func TestChangeOfUserEndsToken(t *testing.T) {
	onEach(t, true, func(t *testing.T, s *site) {
		for _, change := range []string{
			`UPDATE "AspNetUsers" SET "SecurityStamp" = 'another' WHERE "Id" = ?`,
			`DELETE FROM "AspNetUserRoles" WHERE "UserId" = ?`,
			`UPDATE "AspNetUsers" SET "UserName" = 'ALICE' WHERE "Id" = ?`,
			`DELETE FROM "AspNetUsers" WHERE "Id" = ?`,
		} {
			token := s.signIn(t, "alice", "my password").token(t)
			if a := s.get(t, "/api/values", token.AccessToken); a.status != 200 {
				t.Fatalf("before %s: got %+v, want 200", change, a)
			}
			s.exec(t, change, token.UserID)
			if a := s.get(t, "/api/values", token.AccessToken); a.status != 401 {
				t.Errorf("after %s: got %+v, want 401", change, a)
			}
		}
	})
}

func TestLockout(t *testing.T) {
	onEach(t, true, func(t *testing.T, s *site) {
		token := s.signIn(t, "bob", "password").token(t)
		ends := []string{time.Now().Add(time.Hour).UTC().Format(time.DateTime), "9999-12-31 23:59:59"}
		if s.engine == "postgres" {
			ends = append(ends, "infinity")
		}
		for _, end := range ends {
			s.lock(t, "bob", end)
			if got := s.signIn(t, "bob", "password"); got != refused {
				t.Errorf("sign-in while locked out until %s: got %+v, want %+v", end, got, refused)
			}
			if a := s.get(t, "/api/values", token.AccessToken); a.status != 401 {
				t.Errorf("token while locked out until %s: got %+v, want 401", end, a)
			}
		}

		s.lock(t, "bob", time.Now().Add(-time.Second).UTC().Format(time.DateTime))
		if a := s.get(t, "/api/values", token.AccessToken); a.status != 200 {
			t.Errorf("token after the lockout: got %+v, want 200", a)
		}
		s.signIn(t, "bob", "password").token(t)

		// If LockoutEnabled is false, the end of the lockout is ignored.
		s.exec(t, `UPDATE "AspNetUsers" SET "LockoutEnabled" = FALSE WHERE "UserName" = 'carol'`)
		s.signIn(t, "carol", "my password").token(t)
	})
}

// The response joins roles by commas, so a role with a comma is ambiguous. Only
// sign-ins of its users fail.
func TestRoleWithCommaFails(t *testing.T) {
	onEach(t, false, func(t *testing.T, s *site) {
		s.exec(t, `UPDATE "AspNetRoles" SET "Name" = 'Sales, North' WHERE "Name" = 'Administrator'`)
		roles, err := rolesWithComma(s.db, s.quoted)
		if err != nil || !slices.Equal(roles, []string{"Sales, North"}) {
			t.Errorf("got roles %q and error %v, want the role with a comma", roles, err)
		}
		if got := s.signIn(t, "alice", "my password"); got.status != 500 || !strings.Contains(got.body, "server_error") {
			t.Errorf("user with the role: got %+v, want 500", got)
		}
		if got := s.signIn(t, "bob", "password").token(t); got.Role != "Reader" {
			t.Errorf("user without the role: got %+v, want the role Reader", got)
		}
	})
}

func TestAfter(t *testing.T) {
	t.Parallel()
	now := time.Date(2020, 9, 13, 9, 35, 33, 0, time.UTC)
	for text, want := range map[string]bool{
		"":                                  false,
		"2020-09-13 09:35:33":               false,
		"2020-09-13 09:35:33.0000001":       true,
		"2020-09-13 11:35:33+02:00":         false,
		"2020-09-13 11:35:34.5000000+02:00": true,
		"2020-09-13T09:35:34Z":              true,
		"2020-09-13T09:35:32.9Z":            false,
		"infinity":                          true,
		"-infinity":                         false,
		"not a time":                        true,
	} {
		if after(text, now) != want {
			t.Errorf("after(%q) = %v, want %v", text, !want, want)
		}
	}
}

func TestUpperInvariant(t *testing.T) {
	t.Parallel()
	for typed, want := range map[string]string{
		"alice@example.com": "ALICE@EXAMPLE.COM",
		"rene\u0301":        "REN\u00c9", // NFC
		"ırmak":             "ıRMAK",
		"straße":            "STRAßE",
	} {
		if got := upperInvariant(typed); got != want {
			t.Errorf("upperInvariant(%q) = %q, want %q", typed, got, want)
		}
	}
}
