package main

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/signal"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/bearerkit/bearerkit/ginadapter"
	"github.com/bearerkit/bearerkit/storage/gormstore"
	"github.com/bearerkit/bearerkit/storage/gormstore/pgxfeed"
	"github.com/bearerkit/bearerkit/tokenauth"
)

// A replicaConfig is the configuration of a replica. The replica reads it from
// standard input, since other users of the machine can see the arguments of a
// process.
type replicaConfig struct {
	Name        string
	DSN         string
	ThrottleKey string
}

// replica runs one replica of the service. It reads a replicaConfig from the
// reader in, and writes its address to out. It stops when the parent closes its side
// of in, which happens at the latest when the parent process ends.
func replica(in io.Reader, out io.Writer) error {
	signal.Ignore(os.Interrupt) // Ctrl-C signals all processes; the parent stops the replicas
	var c replicaConfig
	if err := json.NewDecoder(in).Decode(&c); err != nil {
		return err
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	go func() { defer stop(); io.Copy(io.Discard, in) }()

	auth, closePool, err := newAuth(ctx, c)
	if err != nil {
		return err
	}
	defer closePool()
	background := make(chan struct{})
	go func() {
		defer close(background)
		auth.Run(ctx) // receives changes for the cache, and removes expired tokens
	}()
	defer func() { stop(); <-background }()

	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	server := &http.Server{Handler: routes(auth, c.Name), ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 30 * time.Second}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	if err := json.NewEncoder(out).Encode(address{listener.Addr().String()}); err != nil {
		return err
	}
	select {
	case err := <-served:
		return err
	case <-ctx.Done():
	}
	// Wait longer than the five seconds that Shutdown waits for connections that
	// have not sent a request. A balancer may have such connections.
	grace, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	return server.Shutdown(grace)
}

// An address is the message that a replica writes to its parent when it listens.
type address struct{ Addr string }

// newAuth opens the database and returns the Token API of a replica.
func newAuth(ctx context.Context, c replicaConfig) (auth *tokenauth.Service, closePool func() error, err error) {
	db, pool, err := openDatabase(c.DSN)
	if err != nil {
		return nil, nil, err
	}
	defer func() {
		if err != nil {
			pool.Close()
		}
	}()
	pool.SetMaxOpenConns(8) // one connection receives the change notifications
	pool.SetMaxIdleConns(8)
	store, err := gormstore.New(ctx, db, storeOptions)
	if err != nil {
		return nil, nil, err
	}
	// Behind PgBouncer or another transaction-pooling proxy, use
	// pgxfeed.Listener{DSN: …} with a DSN that bypasses the proxy.
	watched, err := gormstore.WithFeed(ctx, store, pgxfeed.Listener{})
	if err != nil {
		return nil, nil, err
	}
	auth, err = tokenauth.New(watched, store.Users(), &tokenauth.Options{
		Cache: &tokenauth.CacheOptions{Lease: lease},
		Throttle: tokenauth.ThrottleOptions{
			Key:      tokenauth.NewSecret(c.ThrottleKey), // shared, so that the replicas count failures together
			Replicas: 3,                                  // each replica enforces a third of the limits while the database is down
		},
		TrustedProxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}, // the balancer
	})
	return auth, pool.Close, err
}

func routes(auth *tokenauth.Service, name string) http.Handler {
	r := gin.New()
	r.Use(gin.Recovery(), func(c *gin.Context) { c.Header(replicaHeader, name) })
	ginadapter.Mount(r, auth)
	r.GET("/me", ginadapter.RequireBearer(auth), func(c *gin.Context) {
		token, _ := ginadapter.From(c)
		c.JSON(http.StatusOK, gin.H{"userId": token.Principal.UserID, "userName": token.Principal.UserName})
	})
	r.DELETE("/users/:id/tokens", ginadapter.RequireRole(auth, "Administrator"), func(c *gin.Context) {
		if err := auth.RevokeUser(c.Request.Context(), c.Param("id")); err != nil {
			c.AbortWithStatus(http.StatusServiceUnavailable)
			return
		}
		c.Status(http.StatusNoContent)
	})
	// A real service exports the cache statistics with its other metrics.
	r.GET("/cache", func(c *gin.Context) { c.JSON(http.StatusOK, auth.CacheStats()) })
	return r
}

// replicaHeader is a response header with the name of the replica.
const replicaHeader = "X-Replica"

// lease limits how long a replica accepts a token that another replica ended, if
// change notifications fail without an error.
const lease = 2 * time.Second
