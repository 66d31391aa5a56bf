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

// A replicaConfig is what a replica reads from its standard input, since the
// arguments of a process can be seen by others.
type replicaConfig struct {
	Name        string
	DSN         string
	ThrottleKey string
}

// replica is one process of the service. It says where it listens, and ends with
// its standard input, and so with its parent.
func replica(in io.Reader, out io.Writer) error {
	signal.Ignore(os.Interrupt) // the terminal sends it to all; the parent decides
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
	// For five of these seconds Shutdown waits for connections on which nothing
	// was asked yet; a balancer has such.
	grace, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	return server.Shutdown(grace)
}

// An address is what a replica says when it is ready.
type address struct{ Addr string }

// newAuth is what every replica of a service has to do.
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
	pool.SetMaxOpenConns(8) // the feed has one of them for itself
	pool.SetMaxIdleConns(8)
	store, err := gormstore.New(ctx, db, storeOptions)
	if err != nil {
		return nil, nil, err
	}
	// Behind a proxy that pools transactions: pgxfeed.Listener{DSN: …}, one that
	// leads past it.
	watched, err := gormstore.WithFeed(ctx, store, pgxfeed.Listener{})
	if err != nil {
		return nil, nil, err
	}
	auth, err = tokenauth.New(watched, store.Users(), &tokenauth.Options{
		Cache: &tokenauth.CacheOptions{Lease: lease},
		Throttle: tokenauth.ThrottleOptions{
			Key:      tokenauth.NewSecret(c.ThrottleKey), // failures count for all replicas together,
			Replicas: 3,                                  // and by thirds while the database is down
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
	// In earnest these go where the other metrics go.
	r.GET("/cache", func(c *gin.Context) { c.JSON(http.StatusOK, auth.CacheStats()) })
	return r
}

// replicaHeader names who answered.
const replicaHeader = "X-Replica"

// lease is the longest that a token may outlive its end, on a replica behind a
// network that is half dead.
const lease = 2 * time.Second
