// Cookies serves an application that has its token in a cookie, and a page of
// another site that tries to use that cookie.
//
//	go run ./examples/cookies [-port PORT] [-other PORT]
//
// Its users are in memory, with a public password, so it listens on a loopback
// address only.
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
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/bearerkit/bearerkit/storage/memory"
	"github.com/bearerkit/bearerkit/tokenauth"
	"github.com/bearerkit/bearerkit/tokenauth/password"
	"github.com/bearerkit/bearerkit/tokenauth/place"
)

var session = place.Cookie{Name: "session"}

func main() {
	port := flag.Int("port", 8080, "port of the application")
	other := flag.Int("other", 8081, "port of the other site")
	flag.Parse()
	gin.SetMode(gin.ReleaseMode)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Stdout, *port, *other); err != nil {
		log.Fatal("cookies: ", err)
	}
}

// run serves the application and the other site until the context is canceled. It
// writes to out what the reader can do. Port 0 is any free port.
func run(ctx context.Context, out io.Writer, port, otherPort int) error {
	users, err := trialUsers()
	if err != nil {
		return err
	}
	auth, err := tokenauth.New(new(memory.Store), users, &tokenauth.Options{
		Places: []place.Place{place.Scheme("Bearer"), session},
	})
	if err != nil {
		return err
	}
	go auth.Run(ctx) // removes expired tokens

	listener, err := listen(&port)
	if err != nil {
		return err
	}
	defer listener.Close()
	otherListener, err := listen(&otherPort)
	if err != nil {
		return err
	}
	defer otherListener.Close()

	a := newApp(auth, session)
	appURL, otherURL := fmt.Sprintf("http://localhost:%d", port), fmt.Sprintf("http://127.0.0.1:%d", otherPort)
	ended := make(chan error, 2)
	for l, handler := range map[net.Listener]http.Handler{
		listener:      a.routes(pages(appURL, otherURL, a.record)),
		otherListener: otherSite(appURL, a.record),
	} {
		server := &http.Server{Handler: handler, ReadHeaderTimeout: 5 * time.Second}
		context.AfterFunc(ctx, func() { server.Close() })
		go func() { ended <- server.Serve(l) }()
	}
	fmt.Fprintf(out, `Sign in at the application: %s
In the same browser, open a page of another site: %s
Then open a page of another origin of the same site: http://localhost:%d
`, appURL, otherURL, otherPort)
	if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// listen listens on a port of 127.0.0.1. It replaces port 0 by the one that it got.
func listen(port *int) (net.Listener, error) {
	listener, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(*port)))
	if err == nil {
		*port = listener.Addr().(*net.TCPAddr).Port
	}
	return listener, err
}

// trialUsers returns an authenticator for two users in memory: alice uses the
// application, and mallory has the other site.
func trialUsers() (*password.Authenticator, error) {
	hash, err := password.Hash("password")
	if err != nil {
		return nil, err
	}
	ids := map[string]string{"alice": "1", "mallory": "2"}
	return password.New(func(_ context.Context, userName string) (password.Account, error) {
		id, ok := ids[userName]
		if !ok {
			return password.Account{}, tokenauth.ErrNotFound
		}
		return password.Account{UserID: id, UserName: userName, PasswordHash: hash, Stamp: "1"}, nil
	}, nil)
}
