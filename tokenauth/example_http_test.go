package tokenauth_test

import (
	"context"
	"fmt"
	"net/http"
	"sync/atomic"

	"github.com/bearerkit/bearerkit/tokenauth"
)

// RequireBearer lets requests with a valid access token through, and answers
// all others with 401.
func ExampleService_RequireBearer() {
	auth := newAuth(nil)
	mux := http.NewServeMux()
	mux.Handle("/hello", auth.RequireBearer(hello))

	show(mux, "/hello", signIn(auth))
	show(mux, "/hello", "")
	// Output:
	// /hello 200 hello alice
	// /hello 401 {"Message":"Authorization has been denied for this request."}
}

// RequireRole lets users with any of the roles through. It needs no
// RequireBearer before it. Without credentials the response is 401, and for a
// user without the role 403.
func ExampleService_RequireRole() {
	auth := newAuth(nil)
	mux := http.NewServeMux()
	mux.Handle("/reports", auth.RequireRole("Reader", "Auditor")(hello))
	mux.Handle("/admin", auth.RequireRole("Administrator")(hello))

	alice := signIn(auth)
	show(mux, "/reports", alice)
	show(mux, "/admin", alice)
	show(mux, "/admin", "")
	// Output:
	// /reports 200 hello alice
	// /admin 403 {"error":"insufficient_scope","error_description":"The user does not have the role that this needs.","Message":"Authorization has been denied for this request."}
	// /admin 401 {"Message":"Authorization has been denied for this request."}
}

// A guard that also lets guests through. A guest presents no token; a token that
// is not valid is refused.
func ExampleRequirement_Guard() {
	auth := newAuth(nil)
	guests := tokenauth.Requirement{Guests: true}.Guard(auth)
	mux := http.NewServeMux()
	mux.Handle("/", guests(hello))

	show(mux, "/", signIn(auth))
	show(mux, "/", "")
	show(mux, "/", "nonsense")
	// Output:
	// / 200 hello alice
	// / 200 hello stranger
	// / 401 {"error":"invalid_token","error_description":"The access token is invalid.","Message":"Authorization has been denied for this request."}
}

// Optional serves anonymous requests too. Use it for a route that shows more to
// signed-in users.
func ExampleService_Optional() {
	auth := newAuth(nil)
	mux := http.NewServeMux()
	mux.Handle("/", auth.Optional(hello))

	show(mux, "/", signIn(auth))
	show(mux, "/", "")
	show(mux, "/", "nonsense")
	// Output:
	// / 200 hello alice
	// / 200 hello stranger
	// / 200 hello stranger
}

// FromContext returns the token of the caller in a handler behind a guard. It
// reads the context only, so it needs no storage.
func ExampleFromContext() {
	auth := newAuth(nil)
	h := auth.RequireBearer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token, ok := tokenauth.FromContext(r.Context())
		p := token.Principal
		fmt.Fprint(w, ok, " ", p.UserID, " ", p.UserName, " ", p.HasRole("Reader"))
	}))
	show(h, "/me", signIn(auth))

	_, ok := tokenauth.FromContext(context.Background())
	fmt.Println(ok)
	// Output:
	// /me 200 true 17 alice true
	// false
}

// RenderError writes errors in the host's own format, here RFC 9457. The
// headers that the protocol requires, such as WWW-Authenticate, are already
// set.
func ExampleOptions_renderError() {
	auth := newAuth(&tokenauth.Options{
		RenderError: func(w http.ResponseWriter, r *http.Request, e *tokenauth.ErrorResponse) {
			w.Header().Set("Content-Type", "application/problem+json")
			w.WriteHeader(e.Status)
			fmt.Fprintf(w, `{"status":%d,"title":%q,"instance":%q}`, e.Status, e.Code, r.URL.Path)
		},
	})
	show(auth.RequireBearer(hello), "/hello", "nonsense")
	// Output: /hello 401 {"status":401,"title":"invalid_token","instance":"/hello"}
}

// LiveCheck is called on each validation, so that a locked user is refused at
// once. Prefer RevokeUser where the host can call it after each change of a
// user.
func ExampleOptions_liveCheck() {
	var locked atomic.Bool
	auth := newAuth(&tokenauth.Options{
		LiveCheck: func(_ context.Context, t tokenauth.Token) error {
			if t.Principal.UserID == "17" && locked.Load() {
				return tokenauth.ErrRejected
			}
			return nil
		},
	})
	h := auth.RequireBearer(hello)
	accessToken := signIn(auth)
	show(h, "/hello", accessToken)
	locked.Store(true)
	show(h, "/hello", accessToken)
	// Output:
	// /hello 200 hello alice
	// /hello 401 {"error":"invalid_token","error_description":"The access token is invalid.","Message":"Authorization has been denied for this request."}
}
