// Consumer is a product for people with a phone, a laptop and a browser: they sign
// in with a second factor, see their devices, end one of them, and its open streams
// end, too.
//
//	go run ./examples/consumer [-addr HOST:PORT] [-store STORE] [-cache] [-throttle=off] [-origin ORIGIN]
//
// STORE is sqlite:PATH, memory:, postgres://…, mysql://…, redis://…, rediss://…
// or unix://PATH (a Redis socket). README.md walks through the files.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/gin-gonic/gin"
)

// A config has the flags.
type config struct {
	addr, store, origin string
	cache, unthrottled  bool
	now                 func() time.Time // only tests set it
}

func main() {
	log.SetFlags(0)
	log.SetPrefix("consumer: ")
	var c config
	flag.StringVar(&c.addr, "addr", "127.0.0.1:8080", "`host:port` to listen on; port 0 picks a free one")
	flag.StringVar(&c.store, "store", "sqlite:consumer.db", "`store` of tokens and users: "+schemes)
	flag.BoolVar(&c.cache, "cache", false, "validate tokens from memory; needs a store that reports changes: memory:, postgres:// or redis://")
	throttle := flag.String("throttle", "on", "`on`, or off for load tests; off needs a loopback address")
	flag.StringVar(&c.origin, "origin", "", "`origin` of a page elsewhere that may use /Token and /api, such as https://app.example")
	flag.Parse()
	if flag.NArg() > 0 {
		log.Fatalf("unexpected argument %q: flags begin with -", flag.Arg(0))
	}
	if *throttle != "on" && *throttle != "off" {
		log.Fatalf("-throttle must be on or off, not %q", *throttle)
	}
	c.unthrottled = *throttle == "off"
	gin.SetMode(gin.ReleaseMode)

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, c, os.Stdout); err != nil {
		log.Fatal(err)
	}
}

// run serves until the context ends.
func run(ctx context.Context, c config, out io.Writer) error {
	listener, err := net.Listen("tcp", c.addr)
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("%w; choose another address with -addr", err)
	}
	if err != nil {
		return err
	}
	defer listener.Close()
	if c.unthrottled && !isLoopback(listener.Addr()) {
		return fmt.Errorf("-throttle=off lets anyone guess passwords, and other machines can reach %v: listen on a loopback address", listener.Addr())
	}

	if c.origin != "" && !isOrigin(c.origin) {
		return fmt.Errorf("-origin must be a scheme and a host as browsers send them, such as https://app.example, not %q", c.origin)
	}

	store, err := openStore(ctx, c.store)
	if err != nil {
		return err
	}
	defer store.close()
	s, err := newService(store, c)
	if err != nil {
		return err
	}
	created, err := createTrialUsers(ctx, store, listener.Addr())
	if err != nil {
		return err
	}

	server := &http.Server{
		Handler:           s.routes(),
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       30 * time.Second,
		IdleTimeout:       2 * time.Minute,
		// No WriteTimeout: it would end the streams.
	}
	// At a shutdown, Run ends the streams: otherwise Shutdown would wait for them.
	background, endStreams := context.WithCancel(context.WithoutCancel(ctx))
	server.RegisterOnShutdown(endStreams)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		s.auth.Run(background)
	}()
	defer func() { endStreams(); <-ended; s.sockets.Wait() }()

	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	printWelcome(out, listener.Addr(), created)
	select {
	case err := <-served:
		return err
	case <-ctx.Done():
	}
	fmt.Fprintln(out, "Shutting down.")
	grace, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	return server.Shutdown(grace)
}

// isOrigin reports whether s is an Origin as browsers send it: in lower case, and
// without the default port of its scheme.
func isOrigin(s string) bool {
	u, err := url.Parse(s)
	return err == nil && u.Hostname() != "" && s == strings.ToLower(u.Scheme+"://"+u.Host) &&
		!(u.Scheme == "https" && u.Port() == "443" || u.Scheme == "http" && u.Port() == "80")
}

func isLoopback(addr net.Addr) bool {
	tcp, ok := addr.(*net.TCPAddr)
	return ok && tcp.IP.IsLoopback()
}

func printWelcome(out io.Writer, addr net.Addr, created bool) {
	fmt.Fprintf(out, "Open http://%s in two browsers.\n", addr)
	if created {
		fmt.Fprint(out, `
*** The store was empty. It now has three users, FOR TRIALS ONLY: ***
***   username / password  (role Administrator)                   ***
***   reader   / password  (role Reader)                          ***
***   mfa      / password  and a code of an authenticator app,    ***
***     whose secret is `+trialSecret+`            ***
`)
	}
	fmt.Fprintln(out, "\nCtrl-C stops the program.")
}
