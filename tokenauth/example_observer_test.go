package tokenauth_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/bearerkit/bearerkit/tokenauth"
	"github.com/bearerkit/bearerkit/tokenauth/event"
)

// An observer reports that a client still uses a token that a newer sign-in
// replaced. That happens if two processes share an account, because each
// sign-in ends the other's token.
func ExampleOptions_observers() {
	alarm := func(_ context.Context, e tokenauth.Event) {
		if e.Kind == event.Refused && e.Reason == event.ReasonReplaced {
			fmt.Println("two sign-ins of", e.UserName)
		}
	}
	auth := newAuth(&tokenauth.Options{Observers: []func(context.Context, tokenauth.Event){alarm}})
	old := signIn(auth)
	signIn(auth)
	_, err := auth.Validate(context.Background(), old)
	fmt.Println(err)
	// Output:
	// two sign-ins of alice
	// tokenauth: the access token is invalid: it was replaced by a newer sign-in
}

// Fallback accepts the credentials of an older system, here a session cookie,
// until its last session expires. It is not called for tokens that this Service
// issued.
func ExampleOptions_fallback() {
	auth := newAuth(&tokenauth.Options{
		Fallback: func(r *http.Request) (tokenauth.Principal, error) {
			session, err := r.Cookie("session")
			if err != nil || session.Value != "a session that the host knows" {
				return tokenauth.Principal{}, tokenauth.ErrRejected
			}
			return tokenauth.Principal{UserID: "17", UserName: "alice"}, nil
		},
	})
	h := auth.RequireBearer(hello)

	request := httptest.NewRequest("GET", "/hello", nil)
	request.AddCookie(&http.Cookie{Name: "session", Value: "a session that the host knows"})
	w := httptest.NewRecorder()
	h.ServeHTTP(w, request)
	fmt.Println(w.Code, w.Body)
	show(h, "/hello", signIn(auth))
	show(h, "/hello", "")
	// Output:
	// 200 hello alice
	// /hello 200 hello alice
	// /hello 401 {"Message":"Authorization has been denied for this request."}
}

// Mount with a revocation endpoint lets a client revoke its token when the user
// signs out.
func ExampleService_Mount_endpoints() {
	auth := newAuth(nil)
	mux := http.NewServeMux()
	mounted := auth.Mount(mux, tokenauth.Endpoints{Revocation: "/revoke", Issuer: "https://api.example.com"})
	mux.Handle("/hello", auth.RequireBearer(hello))
	fmt.Println(mounted.Token, mounted.Revocation, mounted.MetadataPath())

	accessToken := signIn(auth)
	w := httptest.NewRecorder()
	mux.ServeHTTP(w, httptest.NewRequest("POST", "/revoke", strings.NewReader("token="+accessToken)))
	fmt.Println(w.Code)
	show(mux, "/hello", accessToken)
	// Output:
	// [/Token /token] /revoke /.well-known/oauth-authorization-server
	// 200
	// /hello 401 {"error":"invalid_token","error_description":"The access token is invalid.","Message":"Authorization has been denied for this request."}
}
