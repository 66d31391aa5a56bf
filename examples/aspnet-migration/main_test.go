package main

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/bearerkit/bearerkit/internal/throwaway"
)

// The users of the example, and the names and passwords that a client sends.
var people = []struct{ typed, password, userName, userID, role string }{
	{"alice", "my password", "Alice", "69f61388-c60d-4ee2-a454-f60305e414c1", "Administrator,Reader"},
	{"ALICE", "my password", "Alice", "69f61388-c60d-4ee2-a454-f60305e414c1", "Administrator,Reader"},
	{"Bob", "password", "bob", "69f61388-c60d-4ee2-a454-f60305e414c2", "Reader"},
	{"dave", "my password", "dave", "69f61388-c60d-4ee2-a454-f60305e414c4", ""}, // whose lockout is over
}

func TestSignIn(t *testing.T) {
	onEach(t, true, func(t *testing.T, s *site) {
		for _, p := range people {
			got := s.signIn(t, p.typed, p.password).token(t)
			if got.UserName != p.userName || got.UserID != p.userID || got.Role != p.role {
				t.Errorf("sign-in as %s: got %+v, want user %s with roles %q", p.typed, got, p.userName, p.role)
			}
			want := `{"userId":"` + p.userID + `","userName":"` + p.userName + `"}`
			if a := s.get(t, "/api/values", got.AccessToken); a.status != 200 || a.body != want {
				t.Errorf("/api/values as %s: got %+v, want 200 %s", p.typed, a, want)
			}
			status := map[bool]int{true: 200, false: 403}[strings.Contains(p.role, "Administrator")]
			if a := s.get(t, "/api/reports", got.AccessToken); a.status != status {
				t.Errorf("/api/reports as %s: got %+v, want %d", p.typed, a, status)
			}
		}
	})
}

// The GET request with a body that the API's documentation shows signs in.
func TestSignInByGET(t *testing.T) {
	onEach(t, true, func(t *testing.T, s *site) {
		r, err := http.NewRequest("GET", s.url+"/Token", strings.NewReader("grant_type=password&username=bob&password=password"))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/json")
		if got := send(t, r).token(t); got.UserName != "bob" {
			t.Errorf("signed in as %+v, want bob", got)
		}
	})
}

func TestRefusalsAreTheSame(t *testing.T) {
	onEach(t, false, func(t *testing.T, s *site) {
		s.exec(t, `UPDATE "AspNetUsers" SET "PasswordHash" = NULL, "SecurityStamp" = NULL WHERE "UserName" = 'dave'`)
		for name, typed := range map[string][2]string{
			"wrong password": {"alice", "My password"},
			"unknown user":   {"erin", "my password"},
			"locked out":     {"carol", "my password"},
			"no password":    {"dave", "my password"},
			"another accent": {"álice", "my password"}, // the same to MariaDB
			"trailing space": {"alice ", "my password"},
			"LIKE pattern":   {"alic%", "my password"},
			"quotes":         {`' OR '1' = '1`, "my password"},
			"GORM parameter": {"@typed", "my password"},
		} {
			if got := s.signIn(t, typed[0], typed[1]); got != refused {
				t.Errorf("%s: got %+v, want %+v", name, got, refused)
			}
		}
		if got := s.column(t, "AccessFailedCount", "Alice"); got != "0" {
			t.Errorf("AccessFailedCount is %s, want 0", got)
		}
	})
}

func TestWithoutToken(t *testing.T) {
	onEach(t, false, func(t *testing.T, s *site) {
		const denied = `{"Message":"Authorization has been denied for this request."}`
		for _, path := range []string{"/api/values", "/api/reports"} {
			if a := s.get(t, path, ""); a.status != 401 || a.body != denied || !strings.HasPrefix(a.challenge, "Bearer") {
				t.Errorf("%s without a token: got %+v, want 401 %s", path, a, denied)
			}
			// Tokens of Katana begin like this one.
			if a := s.get(t, path, "AQAAANCMnd8BFdERjHoAwE_Cl-sBAAAA"); a.status != 401 || !strings.HasPrefix(a.challenge, "Bearer") {
				t.Errorf("%s with a token of the old application: got %+v, want 401", path, a)
			}
		}
		if a := s.get(t, "/api/status", ""); a.status != 200 {
			t.Errorf("/api/status without a token: got %+v, want 200", a)
		}
	})
}

func TestOneLiveToken(t *testing.T) {
	onEach(t, true, func(t *testing.T, s *site) {
		first := s.signIn(t, "bob", "password").token(t)
		second := s.signIn(t, "BOB", "password").token(t)
		if a := s.get(t, "/api/values", first.AccessToken); a.status != 401 {
			t.Errorf("with the replaced token: got %+v, want 401", a)
		}
		if a := s.get(t, "/api/values", second.AccessToken); a.status != 200 {
			t.Errorf("with the new token: got %+v, want 200", a)
		}
	})
}

// In databases that compare names by their bytes, the names of two users may
// differ in case only. All spellings then sign in the user with the lower ID.
func TestNamesThatDifferInCase(t *testing.T) {
	t.Parallel()
	for _, engine := range []string{"sqlite", "postgres"} {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, engines[engine].store(t), engine, "2", true)
			for id, name := range map[string]string{"0": "aLICE", "9": "ALICE"} {
				s.exec(t, `INSERT INTO "AspNetUsers" SELECT ?, "Email", "EmailConfirmed", "PasswordHash", "SecurityStamp", "PhoneNumber", "PhoneNumberConfirmed", "TwoFactorEnabled", "LockoutEndDateUtc", "LockoutEnabled", "AccessFailedCount", CAST(? AS varchar(256)) FROM "AspNetUsers" WHERE "UserName" = 'Alice'`, id, name)
			}
			for _, typed := range []string{"alice", "Alice", "ALICE"} {
				if got := s.signIn(t, typed, "my password").token(t); got.UserID != "0" || got.UserName != "aLICE" || got.Role != "" {
					t.Errorf("sign-in as %s: got %+v, want user 0, aLICE", typed, got)
				}
			}
		})
	}
}

// Entity Framework 6 creates the tables in the schema dbo.
func TestPostgresSchema(t *testing.T) {
	t.Parallel()
	store := throwaway.Postgres(t)
	db, err := open(store)
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Exec(`CREATE SCHEMA dbo`).Error; err != nil {
		t.Fatal(err)
	}
	pool, err := db.DB()
	if err != nil {
		t.Fatal(err)
	}
	pool.Close()
	u, err := url.Parse(store)
	if err != nil {
		t.Fatal(err)
	}
	query := u.Query()
	query.Set("search_path", "dbo,public")
	u.RawQuery = query.Encode()
	s := newSite(t, u.String(), "postgres", "2", false)
	s.signIn(t, "alice", "my password").token(t)
}
