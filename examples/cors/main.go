// Cors serves a Token API on one port, and on another port a web page that signs
// in to it. For a browser, the two ports are different origins.
//
//	cd examples/cors && go run . [-api HOST:PORT] [-page HOST:PORT]
//
// Its users are in memory, with a public password, so it listens on loopback
// addresses only.
package main

import (
	"context"
	_ "embed"
	"errors"
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/bearerkit/bearerkit/storage/memory"
	"github.com/bearerkit/bearerkit/tokenauth"
	"github.com/bearerkit/bearerkit/tokenauth/password"
)

func main() {
	api := flag.String("api", "127.0.0.1:8080", "`host:port` of the API")
	page := flag.String("page", "127.0.0.1:8081", "`host:port` of the page")
	flag.Parse()
	gin.SetMode(gin.ReleaseMode)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *api, *page); err != nil {
		log.Fatal("cors: ", err)
	}
}

// run serves the API and the page until the context is canceled.
func run(ctx context.Context, apiAddr, pageAddr string) error {
	api, err := listen(apiAddr)
	if err != nil {
		return err
	}
	defer api.Close()
	page, err := listen(pageAddr)
	if err != nil {
		return err
	}
	defer page.Close()
	users, err := trialUsers()
	if err != nil {
		return err
	}
	auth, err := tokenauth.New(new(memory.Store), users, nil)
	if err != nil {
		return err
	}
	go auth.Run(ctx) // removes expired tokens

	apiURL, origin := "http://"+api.Addr().String(), "http://"+page.Addr().String()
	fmt.Printf("The API is at %s. Open the page, which has another origin: %s\n", apiURL, origin)
	ended := make(chan error, 2)
	for listener, handler := range map[net.Listener]http.Handler{api: routes(auth, origin), page: pageOf(apiURL)} {
		server := &http.Server{Handler: handler, ReadHeaderTimeout: 5 * time.Second}
		context.AfterFunc(ctx, func() { server.Close() })
		go func() { ended <- server.Serve(listener) }()
	}
	if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// listen listens on addr, which must be a loopback address.
func listen(addr string) (net.Listener, error) {
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, err
	}
	if tcp, ok := listener.Addr().(*net.TCPAddr); !ok || !tcp.IP.IsLoopback() {
		listener.Close()
		return nil, fmt.Errorf("%s is not a loopback address; use one, since the password of the users is public", addr)
	}
	return listener, nil
}

//go:embed page.html
var pageHTML string

// pageOf returns a handler that serves the page. The page calls the API at the
// given URL.
func pageOf(api string) http.Handler {
	html := strings.ReplaceAll(pageHTML, "{{api}}", api)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.Write([]byte(html))
	})
}

// trialUsers returns an authenticator for one user, who is in memory. A real
// service looks up its users in its own table.
func trialUsers() (*password.Authenticator, error) {
	hash, err := password.Hash("password")
	if err != nil {
		return nil, err
	}
	return password.New(func(_ context.Context, userName string) (password.Account, error) {
		if userName != "alice" {
			return password.Account{}, tokenauth.ErrNotFound
		}
		return password.Account{UserID: "user-1", UserName: "alice", PasswordHash: hash, Stamp: "1"}, nil
	}, nil)
}
