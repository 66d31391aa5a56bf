package tokenauth_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"

	"github.com/bearerkit/bearerkit/storage/memory"
	"github.com/bearerkit/bearerkit/tokenauth"
	"github.com/bearerkit/bearerkit/tokenauth/tokenauthtest"
)

// A user makes a key for a script. A route says that it takes keys, too, and which role
// a key needs. Other routes take sign-ins only.
func ExampleKeys() {
	users := new(tokenauthtest.Users) // in production, of the package gormstore or password
	users.Add(tokenauth.Principal{UserID: "17", UserName: "alice", Roles: []string{"Reader"}}, "correct horse")
	auth, err := tokenauth.New(new(memory.Store), users, &tokenauth.Options{Keys: &tokenauth.KeyOptions{Prefix: "acme_"}})
	if err != nil {
		panic(err)
	}
	keys, err := tokenauth.NewKeys(auth)
	if err != nil {
		panic(err)
	}
	mux := http.NewServeMux()
	mux.Handle("POST /keys", auth.RequireBearer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		owner, _ := tokenauth.FromContext(r.Context())
		secret, _, err := keys.Create(r.Context(), owner, tokenauth.Key{Name: r.FormValue("name"), Roles: []string{"Reader"}})
		if err != nil {
			http.Error(w, "try again later", http.StatusServiceUnavailable)
			return
		}
		fmt.Fprint(w, secret.Reveal())
	})))
	takesKeys := tokenauth.Requirement{Keys: true, Roles: []string{"Reader"}}.Guard(auth)
	mux.Handle("GET /reports", takesKeys(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		caller, _ := tokenauth.FromContext(r.Context())
		fmt.Fprintf(w, "%s, with a key: %v", caller.Principal.UserName, caller.Key != "")
	})))
	mux.Handle("GET /account", auth.RequireBearer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})))

	r := httptest.NewRequest("POST", "/keys?name=nightly+report", nil)
	r.Header.Set("Authorization", "Bearer "+signIn(auth))
	w := httptest.NewRecorder()
	mux.ServeHTTP(w, r)
	key := w.Body.String()
	show(mux, "/reports", key)
	show(mux, "/account", key)

	list, err := keys.List(context.Background(), "17")
	if err != nil {
		panic(err)
	}
	fmt.Println(list[0].Name, list[0].Roles, list[0].ExpiresAt.IsZero())
	if err := keys.Revoke(context.Background(), "17", list[0].ID); err != nil {
		panic(err)
	}
	show(mux, "/reports", key)
	// Output:
	// /reports 200 alice, with a key: true
	// /account 403 {"error":"insufficient_scope","error_description":"An API key may not do this.","Message":"Authorization has been denied for this request."}
	// nightly report [Reader] true
	// /reports 401 {"error":"invalid_token","error_description":"The access token is invalid.","Message":"Authorization has been denied for this request."}
}
