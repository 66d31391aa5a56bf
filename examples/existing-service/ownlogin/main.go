// Ownlogin is a small service that keeps its own login handler: JSON bodies of
// its own, errors in an envelope, and numeric user IDs.
//
// It listens on a loopback address only: the passwords of its users are public.
package main

import (
	"context"
	"errors"
	"flag"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	_ "github.com/ncruces/go-sqlite3/driver"
	"github.com/ncruces/go-sqlite3/gormlite"
	"golang.org/x/sync/errgroup"
	"gorm.io/gorm"
	gormlogger "gorm.io/gorm/logger"

	"github.com/bearerkit/bearerkit/storage/gormstore"
	"github.com/bearerkit/bearerkit/tokenauth"
	"github.com/bearerkit/bearerkit/tokenauth/password"
)

func main() {
	port := flag.Int("port", 8080, "port of 127.0.0.1 to listen on; 0 picks a free one")
	file := flag.String("db", "ownlogin.db", "SQLite `file` with all tables")
	flag.Parse()

	logger := slog.New(slog.NewTextHandler(os.Stderr, nil))
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, logger, *port, *file)
	stop()
	if err != nil {
		logger.Error("service failed", "error", err)
		os.Exit(1)
	}
}

// A service holds the state that the handlers share.
type service struct {
	db     *gorm.DB
	logger *slog.Logger
	auth   *tokenauth.Service
}

// run serves until the context is canceled. It then waits up to 10 seconds for
// the requests in progress.
func run(ctx context.Context, logger *slog.Logger, port int, file string) error {
	db, err := openDatabase(ctx, logger, file)
	if err != nil {
		return err
	}
	pool, err := db.DB()
	if err != nil {
		return err
	}
	defer pool.Close()
	s := &service{db: db, logger: logger}
	if s.auth, err = s.newAuth(ctx); err != nil {
		return err
	}

	listener, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		return err
	}
	server := &http.Server{
		Handler:           s.routes(),
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       30 * time.Second,
		IdleTimeout:       2 * time.Minute,
	}
	logger.Info("listening", "url", "http://"+listener.Addr().String())

	work, ctx := errgroup.WithContext(ctx)
	work.Go(func() error {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	})
	work.Go(func() error {
		<-ctx.Done()
		grace, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		return server.Shutdown(grace)
	})
	work.Go(func() error { return s.auth.Run(ctx) })
	return work.Wait()
}

// newAuth returns a Token API for the users of the service. Its tables are in the
// same database.
func (s *service) newAuth(ctx context.Context) (*tokenauth.Service, error) {
	if err := gormstore.Migrate(ctx, s.db, nil); err != nil {
		return nil, err
	}
	store, err := gormstore.New(ctx, s.db, nil)
	if err != nil {
		return nil, err
	}
	users, err := password.New(s.account, &password.Options{Logger: s.logger})
	if err != nil {
		return nil, err
	}
	return tokenauth.New(store, users, &tokenauth.Options{Logger: s.logger})
}

func openDatabase(ctx context.Context, logger *slog.Logger, file string) (*gorm.DB, error) {
	db, err := gorm.Open(gormlite.Open("file:"+file+"?_pragma=busy_timeout(1000)&_pragma=journal_mode(wal)&_txlock=immediate"), &gorm.Config{
		Logger: gormlogger.New(slog.NewLogLogger(logger.Handler(), slog.LevelWarn), gormlogger.Config{
			LogLevel:                  gormlogger.Warn,
			SlowThreshold:             time.Second,
			IgnoreRecordNotFoundError: true,
			ParameterizedQueries:      true,
		}),
	})
	if err != nil {
		return nil, err
	}
	if err := db.WithContext(ctx).AutoMigrate(&User{}); err != nil {
		return nil, err
	}
	return db, createTrialUsers(ctx, db)
}
