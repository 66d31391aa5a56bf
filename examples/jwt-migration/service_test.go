// Package jwtmigration_test runs both versions of the service: before and after
// the move to the Token API.
package jwtmigration_test

import (
	"testing"
	"time"
)

const (
	unauthorized = `{"error":"unauthorized"}`
	forbidden    = `{"error":"forbidden"}`
	wrong        = `{"error":"wrong user name or password"}`
	later        = `{"error":"try again later"}`
)

func TestLogin(t *testing.T) {
	both(t, func(t *testing.T, s *server) {
		began := time.Now()
		got := s.login(t, "alice")
		if got.User.Name != "alice" || got.User.Role != "admin" || got.User.ID == "" || got.Token == "" {
			t.Errorf("got session %+v, want one of alice, an admin", got)
		}
		const lifetime = 30 * 24 * time.Hour
		if d := got.Expires.Sub(began); d < lifetime-2*time.Second || d > lifetime+time.Minute {
			t.Errorf("the token expires in %v, want %v", d, lifetime)
		}
		for _, body := range []string{`{"username":"alice","password":"guess"}`, `{"username":"nobody","password":"guess"}`, `{}`} {
			s.expect(t, "", "POST", "/login", body, 401, wrong)
		}
		s.expect(t, "", "POST", "/login", `{"username":`, 400, `{"error":"bad request"}`)
	})
}

func TestRoutes(t *testing.T) {
	both(t, func(t *testing.T, s *server) {
		alice, bob := s.login(t, "alice"), s.login(t, "bob")
		s.expect(t, bob.Token, "GET", "/api/me", "", 200, `{"id":"`+bob.User.ID+`","name":"bob","role":"reader"}`)
		s.expect(t, bob.Token, "GET", "/api/reports", "", 200, `["spring","summer"]`)
		s.expect(t, bob.Token, "DELETE", "/api/reports/spring", "", 403, forbidden)
		s.expect(t, alice.Token, "DELETE", "/api/reports/spring", "", 204, "")
		for _, token := range []string{"", "rubbish", bob.Token + "x", "x" + bob.Token, bob.Token[:len(bob.Token)-1], bob.Token + " " + bob.Token} {
			s.expect(t, token, "GET", "/api/me", "", 401, unauthorized)
			s.expect(t, token, "POST", "/api/refresh", "", 401, unauthorized)
			s.expect(t, token, "DELETE", "/api/reports/spring", "", 401, unauthorized)
		}

		again := s.expect(t, bob.Token, "POST", "/api/refresh", "", 200, "").session(t)
		if again.User != bob.User {
			t.Errorf("got session %+v after a refresh, want a token for %+v", again, bob.User)
		}
		s.expect(t, again.Token, "GET", "/api/reports", "", 200, "")

		s.expect(t, alice.Token, "PUT", "/api/users/nobody/disabled", "true", 404, "")
		s.expect(t, alice.Token, "PUT", "/api/users/"+bob.User.ID+"/disabled", "true", 204, "")
		s.expect(t, "", "POST", "/login", `{"username":"bob","password":"`+trialPassword+`"}`, 401, wrong)
	})
}
