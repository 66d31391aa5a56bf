package tokenauthtest_test

import (
	"context"
	"errors"
	"fmt"
	"io"
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
func (exampleT) Output() io.Writer        { return io.Discard }
func (exampleT) Fatal(args ...any)        { panic(fmt.Sprint(args...)) }
func (exampleT) Fatalf(format string, args ...any) {
	panic(fmt.Sprintf(format, args...))
}

// statusOf serves the request and returns the status of the answer.
func statusOf(h http.Handler, r *http.Request) int {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Code
}

// A test of a protected route sends requests with and without the role, makes the
// storage fail, and moves the clock until the token expires. In a test, t is its
// *testing.T.
func Example() {
	auth := tokenauthtest.New(t, nil)
	h := auth.RequireRole("Auditor")(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))

	auditor := auth.As(tokenauth.Principal{UserID: "17", Roles: []string{"Auditor"}}, httptest.NewRequest("GET", "/reports", nil))
	reader := auth.As(tokenauth.Principal{UserID: "42", Roles: []string{"Reader"}}, httptest.NewRequest("GET", "/reports", nil))
	fmt.Println("auditor:", statusOf(h, auditor))
	fmt.Println("reader:", statusOf(h, reader))

	auth.Storage.Fail(errors.New("connection refused"))
	fmt.Println("storage down:", statusOf(h, auditor))

	auth.Storage.Heal()
	auth.Clock.Advance(15 * 24 * time.Hour) // the default lifetime is 14 days
	fmt.Println("expired:", statusOf(h, auditor))
	// Output:
	// auditor: 200
	// reader: 403
	// storage down: 503
	// expired: 401
}

// A user whom the test added signs in. In a test, t is its *testing.T.
func ExampleNew() {
	auth := tokenauthtest.New(t, nil)
	auth.Users.Add(tokenauth.Principal{UserID: "17", UserName: "alice"}, "correct horse")

	form := url.Values{"grant_type": {"password"}, "username": {"alice"}, "password": {"correct horse"}}
	r := httptest.NewRequest("POST", "/Token", strings.NewReader(form.Encode()))
	fmt.Println(statusOf(auth.TokenHandler(), r))
	// Output: 200
}

// The second token of a user replaces the first one. In a test, t is its
// *testing.T.
func ExampleService_As() {
	auth := tokenauthtest.New(t, nil)
	h := auth.RequireBearer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	alice := tokenauth.Principal{UserID: "17", UserName: "alice"}

	first := auth.As(alice, httptest.NewRequest("GET", "/", nil))
	second := auth.As(alice, httptest.NewRequest("GET", "/", nil))
	fmt.Println(statusOf(h, first), statusOf(h, second))
	// Output: 401 200
}

// A user signs in at two clients, and on two devices of one of them. A token
// replaces only the token on the same device. In a test, t is its *testing.T.
func ExampleService_As_device() {
	auth := tokenauthtest.New(t, &tokenauth.Options{Devices: &tokenauth.DeviceOptions{}})
	h := auth.RequireBearer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	request := func(clientID, device string) *http.Request {
		return auth.As(tokenauth.Principal{UserID: "17"}, httptest.NewRequest("GET", "/", nil),
			&tokenauth.IssueOptions{ClientID: clientID, Device: device})
	}
	phone, tablet, web := request("mobile", "phone"), request("mobile", "tablet"), request("web", "")
	fmt.Println(statusOf(h, phone), statusOf(h, tablet), statusOf(h, web))

	phoneAgain := request("mobile", "phone")
	fmt.Println(statusOf(h, phone), statusOf(h, phoneAgain), statusOf(h, tablet))
	// Output:
	// 200 200 200
	// 401 200 200
}

// The Service of a test lists tokens and ends the tokens of a client, because
// its storage in memory can do both. In a test, t is its *testing.T.
func ExampleNew_operations() {
	auth := tokenauthtest.New(t, &tokenauth.Options{Devices: &tokenauth.DeviceOptions{}})
	ctx, alice := context.Background(), tokenauth.Principal{UserID: "17", UserName: "alice"}
	tokenauthtest.Bearer(t, auth.Service, alice, &tokenauth.IssueOptions{ClientID: "mobile", Device: "d1", DeviceName: "Ann's phone"})
	auth.Clock.Advance(time.Minute)
	tokenauthtest.Bearer(t, auth.Service, alice, &tokenauth.IssueOptions{ClientID: "web"})
	list := func() {
		tokens, err := auth.Tokens(ctx, "17")
		if err != nil {
			t.Fatal(err)
		}
		for _, token := range tokens {
			fmt.Printf("%s %q\n", token.ClientID, token.DeviceName)
		}
	}
	list()
	if err := auth.RevokeClient(ctx, "mobile"); err != nil {
		t.Fatal(err)
	}
	fmt.Println("after RevokeClient:")
	list()
	// Output:
	// web ""
	// mobile "Ann's phone"
	// after RevokeClient:
	// web ""
}

// A host that makes its Service by tokenauth.New sends two requests with one
// token. In a test, t is its *testing.T.
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
		fmt.Println(statusOf(h, r))
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
	issued, err := auth.Issue(ctx, tokenauth.Principal{UserID: "17"}, nil)
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
	auth, err := tokenauth.New(new(memory.Store), &users, &tokenauth.Options{Logger: slog.New(slog.DiscardHandler)})
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
	auth, err := tokenauth.New(store, new(tokenauthtest.Users), &tokenauth.Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, alice := context.Background(), tokenauth.Principal{UserID: "17", UserName: "alice"}

	store.Fail(errors.New("connection refused"))
	_, err = auth.Issue(ctx, alice, nil)
	fmt.Println(errors.Is(err, tokenauth.ErrUnavailable))
	store.Heal()
	_, err = auth.Issue(ctx, alice, nil)
	fmt.Println(err)
	// Output:
	// true
	// <nil>
}

// A script calls a route with an API key, until its user is disabled. A key needs a user
// whom the test added. In a test, t is its *testing.T.
func ExampleNew_keys() {
	auth := tokenauthtest.New(t, &tokenauth.Options{Keys: new(tokenauth.KeyOptions)})
	alice := tokenauth.Principal{UserID: "17", UserName: "alice", Roles: []string{"Reader"}}
	auth.Users.Add(alice, "correct horse")
	keys, err := tokenauth.NewKeys(auth.Service)
	if err != nil {
		t.Fatal(err)
	}
	secret, _, err := keys.Create(context.Background(), tokenauth.Token{Principal: alice}, tokenauth.Key{Name: "nightly report"})
	if err != nil {
		t.Fatal(err)
	}
	reports := auth.Authorizer(tokenauth.Requirement{Roles: []string{"Reader"}, Keys: true})
	r := httptest.NewRequest("GET", "/reports", nil)
	r.Header.Set("Authorization", "Bearer "+secret.Reveal())
	_, refusal := reports(r)
	fmt.Println("refused:", refusal != nil)

	auth.Users.Remove("alice")
	if err := auth.RevokeUser(context.Background(), "17"); err != nil {
		t.Fatal(err)
	}
	_, refusal = reports(r)
	fmt.Println("refused:", refusal != nil)
	// Output:
	// refused: false
	// refused: true
}
