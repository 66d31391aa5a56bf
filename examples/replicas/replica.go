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
// standard input, since other users of the machine can read arguments.
type replicaConfig struct {
	Name        string
	DSN         string
	ThrottleKey string
}

// replica runs one process of the service. It writes its address to out. It stops
// at the end of in, which comes at the latest when the parent process ends.
func replica(in io.Reader, out io.Writer) error {
	signal.Ignore(os.Interrupt) // a terminal sends it to all processes; the parent handles it
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
		auth.Run(ctx) // listens to the feed, and removes expired tokens
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
	// Shutdown waits five seconds for connections without a request, which a
	// balancer may have.
	grace, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	return server.Shutdown(grace)
}

// An address is the message that a replica writes when it listens.
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
	pool.SetMaxOpenConns(8) // one of them is for the feed
	pool.SetMaxIdleConns(8)
	store, err := gormstore.New(ctx, db, storeOptions)
	if err != nil {
		return nil, nil, err
	}
	// Behind PgBouncer, or another proxy that pools transactions, use
	// pgxfeed.Listener{DSN: …} with a DSN that bypasses the proxy.
	watched, err := gormstore.WithFeed(ctx, store, pgxfeed.Listener{})
	if err != nil {
		return nil, nil, err
	}
	auth, err = tokenauth.New(watched, store.Users(), &tokenauth.Options{
		Cache: &tokenauth.CacheOptions{Lease: lease},
		Throttle: tokenauth.ThrottleOptions{
			Key:      tokenauth.NewSecret(c.ThrottleKey), // the replicas count failures together,
			Replicas: 3,                                  // and enforce a third of the limits each while the database is down
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
	// A real service exports these with its other metrics.
	r.GET("/cache", func(c *gin.Context) { c.JSON(http.StatusOK, auth.CacheStats()) })
	return r
}

// replicaHeader is a response header with the name of the replica.
const replicaHeader = "X-Replica"

// lease is the longest time that a replica may accept an ended token if its feed
// fails without an error.
const lease = 2 * time.Second
