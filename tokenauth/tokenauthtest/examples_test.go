package tokenauthtest_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/bearerkit/bearerkit/storage/memory"
	"github.com/bearerkit/bearerkit/tokenauth"
	"github.com/bearerkit/bearerkit/tokenauth/tokenauthtest"
)

// t stands in the examples for the *testing.T of a test.
var t = exampleT{}

type exampleT struct{ testing.TB }

func (exampleT) Helper()                  {}
func (exampleT) Context() context.Context { return context.Background() }
func (exampleT) Fatal(args ...any)        { panic(fmt.Sprint(args...)) }
func (exampleT) Fatalf(f string, a ...any) {
	panic(fmt.Sprintf(f, a...))
}

// quiet returns options without a log.
func quiet() *tokenauth.Options {
	return &tokenauth.Options{Logger: slog.New(slog.DiscardHandler)}
}

// status returns the status of the answer.
func status(h http.Handler, r *http.Request) int {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Code
}

// A test sends requests with and without a role, lets the storage fail, and moves
// the time past the end of the token. In a test, t is its *testing.T.
func Example() {
	auth := tokenauthtest.New(t, quiet())
	h := auth.RequireRole("Auditor")(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))

	auditor := auth.As(tokenauth.Principal{UserID: "17", Roles: []string{"Auditor"}}, httptest.NewRequest("GET", "/reports", nil))
	reader := auth.As(tokenauth.Principal{UserID: "42", Roles: []string{"Reader"}}, httptest.NewRequest("GET", "/reports", nil))
	fmt.Println("auditor:", status(h, auditor))
	fmt.Println("reader:", status(h, reader))

	auth.Storage.Fail(errors.New("connection refused"))
	fmt.Println("storage down:", status(h, auditor))

	auth.Storage.Heal()
	auth.Clock.Advance(15 * 24 * time.Hour) // the default lifetime is 14 days
	fmt.Println("expired:", status(h, auditor))
	// Output:
	// auditor: 200
	// reader: 403
	// storage down: 503
	// expired: 401
}

// A user whom the test added signs in. In a test, t is its *testing.T.
func ExampleNew() {
	auth := tokenauthtest.New(t, quiet())
	auth.Users.Add(tokenauth.Principal{UserID: "17", UserName: "alice"}, "correct horse")

	form := url.Values{"grant_type": {"password"}, "username": {"alice"}, "password": {"correct horse"}}
	r := httptest.NewRequest("POST", "/Token", strings.NewReader(form.Encode()))
	fmt.Println(status(auth.TokenHandler(), r))
	// Output: 200
}

// The second token of a user replaces the first one.
func ExampleService_As() {
	auth := tokenauthtest.New(t, quiet())
	h := auth.RequireBearer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	alice := tokenauth.Principal{UserID: "17", UserName: "alice"}

	first := auth.As(alice, httptest.NewRequest("GET", "/", nil))
	second := auth.As(alice, httptest.NewRequest("GET", "/", nil))
	fmt.Println(status(h, first), status(h, second))
	// Output: 401 200
}

// The host made the Service by tokenauth.New. Two requests share one token.
func ExampleBearer() {
	auth, err := tokenauth.New(new(memory.Store), new(tokenauthtest.Users), nil)
	if err != nil {
		t.Fatal(err)
	}
	h := auth.RequireBearer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))

	authorization := tokenauthtest.Bearer(t, auth, tokenauth.Principal{UserID: "17"})
	for range 2 {
		r := httptest.NewRequest("GET", "/", nil)
		r.Header.Set("Authorization", authorization)
		fmt.Println(status(h, r))
	}
	// Output:
	// 200
	// 200
}

// A token expires when the test moves the clock past its lifetime.
func ExampleClock() {
	var clock tokenauthtest.Clock
	auth, err := tokenauth.New(new(memory.Store), new(tokenauthtest.Users), &tokenauth.Options{
		Now: clock.Now, Lifetime: time.Hour,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	issued, err := auth.Issue(ctx, tokenauth.Principal{UserID: "17"}, "")
	if err != nil {
		t.Fatal(err)
	}
	_, err = auth.Validate(ctx, issued.AccessToken.Reveal())
	fmt.Println(err)
	clock.Advance(time.Hour)
	_, err = auth.Validate(ctx, issued.AccessToken.Reveal())
	fmt.Println(errors.Is(err, tokenauth.ErrExpiredToken))
	// Output:
	// <nil>
	// true
}

// Users signs in the users whom the test added, with their passwords.
func ExampleUsers() {
	var users tokenauthtest.Users
	users.Add(tokenauth.Principal{UserID: "17", UserName: "alice"}, "correct horse")
	auth, err := tokenauth.New(new(memory.Store), &users, quiet())
	if err != nil {
		t.Fatal(err)
	}
	signIn := func(password string) error {
		_, err := auth.SignIn(context.Background(), tokenauth.Credentials{UserName: "alice", Password: tokenauth.NewSecret(password)})
		return err
	}
	fmt.Println(signIn("correct horse"))
	fmt.Println(errors.Is(signIn("battery staple"), tokenauth.ErrRejected))
	// Output:
	// <nil>
	// true
}

// The storage fails until the test calls Heal.
func ExampleFailingStorage() {
	store := &tokenauthtest.FailingStorage{Storage: new(memory.Store)}
	auth, err := tokenauth.New(store, new(tokenauthtest.Users), quiet())
	if err != nil {
		t.Fatal(err)
	}
	ctx, alice := context.Background(), tokenauth.Principal{UserID: "17", UserName: "alice"}

	store.Fail(errors.New("connection refused"))
	_, err = auth.Issue(ctx, alice, "")
	fmt.Println(errors.Is(err, tokenauth.ErrUnavailable))
	store.Heal()
	_, err = auth.Issue(ctx, alice, "")
	fmt.Println(err)
	// Output:
	// true
	// <nil>
}
