// Aspnet-migration is a Gin service that replaces an ASP.NET Web API
// application. It signs in the users in the ASP.NET Identity tables. Their clients
// send the same requests as before.
//
//	go run ./examples/aspnet-migration [-identity 2|core] [-keep-hashes] [-refresh] [-store STORE] [-addr HOST:PORT]
//
// STORE is the database with the tables: sqlite:PATH, postgres://… or
// mysql://USER:PASSWORD@tcp(HOST:PORT)/DATABASE. The default is an SQLite file.
// If the file does not exist, the service creates it with a few users to try.
package main

import (
	"cmp"
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
	"gorm.io/gorm"

	"github.com/bearerkit/bearerkit/ginadapter"
	"github.com/bearerkit/bearerkit/storage/gormstore"
	"github.com/bearerkit/bearerkit/tokenauth"
)

func main() {
	addr := flag.String("addr", "127.0.0.1:8080", "`host:port` to listen on; port 0 picks a free one")
	identity := flag.String("identity", "2", "layout of the tables: `2` for ASP.NET Identity 2, core for ASP.NET Core Identity")
	keepHashes := flag.Bool("keep-hashes", false, "do not replace password hashes; needed while the old application still signs users in")
	refresh := flag.Bool("refresh", false, "issue refresh tokens, as an application with a RefreshTokenProvider does")
	store := flag.String("store", "", "`database` with the tables: sqlite:PATH, postgres://… or mysql://…; empty means an SQLite file with users to try")
	flag.Parse()
	gin.SetMode(gin.ReleaseMode)

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *addr, *identity, *keepHashes, *refresh, *store); err != nil {
		log.Fatal("aspnet-migration: ", err)
	}
}

// run serves until the context is canceled. It then waits up to 10 seconds for
// the requests in progress.
func run(ctx context.Context, addr, identity string, keepHashes, refresh bool, store string) error {
	l, ok := layouts[identity]
	if !ok {
		return fmt.Errorf("-identity must be 2 or core, not %q", identity)
	}
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	defer listener.Close()
	db, err := open(cmp.Or(store, "sqlite:aspnet-identity-"+identity+".db"))
	if err != nil {
		return err
	}
	pool, err := db.DB()
	if err != nil {
		return err
	}
	defer pool.Close()
	if err := createExample(db, l, listener.Addr()); err != nil {
		return err
	}
	auth, err := newAuth(ctx, db, l, keepHashes, refresh)
	if err != nil {
		return err
	}
	go auth.Run(ctx) // removes expired tokens

	server := &http.Server{Handler: routes(auth), ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 30 * time.Second}
	stopped := make(chan error, 1)
	context.AfterFunc(ctx, func() {
		grace, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		stopped <- server.Shutdown(grace)
	})
	fmt.Printf("Serving the users of ASP.NET Identity %s on http://%s\n", identity, listener.Addr())
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return <-stopped
}

// newAuth returns the Token API. It keeps the tokens in tables of its own, in the
// database that has the Identity tables.
func newAuth(ctx context.Context, db *gorm.DB, l layout, keepHashes, refresh bool) (*tokenauth.Service, error) {
	users, err := newUsers(ctx, db, l, keepHashes)
	if err != nil {
		return nil, err
	}
	if err := gormstore.Migrate(ctx, db, nil); err != nil {
		return nil, err
	}
	tokens, err := gormstore.New(ctx, db, nil)
	if err != nil {
		return nil, err
	}
	o := &tokenauth.Options{
		// The old application cannot call RevokeUser when it changes a user.
		// So the Token API reads the user again on each request.
		LiveCheck: func(ctx context.Context, t tokenauth.Token) error { return users.Recheck(ctx, t.Principal) },
	}
	if refresh {
		o.Refresh = new(tokenauth.RefreshOptions) // several replicas need the same Key
	}
	return tokenauth.New(tokens, users, o)
}

// routes returns the routes of the controllers that were moved to this service.
func routes(auth *tokenauth.Service) http.Handler {
	r := gin.New()
	r.Use(gin.Recovery())

	ginadapter.Mount(r, auth)                                                    // /Token, and /token
	r.GET("/api/values", ginadapter.RequireBearer(auth), values)                 // [Authorize]
	r.GET("/api/reports", ginadapter.RequireRole(auth, "Administrator"), values) // [Authorize(Roles = "Administrator")]
	r.GET("/api/status", ginadapter.Optional(auth), status)                      // [AllowAnonymous]
	return r
}

// values answers with the caller's name and ID. In ASP.NET these are the results of
// User.Identity.GetUserName() and GetUserId().
func values(c *gin.Context) {
	token, _ := ginadapter.From(c)
	c.JSON(http.StatusOK, gin.H{"userName": token.Principal.UserName, "userId": token.Principal.UserID})
}

// status answers with the caller's name. The name is empty if the request has no
// valid token.
func status(c *gin.Context) {
	token, _ := ginadapter.From(c)
	c.JSON(http.StatusOK, gin.H{"running": true, "userName": token.Principal.UserName})
}
