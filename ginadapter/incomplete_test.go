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

// A unit test of a host may call its middleware with gin.CreateTestContext, which
// leaves Context.Request nil. Guards must not panic then.
func TestGuardsAnswerContextsWithoutARequest(t *testing.T) {
	t.Parallel()
	auth, err := tokenauth.New(new(memory.Store), rejectAll{}, &tokenauth.Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	var nilRender func(*gin.Context, *tokenauth.ErrorResponse)
	for kind, r := range map[string]*http.Request{
		"nil request":       nil,
		"zero request":      new(http.Request),
		"nil header":        {Method: "GET", URL: new(url.URL)},
		"nil context value": new(http.Request).WithContext(context.WithValue(context.Background(), new(int), nil)),
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
			{"AllowGuests", []gin.HandlerFunc{ginadapter.AllowGuests(auth)}, 200},
			{"RequireBearer behind Optional", []gin.HandlerFunc{ginadapter.Optional(auth), ginadapter.RequireBearer(auth)}, 401},
			{"RenderErrors of nil", []gin.HandlerFunc{ginadapter.RenderErrors(nilRender), ginadapter.RequireBearer(auth)}, 401},
			{"RenderErrors", []gin.HandlerFunc{ginadapter.RenderErrors(func(c *gin.Context, e *tokenauth.ErrorResponse) {
				if _, ok := ginadapter.From(c); ok || c.Request == nil {
					t.Errorf("render got the request %+v, want one that is not nil and has no token", c.Request)
				}
				c.String(e.Status, e.Description)
			}), ginadapter.RequireBearer(auth)}, 401},
			{"nil under the key of RenderErrors", []gin.HandlerFunc{func(c *gin.Context) {
				c.Set("github.com/bearerkit/bearerkit/ginadapter.RenderErrors", nil)
			}, ginadapter.RequireBearer(auth)}, 401},
		} {
			t.Run(test.name+"/"+kind, func(t *testing.T) {
				w := httptest.NewRecorder()
				c, _ := gin.CreateTestContext(w)
				c.Request = r
				if token, ok := ginadapter.From(c); ok {
					t.Errorf("before the guard, From returns %+v, want no token", token)
				}
				for _, handler := range test.chain {
					if !c.IsAborted() {
						handler(c)
					}
				}
				if token, ok := ginadapter.From(c); ok {
					t.Errorf("after the guard, From returns %+v, want no token", token)
				}
				if w.Code != test.status {
					t.Errorf("got %d %s, want %d", w.Code, w.Body, test.status)
				}
			})
		}
	}
	if _, ok := ginadapter.From(nil); ok {
		t.Error("From(nil) returns a token")
	}
	if _, ok := ginadapter.From(new(gin.Context)); ok {
		t.Error("From of the zero Context returns a token")
	}
}
