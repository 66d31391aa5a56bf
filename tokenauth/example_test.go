package tokenauth_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/bearerkit/bearerkit/storage/memory"
	"github.com/bearerkit/bearerkit/tokenauth"
)

// people is the Authenticator of the examples. A real one reads users with
// hashed passwords from a table: see package tokenauth/password.
type people struct{}

func (people) Authenticate(_ context.Context, c tokenauth.Credentials) (tokenauth.Principal, error) {
	if c.UserName != "alice" || c.Password.Reveal() != "correct horse" {
		return tokenauth.Principal{}, tokenauth.ErrRejected
	}
	return tokenauth.Principal{UserID: "17", UserName: "alice", Roles: []string{"Reader"}}, nil
}

// newAuth returns a Service with the users of people. The options may be nil.
func newAuth(o *tokenauth.Options) *tokenauth.Service {
	auth, err := tokenauth.New(new(memory.Store), people{}, o)
	if err != nil {
		panic(err)
	}
	return auth
}

// signIn returns an access token for alice.
func signIn(auth *tokenauth.Service) string {
	issued, err := auth.SignIn(context.Background(), tokenauth.Credentials{
		UserName: "alice", Password: tokenauth.NewSecret("correct horse"),
	})
	if err != nil {
		panic(err)
	}
	return issued.AccessToken.Reveal()
}

// show sends a request, with the access token unless it is empty, and prints
// the response.
func show(h http.Handler, path, accessToken string) {
	r := httptest.NewRequest("GET", path, nil)
	if accessToken != "" {
		r.Header.Set("Authorization", "Bearer "+accessToken)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	fmt.Println(path, w.Code, w.Body)
}

// hello greets the user, or a stranger if the request is anonymous.
var hello = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	name := "stranger"
	if token, ok := tokenauth.FromContext(r.Context()); ok {
		name = token.Principal.UserName
	}
	fmt.Fprint(w, "hello ", name)
})

// A complete service: clients sign in at /Token and call /hello with the access
// token from the response.
func Example() {
	auth, err := tokenauth.New(new(memory.Store), people{}, nil)
	if err != nil {
		panic(err)
	}
	mux := http.NewServeMux()
	auth.Mount(mux) // serves /Token and /token
	mux.Handle("/hello", auth.RequireBearer(hello))

	// A client signs in.
	r := httptest.NewRequest("POST", "/Token", strings.NewReader("grant_type=password&username=alice&password=correct+horse"))
	w := httptest.NewRecorder()
	mux.ServeHTTP(w, r)
	var answer struct {
		AccessToken string `json:"access_token"`
		TokenType   string `json:"token_type"`
		UserName    string `json:"userName"`
		Role        string `json:"role"`
	}
	if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil {
		panic(err)
	}
	fmt.Println("/Token", w.Code, answer.TokenType, answer.UserName, answer.Role)

	show(mux, "/hello", answer.AccessToken)
	show(mux, "/hello", "nonsense")
	show(mux, "/hello", "")
	// Output:
	// /Token 200 bearer alice Reader
	// /hello 200 hello alice
	// /hello 401 {"error":"invalid_token","error_description":"The access token is invalid.","Message":"Authorization has been denied for this request."}
	// /hello 401 {"Message":"Authorization has been denied for this request."}
}

// ldap is an Authenticator that binds to a directory server as the user.
type ldap struct {
	bind func(ctx context.Context, name, password string) error
}

// The LDAP client returns this error for result code 49, invalidCredentials.
var errInvalidCredentials = errors.New("LDAP result code 49")

func (d ldap) Authenticate(ctx context.Context, c tokenauth.Credentials) (tokenauth.Principal, error) {
	password := c.Password.Reveal()
	if password == "" {
		// A bind without a password succeeds, because it is anonymous.
		return tokenauth.Principal{}, tokenauth.ErrRejected
	}
	// The directory ignores case, so count the failures of all spellings
	// together.
	if err := c.CountAttempt(ctx, strings.ToLower(c.UserName)); err != nil {
		return tokenauth.Principal{}, err
	}
	switch err := d.bind(ctx, c.UserName, password); {
	case errors.Is(err, errInvalidCredentials):
		return tokenauth.Principal{}, tokenauth.ErrRejected
	case err != nil:
		return tokenauth.Principal{}, err // answered with 503, not as a wrong password
	}
	return tokenauth.Principal{UserID: "ldap:" + c.UserName, UserName: c.UserName}, nil
}

// An Authenticator returns ErrRejected for wrong credentials, and any other
// error if it cannot decide.
func ExampleAuthenticator() {
	directory := ldap{bind: func(_ context.Context, name, password string) error {
		switch {
		case name == "outage":
			return errors.New("no route to host")
		case name != "alice" || password != "correct horse":
			return errInvalidCredentials
		}
		return nil
	}}
	auth, err := tokenauth.New(new(memory.Store), directory, nil)
	if err != nil {
		panic(err)
	}
	for _, name := range []string{"alice", "mallory", "outage"} {
		issued, err := auth.SignIn(context.Background(), tokenauth.Credentials{
			UserName: name, Password: tokenauth.NewSecret("correct horse"),
		})
		fmt.Printf("%q %v\n", issued.Token.Principal.UserID, err)
	}
	// Output:
	// "ldap:alice" <nil>
	// "" tokenauth: the user name or password is incorrect
	// "" tokenauth: temporarily unavailable: the Authenticator failed (it must return ErrRejected for invalid credentials; a password.Lookup must return ErrNotFound for an unknown name): no route to host
}

// A Secret is redacted wherever it is printed or encoded. Only Reveal returns
// the text.
func ExampleSecret() {
	c := tokenauth.Credentials{UserName: "alice", Password: tokenauth.NewSecret("correct horse")}
	fmt.Printf("%s %v\n", c.Password, c.Password)
	asJSON, _ := json.Marshal(c.Password)
	fmt.Println(string(asJSON))
	fmt.Println(c.Password.Reveal())
	// Output:
	// [redacted] [redacted]
	// "[redacted]"
	// correct horse
}
