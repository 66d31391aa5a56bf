// Own-storage serves the Token API with its own implementation of
// [tokenauth.Storage]. The implementation, store.go, keeps tokens in a bbolt file and
// has less than a hundred lines.
//
//	go run ./examples/own-storage [-port PORT] [-file FILE]
//
// Its users are in memory, with a public password, so it listens on a loopback
// address only.
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
	bolt "go.etcd.io/bbolt"

	"github.com/bearerkit/bearerkit/ginadapter"
	"github.com/bearerkit/bearerkit/tokenauth"
)

func main() {
	port := flag.String("port", "8080", "`port` of 127.0.0.1 to listen on; 0 picks a free one")
	file := flag.String("file", "own-storage.db", "`file` to keep the tokens in")
	flag.Parse()
	gin.SetMode(gin.ReleaseMode)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *port, *file); err != nil {
		log.Fatal("own-storage: ", err)
	}
}

// run serves until the context is canceled.
func run(ctx context.Context, port, file string) error {
	// Only one process at a time can open the file. A second process gets an
	// error after the timeout.
	db, err := bolt.Open(file, 0o600, &bolt.Options{Timeout: time.Second})
	if err != nil {
		return fmt.Errorf("opening %s: %w", file, err)
	}
	defer db.Close()
	store, err := newStore(db)
	if err != nil {
		return err
	}
	users, err := trialUsers()
	if err != nil {
		return err
	}
	auth, err := tokenauth.New(store, users, nil)
	if err != nil {
		return err
	}

	background, stopBackground := context.WithCancel(context.WithoutCancel(ctx))
	purged := make(chan struct{})
	go func() {
		defer close(purged)
		auth.Run(background) // calls the store's Purge from time to time
	}()
	defer func() { stopBackground(); <-purged }()
	return serve(ctx, port, routes(auth))
}

func routes(auth *tokenauth.Service) http.Handler {
	r := gin.New()
	r.Use(gin.Recovery())
	ginadapter.Mount(r, auth)
	r.GET("/me", ginadapter.RequireBearer(auth), func(c *gin.Context) {
		token, _ := ginadapter.From(c)
		c.JSON(http.StatusOK, gin.H{"userName": token.Principal.UserName, "roles": token.Principal.Roles})
	})
	return r
}

// serve serves until the context is canceled. It then waits up to 10 seconds for
// the requests in progress.
func serve(ctx context.Context, port string, h http.Handler) error {
	listener, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", port))
	if err != nil {
		return err
	}
	server := &http.Server{Handler: h, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 30 * time.Second, IdleTimeout: 2 * time.Minute}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	fmt.Printf(welcome, listener.Addr())
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

const welcome = `Token API on http://%[1]s, with two users FOR TRYING OUT ONLY: alice and bob, password "password".

Sign in:

  HOST=http://%[1]s
  curl "$HOST/Token" -d grant_type=password -d username=alice -d password=password

Then, with the access_token of the response:

  curl -H "Authorization: Bearer $TOKEN" "$HOST/me"

The token stays valid over a restart. A new sign-in ends it. Ctrl-C stops.
`
