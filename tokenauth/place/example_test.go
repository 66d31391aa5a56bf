package place_test

import (
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"

	"github.com/bearerkit/bearerkit/storage/memory"
	"github.com/bearerkit/bearerkit/tokenauth"
	"github.com/bearerkit/bearerkit/tokenauth/place"
	"github.com/bearerkit/bearerkit/tokenauth/tokenauthtest"
)

// A browser signs in with a form and gets a cookie, which no script can read. It
// sends the cookie with each request, until the user signs out.
func Example() {
	session := place.Cookie{Name: "session"}
	users := new(tokenauthtest.Users)
	users.Add(tokenauth.Principal{UserID: "17", UserName: "alice"}, "correct horse")
	auth, err := tokenauth.New(new(memory.Store), users, &tokenauth.Options{
		Places: []place.Place{place.Scheme("Bearer"), session},
		Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		panic(err)
	}
	mux := http.NewServeMux()
	var sameOrigin http.CrossOriginProtection // or another site signs its visitor in to an account of its own
	mux.Handle("POST /sign-in", sameOrigin.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, 8<<10)
		credentials := auth.RequestCredentials(r)
		credentials.UserName, credentials.Password = r.PostFormValue("name"), tokenauth.NewSecret(r.PostFormValue("password"))
		issued, err := auth.SignIn(r.Context(), credentials)
		if err != nil {
			http.Error(w, "Try again.", http.StatusUnauthorized)
			return
		}
		issued.SetCookie(w, r, session)
		fmt.Fprint(w, "signed in")
	})))
	mux.Handle("POST /sign-out", auth.RequireBearer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token, _ := tokenauth.FromContext(r.Context())
		if err := auth.RevokeToken(r.Context(), token); err != nil {
			http.Error(w, "Try again.", http.StatusServiceUnavailable)
			return
		}
		session.Clear(w, r)
		fmt.Fprint(w, "signed out")
	})))
	mux.Handle("/me", auth.RequireBearer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token, _ := tokenauth.FromContext(r.Context())
		fmt.Fprint(w, "hello ", token.Principal.UserName)
	})))

	server := httptest.NewTLSServer(mux)
	defer server.Close()
	browser := server.Client()
	browser.Jar, _ = cookiejar.New(nil)
	show := func(response *http.Response, err error) {
		if err != nil {
			panic(err)
		}
		defer response.Body.Close()
		body, _ := io.ReadAll(response.Body)
		fmt.Println(response.Request.Method, response.Request.URL.Path, response.StatusCode, string(body))
	}
	show(browser.PostForm(server.URL+"/sign-in", url.Values{"name": {"alice"}, "password": {"correct horse"}}))
	show(browser.Get(server.URL + "/me"))

	// The page of another site cannot use the cookie to change something.
	r, _ := http.NewRequest("POST", server.URL+"/me", nil)
	r.Header.Set("Origin", "https://evil.example")
	show(browser.Do(r))

	show(browser.PostForm(server.URL+"/sign-out", nil))
	show(browser.Get(server.URL + "/me"))
	// Output:
	// POST /sign-in 200 signed in
	// GET /me 200 hello alice
	// POST /me 403 {"error":"invalid_request","error_description":"The request comes from another site.","Message":"Authorization has been denied for this request."}
	// POST /sign-out 200 signed out
	// GET /me 401 {"Message":"Authorization has been denied for this request."}
}
