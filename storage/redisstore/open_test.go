package redisstore_test

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"os"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/bearerkit/bearerkit/internal/throwaway"
	"github.com/bearerkit/bearerkit/storage/redisstore"
	"github.com/bearerkit/bearerkit/tokenauth"
	"github.com/bearerkit/bearerkit/tokenauth/throttle"
)

func TestMain(m *testing.M) { os.Exit(throwaway.Main(m)) }

// option returns the option of a client for the server at a URL.
func option(tb testing.TB, url string) rueidis.ClientOption {
	tb.Helper()
	o, err := rueidis.ParseURL(url)
	if err != nil {
		tb.Fatal(err)
	}
	o.DisableCache = true
	return o
}

func open(tb testing.TB, o rueidis.ClientOption) rueidis.Client {
	tb.Helper()
	client, err := rueidis.NewClient(o)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(client.Close)
	return client
}

// newPrefix returns a unique prefix. When the test ends, it removes all keys with
// the prefix, in braces or not.
func newPrefix(tb testing.TB, client rueidis.Client) string {
	tb.Helper()
	prefix := "test" + rand.Text() + ":"
	tb.Cleanup(func() {
		for _, key := range append(keys(tb, client, prefix), keys(tb, client, "{"+prefix)...) {
			client.Do(context.Background(), client.B().Del().Key(key).Build())
		}
	})
	return prefix
}

// keys returns the names of all keys with the prefix.
func keys(tb testing.TB, client rueidis.Client, prefix string) (names []string) {
	tb.Helper()
	for _, node := range client.Nodes() {
		for cursor := uint64(0); ; {
			entry, err := node.Do(context.Background(), node.B().Scan().Cursor(cursor).Match(prefix+"*").Count(1000).Build()).AsScanEntry()
			if err != nil {
				tb.Error(err)
				break
			}
			names = append(names, entry.Elements...)
			if cursor = entry.Cursor; cursor == 0 {
				break
			}
		}
	}
	return names
}

func newStore(tb testing.TB, client rueidis.Client, prefix string) *redisstore.Store {
	tb.Helper()
	s, err := redisstore.New(client, &redisstore.Options{Prefix: prefix})
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

// watched returns a store with a feed, on a client of its own.
func watched(tb testing.TB, o rueidis.ClientOption, prefix string) feedStore {
	tb.Helper()
	w, err := redisstore.WithFeed(newStore(tb, open(tb, o), prefix), o)
	if err != nil {
		tb.Fatal(err)
	}
	return w.(feedStore)
}

// A feedStore has all methods of the storage that WithFeed returns.
type feedStore interface {
	Now(context.Context) (time.Time, error)
	tokenauth.Storage
	tokenauth.Watcher
	tokenauth.BatchFinder
	tokenauth.BulkRevoker
	tokenauth.Lister
	tokenauth.UseRecorder
	tokenauth.Refresher
	tokenauth.Renamer
	throttle.Storage
}

// rejectAll is an Authenticator that rejects every sign-in.
type rejectAll struct{}

func (rejectAll) Authenticate(context.Context, tokenauth.Credentials) (tokenauth.Principal, error) {
	return tokenauth.Principal{}, tokenauth.ErrRejected
}

// service returns a Service on the storage, and runs it until the test ends.
func service(tb testing.TB, s tokenauth.Storage, o tokenauth.Options) *tokenauth.Service {
	tb.Helper()
	o.Logger = slog.New(slog.DiscardHandler) // the tests cause many faults
	if o.Timeout == 0 {
		o.Timeout = 20 * time.Second // the machine may be busy
	}
	auth, err := tokenauth.New(s, rejectAll{}, &o)
	if err != nil {
		tb.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		auth.Run(ctx)
	}()
	tb.Cleanup(func() { cancel(); <-done })
	return auth
}

func issue(tb testing.TB, auth *tokenauth.Service, user, client string) string {
	tb.Helper()
	grant, err := auth.Issue(tb.Context(), tokenauth.Principal{UserID: user, UserName: "somebody", Roles: []string{"Reader"}, Stamp: "stamp"}, &tokenauth.IssueOptions{ClientID: client})
	if err != nil {
		tb.Fatal(err)
	}
	return grant.AccessToken.Reveal()
}

// patience is how long a test waits for an expected event.
const patience = 30 * time.Second

// soon is how long a call may take whose time limit is a few 100 ms, on a busy
// machine. The client's own time limit for a server that hangs is 10 seconds.
const soon = 8 * time.Second

// eventually waits until holds returns true. The text what describes that state.
func eventually(tb testing.TB, what string, holds func() bool) {
	tb.Helper()
	for deadline := time.Now().Add(patience); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			tb.Fatalf("timed out after %v, waiting for: %s", patience, what)
		}
	}
}

// refused reports whether the service refuses the access token. It fails the test
// if Validate returns another error.
func refused(tb testing.TB, auth *tokenauth.Service, accessToken string) bool {
	tb.Helper()
	_, err := auth.Validate(tb.Context(), accessToken)
	if err != nil && !errors.Is(err, tokenauth.ErrInvalidToken) {
		tb.Fatal(err)
	}
	return err != nil
}
