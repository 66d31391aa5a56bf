package ginadapter_test

import (
	"net/http"
	"net/http/httptest"
	"runtime"
	"testing"

	"github.com/gin-gonic/gin"

	"github.com/bearerkit/bearerkit/ginadapter"
	"github.com/bearerkit/bearerkit/storage/memory"
	"github.com/bearerkit/bearerkit/tokenauth"
)

// blank is a ResponseWriter that discards the response and allocates nothing.
type blank struct{ header http.Header }

func (b *blank) Header() http.Header         { return b.header }
func (b *blank) Write(p []byte) (int, error) { return len(p), nil }
func (b *blank) WriteHeader(int)             {}

// BenchmarkValidate measures a route without a guard ("bare"), and the same route
// behind guards without a cache ("strict") and with one ("cached"). The difference
// to "bare" is the cost of a validation.
func BenchmarkValidate(b *testing.B) {
	store := new(memory.Store)
	strict, err := tokenauth.New(store, rejectAll{}, nil)
	if err != nil {
		b.Fatal(err)
	}
	cached, err := tokenauth.New(store, rejectAll{}, &tokenauth.Options{Cache: &tokenauth.CacheOptions{}})
	if err != nil {
		b.Fatal(err)
	}
	go cached.Run(b.Context())
	for !cached.CacheStats().FeedAlive {
		runtime.Gosched()
	}
	grant, err := strict.Issue(b.Context(), tokenauth.Principal{UserID: "17", UserName: "admin", Roles: []string{"Administrator"}}, nil)
	if err != nil {
		b.Fatal(err)
	}
	handler := func(c *gin.Context) { c.Status(http.StatusNoContent) }
	for _, bench := range []struct {
		name   string
		guards []gin.HandlerFunc
	}{
		{"bare", nil},
		{"strict", []gin.HandlerFunc{ginadapter.RequireBearer(strict)}},
		{"strict-role", []gin.HandlerFunc{ginadapter.RequireRole(strict, "Administrator")}},
		{"cached", []gin.HandlerFunc{ginadapter.RequireBearer(cached)}},
		{"cached-role", []gin.HandlerFunc{ginadapter.RequireRole(cached, "Administrator")}},
	} {
		b.Run(bench.name, func(b *testing.B) {
			r := gin.New()
			r.GET("/me", append(bench.guards, handler)...)
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				request := httptest.NewRequest("GET", "/me", nil)
				request.Header.Set("Authorization", "Bearer "+grant.AccessToken.Reveal())
				w := &blank{make(http.Header)}
				for pb.Next() {
					r.ServeHTTP(w, request)
				}
			})
		})
	}
}
