package failover

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/bearerkit/bearerkit/examples/torture/internal/host"
	"github.com/bearerkit/bearerkit/examples/torture/internal/trial"
	"github.com/bearerkit/bearerkit/storage/gormstore"
	"github.com/bearerkit/bearerkit/tokenauth"
)

// The defaults of [tokenauth.Options.Timeout] and [tokenauth.CacheOptions.Lease].
const timeout, lease = 2 * time.Second, 2 * time.Second

// A replica is a [tokenauth.Service] over HTTP.
type replica struct {
	auth   *tokenauth.Service
	url    string
	cached bool
	leeway time.Duration // how long it may accept a token after its end
}

// A userStore is a storage with a table of users.
type userStore interface{ Users() *gormstore.Users }

// openReplica starts a replica on the storage. The users are in the same database if
// the storage is a userStore. Otherwise they are a [host.Directory].
func openReplica(tb testing.TB, storage tokenauth.Storage, cached bool) *replica {
	tb.Helper()
	var users tokenauth.Authenticator = new(host.Directory)
	if s, ok := storage.(userStore); ok {
		users = s.Users()
	}
	options := &tokenauth.Options{Logger: slog.New(slog.DiscardHandler)}
	r := &replica{cached: cached}
	if cached {
		options.Cache = new(tokenauth.CacheOptions)
		r.leeway = lease + trial.Allowance
	}
	var err error
	if r.auth, err = tokenauth.New(storage, users, options); err != nil {
		tb.Fatal(err)
	}
	mux := http.NewServeMux()
	r.auth.Mount(mux, tokenauth.Endpoints{Revocation: "/revoke"})
	mux.Handle("GET /me", r.auth.RequireBearer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token, _ := tokenauth.FromContext(r.Context())
		io.WriteString(w, token.Principal.UserName)
	})))
	server := httptest.NewServer(mux)
	r.url = server.URL
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { r.auth.Run(ctx) })
	tb.Cleanup(func() { cancel(); running.Wait(); server.Close() })
	return r
}
