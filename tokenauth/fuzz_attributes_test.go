package tokenauth_test

import (
	"encoding/json"
	"log/slog"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/bearerkit/bearerkit/storage/memory"
	"github.com/bearerkit/bearerkit/tokenauth"
)

// Attributes never change the standard members of a token response, as a client
// decodes them.
func FuzzResponseAttributes(f *testing.F) {
	f.Add("tenant", "Tenants")
	f.Add("ROLE", "x")
	f.Add("acce\u017f\u017f_token", "x")
	f.Add("to\u212aen_type", "x")
	f.Add("a\xff", "a\xfe")
	f.Add(".issue", "userName ")
	f.Fuzz(func(t *testing.T, one, other string) {
		p := alice()
		p.Attributes = map[string]string{one: "mallory", other: "mallory"}
		auth, err := tokenauth.New(new(memory.Store), principals{&p}, &tokenauth.Options{
			ResponseAttributes: []string{one, other}, Logger: slog.New(slog.DiscardHandler),
		})
		if err != nil || len(one)+len(other) > 1000 {
			return // rejected by New, or larger than a principal may be
		}
		r := httptest.NewRequest("POST", "/Token", strings.NewReader("grant_type=password&username=alice&password=x"))
		w := httptest.NewRecorder()
		auth.TokenHandler().ServeHTTP(w, r)
		if w.Code != 200 {
			t.Fatalf("%q, %q: answered %d %s, want 200", one, other, w.Code, w.Body)
		}
		var got struct {
			AccessToken string `json:"access_token"`
			TokenType   string `json:"token_type"`
			ExpiresIn   int    `json:"expires_in"`
			UserName    string `json:"userName"`
			UserID      string `json:"userId"`
			Role        string `json:"role"`
			Issued      string `json:".issued"`
			Expires     string `json:".expires"`
		}
		if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
			t.Fatalf("%q, %q: %v in %s", one, other, err, w.Body)
		}
		if got.UserName != "alice" || got.UserID != "17" || got.Role != "Reader,Staff" || got.TokenType != "bearer" ||
			!strings.HasPrefix(got.AccessToken, "tat_") || got.Issued == "mallory" || got.Expires == "mallory" {
			t.Errorf("%q, %q: decoded as %+v", one, other, got)
		}
		var members map[string]any
		if err := json.Unmarshal(w.Body.Bytes(), &members); err != nil || len(members) != 10 {
			t.Errorf("%q, %q: decoded %d members, want 10: %s", one, other, len(members), w.Body)
		}
	})
}
