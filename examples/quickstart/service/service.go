// Package service implements the service that the programs quickstart and anystore
// run.
package service

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

	"github.com/bearerkit/bearerkit/tokenauth"
)

// Main parses the flags and serves until the process gets SIGINT or SIGTERM.
// The keys of stores are the URL schemes that the flag -store accepts.
func Main(program string, stores map[string]Open) {
	log.SetFlags(0)
	log.SetPrefix(program + ": ")
	addr := flag.String("addr", "127.0.0.1:8080", "`host:port` to listen on; port 0 picks a free one")
	storeURL := flag.String("store", "sqlite:quickstart.db", "`store` of tokens and users: "+usage(stores))
	cache := flag.Bool("cache", false, "validate tokens from memory; needs a store that reports changes, as memory: does, or postgres:// and redis:// of anystore")
	throttle := flag.String("throttle", "on", "`on`, or off for load tests; off needs a loopback address")
	flag.Parse()
	if flag.NArg() > 0 {
		log.Fatalf("unexpected argument %q: flags begin with -", flag.Arg(0))
	}
	if *throttle != "on" && *throttle != "off" {
		log.Fatalf("-throttle must be on or off, not %q", *throttle)
	}

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, stores, *addr, *storeURL, *cache, *throttle == "off"); err != nil {
		log.Fatal(err)
	}
}

// run serves until the context ends.
func run(ctx context.Context, stores map[string]Open, addr, storeURL string, cache, unthrottled bool) error {
	listener, err := net.Listen("tcp", addr)
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("%w; choose another address with -addr", err)
	}
	if err != nil {
		return err
	}
	defer listener.Close()

	store, err := open(ctx, stores, storeURL, cache)
	if err != nil {
		return err
	}
	defer store.Close()

	var options tokenauth.Options
	if unthrottled {
		if !isLoopback(listener.Addr()) {
			return fmt.Errorf("-throttle=off lets anyone guess passwords, and other machines can reach %v: listen on a loopback address", listener.Addr())
		}
		options.Throttle.InsecureOff = true
	}
	if cache {
		options.Cache = &tokenauth.CacheOptions{}
	}
	auth, err := tokenauth.New(store.Tokens, store.Users, &options)
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
	// Run must not end before the last request does, so Run has its own
	// context.
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
