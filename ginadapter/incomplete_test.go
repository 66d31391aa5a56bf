package ginadapter_test

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"

	"github.com/gin-gonic/gin"

	"github.com/bearerkit/bearerkit/ginadapter"
	"github.com/bearerkit/bearerkit/storage/memory"
	"github.com/bearerkit/bearerkit/tokenauth"
)

// Tests of a host call its middleware with gin.CreateTestContext, which makes no
// request.
func TestContextsWithoutARequestAreAnswered(t *testing.T) {
	t.Parallel()
	auth, err := tokenauth.New(new(memory.Store), nobody{}, &tokenauth.Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	var none func(*gin.Context, *tokenauth.ErrorResponse)
	for kind, r := range map[string]*http.Request{
		"none":           nil,
		"zero":           new(http.Request),
		"without header": {Method: "GET", URL: new(url.URL)},
		"no value":       new(http.Request).WithContext(context.WithValue(context.Background(), new(int), nil)),
	} {
		for _, test := range []struct {
			name   string
			chain  []gin.HandlerFunc
			status int
		}{
			{"RequireBearer", []gin.HandlerFunc{ginadapter.RequireBearer(auth)}, 401},
			{"RequireRole", []gin.HandlerFunc{ginadapter.RequireRole(auth, "Staff")}, 401},
			{"RequireClient", []gin.HandlerFunc{ginadapter.RequireClient(auth, "web")}, 401},
			{"Optional", []gin.HandlerFunc{ginadapter.Optional(auth)}, 200},
			{"nested", []gin.HandlerFunc{ginadapter.Optional(auth), ginadapter.RequireBearer(auth)}, 401},
			{"RenderErrors of nothing", []gin.HandlerFunc{ginadapter.RenderErrors(none), ginadapter.RequireBearer(auth)}, 401},
			{"RenderErrors", []gin.HandlerFunc{ginadapter.RenderErrors(func(c *gin.Context, e *tokenauth.ErrorResponse) {
				if _, ok := ginadapter.From(c); ok || c.Request == nil {
					t.Errorf("render sees the request %+v", c.Request)
				}
				c.String(e.Status, e.Description)
			}), ginadapter.RequireBearer(auth)}, 401},
			{"a nil in place of the func", []gin.HandlerFunc{func(c *gin.Context) {
				c.Set("github.com/bearerkit/bearerkit/ginadapter.RenderErrors", nil)
			}, ginadapter.RequireBearer(auth)}, 401},
		} {
			t.Run(test.name+" "+kind, func(t *testing.T) {
				w := httptest.NewRecorder()
				c, _ := gin.CreateTestContext(w)
				c.Request = r
				if token, ok := ginadapter.From(c); ok {
					t.Errorf("From returns %+v", token)
				}
				for _, handler := range test.chain {
					if !c.IsAborted() {
						handler(c)
					}
				}
				if token, ok := ginadapter.From(c); ok {
					t.Errorf("then From returns %+v", token)
				}
				if w.Code != test.status {
					t.Errorf("answered %d %s, want %d", w.Code, w.Body, test.status)
				}
			})
		}
	}
	if _, ok := ginadapter.From(nil); ok {
		t.Error("there is a token in no Context")
	}
	if _, ok := ginadapter.From(new(gin.Context)); ok {
		t.Error("there is a token in the zero Context")
	}
}
