package ginadapter_test

import (
	"net/http"
	"net/http/httptest"
	"runtime"
	"testing"
	"time"

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
// to "bare" is the cost of a validation. A Service with devices and tokens that live
// on ("cached-devices") also notes each use.
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
	devices, err := tokenauth.New(store, rejectAll{}, &tokenauth.Options{
		Cache: &tokenauth.CacheOptions{}, Devices: &tokenauth.DeviceOptions{}, MaxLifetime: 90 * 24 * time.Hour, IdleTimeout: 24 * time.Hour,
	})
	if err != nil {
		b.Fatal(err)
	}
	for _, auth := range []*tokenauth.Service{cached, devices} {
		go auth.Run(b.Context())
		for !auth.CacheStats().FeedAlive {
			runtime.Gosched()
		}
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
		{"cached-devices", []gin.HandlerFunc{ginadapter.RequireBearer(devices)}},
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
