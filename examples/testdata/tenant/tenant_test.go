package tenant

import (
	"context"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/gin-gonic/gin"

	"github.com/bearerkit/bearerkit/ginadapter"
	"github.com/bearerkit/bearerkit/storage/memory"
	"github.com/bearerkit/bearerkit/tokenauth"
)

// The middleware gives the tenant of the user to the handler. It answers a request
// that the guard refuses, that of a locked tenant, and one whose look-up fails.
func TestRequire(t *testing.T) {
	gin.SetMode(gin.ReleaseMode)
	log.SetOutput(io.Discard)
	auth, err := tokenauth.New(new(memory.Store), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	asked := 0
	find := func(_ context.Context, userID string) (Tenant, error) {
		asked++
		switch userID {
		case "17":
			return Tenant{Name: "North"}, nil
		case "18":
			return Tenant{Name: "South", Locked: true}, nil
		}
		return Tenant{}, errors.New("connection refused")
	}
	r := gin.New()
	r.Use(ginadapter.Optional(auth))
	api := r.Group("/", Require(auth, find))
	show := func(c *gin.Context) { c.String(http.StatusOK, From(c).Name) }
	api.GET("/", show)
	api.GET("/reports", ginadapter.RequireRole(auth, "Auditor"), show)
	for _, test := range []struct {
		userID, path string
		status       int
		body         string
		asked        int
	}{
		{"17", "/", 200, "North", 1},
		{"17", "/reports", 403, "", 1},
		{"18", "/", 403, `{"error":"your company's account is locked"}`, 1},
		{"18", "/reports", 403, `{"error":"your company's account is locked"}`, 1},
		{"19", "/", 503, `{"error":"try again later"}`, 1},
		{"", "/", 401, "", 0},
	} {
		request := httptest.NewRequest("GET", test.path, nil)
		if test.userID != "" {
			issued, err := auth.Issue(t.Context(), tokenauth.Principal{UserID: test.userID}, nil)
			if err != nil {
				t.Fatal(err)
			}
			request.Header.Set("Authorization", "Bearer "+issued.AccessToken.Reveal())
		}
		asked = 0
		w := httptest.NewRecorder()
		r.ServeHTTP(w, request)
		if w.Code != test.status || test.body != "" && w.Body.String() != test.body || asked != test.asked {
			t.Errorf("user %q at %s: got %d %s after %d look-ups of the tenant, want %d %s after %d", test.userID, test.path, w.Code, w.Body, asked, test.status, test.body, test.asked)
		}
	}
}
