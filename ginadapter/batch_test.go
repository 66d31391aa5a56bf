package ginadapter_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"

	"github.com/gin-gonic/gin"

	"github.com/bearerkit/bearerkit/ginadapter"
	"github.com/bearerkit/bearerkit/storage/memory"
	"github.com/bearerkit/bearerkit/tokenauth"
)

// A countingStore counts the calls of Find.
type countingStore struct {
	memory.Store
	finds atomic.Int32
}

func (s *countingStore) Find(ctx context.Context, slot tokenauth.Slot) (tokenauth.Token, error) {
	s.finds.Add(1)
	return s.Store.Find(ctx, slot)
}

// A batch endpoint makes requests with the context of its own request and passes
// them to the same engine. A guard authenticates each of them by its own
// Authorization header, and never lets it through with the token of the batch.
func TestGuardsAuthenticateEachRequestOfABatch(t *testing.T) {
	t.Parallel()
	store := new(countingStore)
	auth, err := tokenauth.New(store, rejectAll{}, &tokenauth.Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	bearer := func(p tokenauth.Principal) string {
		issued, err := auth.Issue(t.Context(), p, nil)
		if err != nil {
			t.Fatal(err)
		}
		return "Bearer " + issued.AccessToken.Reveal()
	}
	admin := bearer(tokenauth.Principal{UserID: "1", UserName: "admin", Roles: []string{"Administrator"}})
	user := bearer(tokenauth.Principal{UserID: "2", UserName: "user"})

	type key struct{}
	replaceContext := func(c *gin.Context) {
		c.Request = c.Request.WithContext(context.WithValue(c.Request.Context(), key{}, true))
	}
	who := func(c *gin.Context) {
		token, _ := ginadapter.From(c)
		c.String(200, token.Principal.UserName)
	}
	engine := gin.New()
	api := engine.Group("/api", ginadapter.RequireBearer(auth), replaceContext)
	api.GET("/me", who)
	api.Group("/admin", ginadapter.RequireRole(auth, "Administrator")).GET("/", replaceContext, ginadapter.Optional(auth), who)
	engine.GET("/open", ginadapter.Optional(auth), who)
	api.POST("/batch", func(c *gin.Context) {
		part, err := http.NewRequestWithContext(c.Request.Context(), "GET", c.Query("path"), nil)
		if err != nil {
			t.Error(err)
		}
		if line := c.GetHeader("X-Part"); line != "" {
			part.Header.Set("Authorization", line)
		}
		engine.ServeHTTP(c.Writer, part)
	})
	do := func(method, path, authorization, part string) (string, int) {
		r := httptest.NewRequest(method, path, nil)
		r.Header.Set("Authorization", authorization)
		r.Header.Set("X-Part", part)
		w := httptest.NewRecorder()
		before := store.finds.Load()
		engine.ServeHTTP(w, r)
		return fmt.Sprint(w.Code, " ", w.Body), int(store.finds.Load() - before)
	}
	const denied = `{"Message":"Authorization has been denied for this request."}`
	for _, test := range []struct {
		outer, part, path, want string
		finds                   int
	}{
		{admin, "", "/api/me", "401 " + denied, 1},
		{admin, "", "/api/admin/", "401 " + denied, 1},
		{admin, "", "/open", "200 ", 1},
		{admin, user, "/api/me", "200 user", 2},
		{admin, user, "/api/admin/", `403 {"error":"insufficient_scope","error_description":"The user does not have the role that this needs.",` + denied[1:], 2},
		{admin, user, "/open", "200 user", 2},
		{admin, admin, "/api/admin/", "200 admin", 2},
		{user, admin, "/api/admin/", "200 admin", 2},
		{user, "Bearer x", "/open", "200 ", 1},
	} {
		if got, finds := do("POST", "/api/batch?path="+test.path, test.outer, test.part); got != test.want || finds != test.finds {
			t.Errorf("%s with Authorization %q, in a batch with Authorization %q: got %s after %d look-ups, want %s after %d", test.path, test.part, test.outer, got, finds, test.want, test.finds)
		}
	}
	// Three guards on one request look up its token once.
	if got, finds := do("GET", "/api/admin/", admin, ""); got != "200 admin" || finds != 1 {
		t.Errorf("a request through three guards: got %s after %d look-ups, want 200 admin after 1", got, finds)
	}
}

// This test is not parallel: AllocsPerRun counts the allocations of the whole
// process. It takes the least of many requests: under the race detector a
// sync.Pool, in which Gin keeps its contexts, drops one in four at random.
func TestNestedGuardsAllocateNothingMore(t *testing.T) {
	auth, accessToken := newAuth()
	handler := func(c *gin.Context) { c.Status(http.StatusNoContent) }
	allocations := func(guards ...gin.HandlerFunc) float64 {
		engine := gin.New()
		engine.GET("/", append(guards, handler)...)
		r := httptest.NewRequest("GET", "/", nil)
		r.Header.Set("Authorization", "Bearer "+accessToken)
		w := &blank{make(http.Header)}
		least := testing.AllocsPerRun(1, func() { engine.ServeHTTP(w, r) })
		for range 100 {
			least = min(least, testing.AllocsPerRun(1, func() { engine.ServeHTTP(w, r) }))
		}
		return least
	}
	bearer, role, optional := ginadapter.RequireBearer(auth), ginadapter.RequireRole(auth, "Reader"), ginadapter.Optional(auth)
	one := allocations(bearer)
	for name, nested := range map[string]float64{
		"RequireRole": allocations(bearer, role), "Optional and RequireRole": allocations(bearer, optional, role),
	} {
		if nested > one {
			t.Errorf("%s behind RequireBearer: %v allocations, want at most the %v of RequireBearer alone", name, nested, one)
		}
	}
}
