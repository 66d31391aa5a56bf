package ginadapter_test

import (
	"context"
	"fmt"
	"net/http"

	"github.com/gin-gonic/gin"

	"github.com/bearerkit/bearerkit/ginadapter"
	"github.com/bearerkit/bearerkit/storage/memory"
	"github.com/bearerkit/bearerkit/tokenauth"
)

// newAuth returns a Service and an access token of a user with the role "Reader".
func newAuth() (*tokenauth.Service, string) {
	auth, err := tokenauth.New(new(memory.Store), rejectAll{}, nil)
	if err != nil {
		panic(err)
	}
	grant, err := auth.Issue(context.Background(), tokenauth.Principal{UserID: "17", UserName: "alice", Roles: []string{"Reader"}}, nil)
	if err != nil {
		panic(err)
	}
	return auth, grant.AccessToken.Reveal()
}

func show(r http.Handler, path, accessToken string) {
	w := get(r, path, accessToken)
	fmt.Println(path, w.Code, w.Body)
}

func Example() {
	auth, accessToken := newAuth()

	r := gin.New()
	ginadapter.Mount(r, auth) // at /Token and /token
	api := r.Group("/api", ginadapter.RequireBearer(auth))
	api.GET("/me", func(c *gin.Context) {
		token, _ := ginadapter.From(c)
		c.String(http.StatusOK, token.Principal.UserName)
	})
	api.GET("/admin", ginadapter.RequireRole(auth, "Administrator"), func(c *gin.Context) {
		c.String(http.StatusOK, "welcome")
	})

	show(r, "/api/me", accessToken)
	show(r, "/api/me", "")
	show(r, "/api/admin", accessToken)
	// Output:
	// /api/me 200 alice
	// /api/me 401 {"Message":"Authorization has been denied for this request."}
	// /api/admin 403 {"error":"insufficient_scope","error_description":"The user does not have the role that this needs.","Message":"Authorization has been denied for this request."}
}

func ExampleOptional() {
	auth, accessToken := newAuth()
	r := gin.New()
	r.GET("/", ginadapter.Optional(auth), func(c *gin.Context) {
		if token, ok := ginadapter.From(c); ok {
			c.String(http.StatusOK, "hello "+token.Principal.UserName)
			return
		}
		c.String(http.StatusOK, "hello stranger")
	})
	show(r, "/", accessToken)
	show(r, "/", "")
	// Output:
	// / 200 hello alice
	// / 200 hello stranger
}

// A guest presents no token. A token that is not valid is refused, so that its
// client signs in again.
func ExampleAllowGuests() {
	auth, accessToken := newAuth()
	r := gin.New()
	r.GET("/", ginadapter.AllowGuests(auth), func(c *gin.Context) {
		if token, ok := ginadapter.From(c); ok {
			c.String(http.StatusOK, "hello "+token.Principal.UserName)
			return
		}
		c.String(http.StatusOK, "hello guest")
	})
	show(r, "/", accessToken)
	show(r, "/", "")
	show(r, "/", "nonsense")
	// Output:
	// / 200 hello alice
	// / 200 hello guest
	// / 401 {"error":"invalid_token","error_description":"The access token is invalid.","Message":"Authorization has been denied for this request."}
}

// A middleware of the host calls a guard, and then decides with data of its own.
func ExampleRequireBearer() {
	auth, accessToken := newAuth()
	guard := ginadapter.RequireBearer(auth)
	tenants := map[string]string{"17": "north"} // by user ID

	r := gin.New()
	r.Use(func(c *gin.Context) {
		guard(c)
		if c.IsAborted() {
			return // the guard has answered
		}
		token, _ := ginadapter.From(c)
		c.Set("tenant", tenants[token.Principal.UserID])
	})
	r.GET("/", func(c *gin.Context) { c.String(http.StatusOK, "tenant "+c.GetString("tenant")) })
	show(r, "/", accessToken)
	show(r, "/", "")
	// Output:
	// / 200 tenant north
	// / 401 {"Message":"Authorization has been denied for this request."}
}

// The guards behind RenderErrors answer in the host's own error format.
func ExampleRenderErrors() {
	auth, _ := newAuth()
	r := gin.New()
	r.Use(ginadapter.RenderErrors(func(c *gin.Context, f *tokenauth.ErrorResponse) {
		c.JSON(f.Status, gin.H{"problem": f.Code, "path": c.FullPath()})
	}))
	r.GET("/me", ginadapter.RequireBearer(auth), func(c *gin.Context) {})
	show(r, "/me", "nonsense")
	// Output: /me 401 {"path":"/me","problem":"invalid_token"}
}
