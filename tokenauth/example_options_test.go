package tokenauth_test

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"time"

	"github.com/bearerkit/bearerkit/storage/memory"
	"github.com/bearerkit/bearerkit/tokenauth"
)

// With a cache, repeated validations do not ask the storage. Call Run: it
// receives the storage's changes, and without them the cache is not used.
func ExampleOptions_cache() {
	auth := newAuth(&tokenauth.Options{Cache: &tokenauth.CacheOptions{MaxEntries: 10_000}})
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go auth.Run(ctx)                   // receives the changes of the storage
	for !auth.CacheStats().FeedAlive { // so that the output is always the same
		time.Sleep(time.Millisecond)
	}

	accessToken := signIn(auth)
	for range 3 {
		if _, err := auth.Validate(ctx, accessToken); err != nil {
			panic(err)
		}
	}
	stats := auth.CacheStats()
	fmt.Println(stats.Misses, "read the storage,", stats.Hits, "did not")

	if err := auth.Revoke(ctx, accessToken); err != nil {
		panic(err)
	}
	_, err := auth.Validate(ctx, accessToken)
	fmt.Println(errors.Is(err, tokenauth.ErrInvalidToken))
	// Output:
	// 1 read the storage, 2 did not
	// true
}

// After five wrong passwords further attempts are throttled, even with the
// right password. RetryAfter says how long.
func ExampleThrottledError() {
	auth := newAuth(nil)
	for i := range 6 {
		_, err := auth.SignIn(context.Background(), tokenauth.Credentials{
			UserName: "alice", Password: tokenauth.NewSecret(fmt.Sprint("guess ", i)), RemoteAddr: netip.MustParseAddr("192.0.2.1"),
		})
		var throttled *tokenauth.ThrottledError
		if errors.As(err, &throttled) {
			fmt.Println("again in", throttled.RetryAfter.Round(time.Second))
			return
		}
	}
	// Output: again in 1s
}

// applications is a registry of clients in memory. Package gormstore has one in
// a table.
type applications map[string]tokenauth.Client

func (a applications) FindClient(_ context.Context, clientID string) (tokenauth.Client, error) {
	client, ok := a[clientID]
	if !ok {
		return client, tokenauth.ErrNotFound
	}
	return client, nil
}

// With a registry of clients, a user has one token at each client. A
// confidential client authenticates with its secret.
func ExampleClientRegistry() {
	secret := tokenauth.NewSecret(rand.Text()) // give it to the client; the registry keeps only its digest
	digest := tokenauth.Digest(sha256.Sum256([]byte(secret.Reveal())))
	auth := newAuth(&tokenauth.Options{Clients: applications{
		"web":    {ID: "web", Secrets: []tokenauth.Digest{digest}},
		"mobile": {ID: "mobile"}, // a public client, which cannot keep a secret
	}})
	for _, c := range []tokenauth.Credentials{
		{ClientID: "web", ClientSecret: secret},
		{ClientID: "mobile"},
		{ClientID: "web"},
	} {
		c.UserName, c.Password = "alice", tokenauth.NewSecret("correct horse")
		issued, err := auth.SignIn(context.Background(), c)
		fmt.Printf("%q %v\n", issued.Token.ClientID, errors.Is(err, tokenauth.ErrInvalidClient))
	}
	// Output:
	// "web" false
	// "mobile" false
	// "" true
}

// RequireClient accepts only the tokens of the named clients.
func ExampleService_RequireClient() {
	auth, err := tokenauth.New(new(memory.Store), people{}, nil)
	if err != nil {
		panic(err)
	}
	export := auth.RequireClient("back-office")(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, "exported")
	}))
	for _, client := range []string{"back-office", "mobile"} {
		issued, err := auth.Issue(context.Background(), tokenauth.Principal{UserID: "17"}, &tokenauth.IssueOptions{ClientID: client})
		if err != nil {
			panic(err)
		}
		show(export, "/export", issued.AccessToken.Reveal())
	}
	// Output:
	// /export 200 exported
	// /export 403 {"error":"insufficient_scope","error_description":"The access token was issued to a client that may not do this.","Message":"Authorization has been denied for this request."}
}
