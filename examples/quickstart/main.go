// Quickstart serves the Token API with two accounts for trying out.
//
//	go run ./examples/quickstart [-addr HOST:PORT] [-store STORE] [-cache] [-throttle=off]
//
// STORE is sqlite:PATH, memory:, postgres://…, mysql://… or redis://…. Redis has
// the tokens only; the users are in memory then, and made anew at each start.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/bearerkit/bearerkit/ginadapter"
	"github.com/bearerkit/bearerkit/tokenauth"
)

func main() {
	addr := flag.String("addr", "127.0.0.1:8080", "`host:port` to listen on; port 0 picks a free one")
	storeURL := flag.String("store", "sqlite:quickstart.db", "where tokens and users are kept: `sqlite:PATH`, memory:, postgres://…, mysql://…, or for tokens only, and users in memory, redis://…")
	cache := flag.Bool("cache", false, "answer validations from memory; needs a store that tells of changes: memory:, postgres://… or redis://…")
	throttle := flag.String("throttle", "on", "`on` or off, for load tests; off only on a loopback address")
	flag.Parse()
	if flag.NArg() > 0 {
		log.Fatalf("quickstart: %q is no option; each begins with -", flag.Arg(0))
	}
	if *throttle != "on" && *throttle != "off" {
		log.Fatalf("quickstart: -throttle must be on or off, not %q", *throttle)
	}

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *addr, *storeURL, *cache, *throttle == "off"); err != nil {
		log.Fatal("quickstart: ", err)
	}
}

// run serves until the context ends.
func run(ctx context.Context, addr, storeURL string, cache, unthrottled bool) error {
	listener, err := net.Listen("tcp", addr)
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("%w; choose another address by -addr", err)
	}
	if err != nil {
		return err
	}
	defer listener.Close()

	store, err := openStore(ctx, storeURL, cache)
	if err != nil {
		return err
	}
	defer store.close()

	var options tokenauth.Options
	if unthrottled {
		if !isLoopback(listener.Addr()) {
			return fmt.Errorf("-throttle=off lets anybody guess passwords, and %v can be reached from elsewhere; listen on a loopback address", listener.Addr())
		}
		options.Throttle.InsecureOff = true
	}
	if cache {
		options.Cache = &tokenauth.CacheOptions{}
	}
	auth, err := tokenauth.New(store.tokens, store.users, &options)
	if err != nil {
		return err
	}
	created, err := createAccounts(ctx, store, listener.Addr())
	if err != nil {
		return err
	}

	handler, err := routes(auth)
	if err != nil {
		return err
	}
	server := &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       30 * time.Second,
		IdleTimeout:       2 * time.Minute,
	}
	// It goes on while requests are brought to their end.
	background, stopBackground := context.WithCancel(context.WithoutCancel(ctx))
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		auth.Run(background)
	}()
	defer func() { stopBackground(); <-stopped }()

	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	printWelcome(listener.Addr(), storeURL, created)

	select {
	case err := <-served:
		return err
	case <-ctx.Done():
	}
	fmt.Println("Shutting down.")
	grace, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := server.Shutdown(grace); err != nil {
		return err
	}
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// routes are those of any Gin service: ours mounted, and two of the host's
// behind it.
func routes(auth *tokenauth.Service) (http.Handler, error) {
	gin.SetMode(gin.ReleaseMode)
	r := gin.New()
	r.Use(gin.Recovery())

	mounted := ginadapter.Mount(r, auth, tokenauth.Endpoints{Revocation: "/revoke"})
	r.GET("/me", ginadapter.RequireBearer(auth), me)
	r.GET("/admin", ginadapter.RequireRole(auth, "Administrator"), me)

	r.GET("/health", func(c *gin.Context) {
		if err := auth.Health(c.Request.Context()); err != nil {
			c.JSON(http.StatusServiceUnavailable, gin.H{"status": "storage unavailable"})
			return
		}
		c.JSON(http.StatusOK, gin.H{"status": "ok"})
	})
	return r, mountDocs(r, auth, mounted)
}

func me(c *gin.Context) {
	token, _ := ginadapter.From(c)
	c.JSON(http.StatusOK, struct {
		UserID   string `json:"userId"`
		UserName string `json:"userName"`
		Role     string `json:"role"`
	}{token.Principal.UserID, token.Principal.UserName, joinRoles(token.Principal.Roles)})
}
