// Reports is a small service. Its clients log in with a user name and a
// password, and send a token with each later request.
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
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	_ "github.com/ncruces/go-sqlite3/driver"
	"github.com/ncruces/go-sqlite3/gormlite"
	"golang.org/x/sync/errgroup"
	"gorm.io/gorm"
	gormlogger "gorm.io/gorm/logger"

	"github.com/bearerkit/bearerkit/tokenauth"
)

func main() {
	port := flag.Int("port", 8080, "port of 127.0.0.1 to listen on; 0 picks a free one")
	folder := flag.String("data", "jwt-migration-data", "`folder` of the database and the key of the JWTs")
	var until time.Time
	flag.TextVar(&until, "fallback-until", until, "reject every JWT from this `time` on, for example 2006-01-02T15:04:05Z")
	flag.Parse()

	s := &service{logger: slog.New(slog.NewTextHandler(os.Stderr, nil)), fallbackUntil: until}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := s.run(ctx, *port, *folder)
	stop()
	if err != nil {
		s.logger.Error("service failed", "error", err)
		os.Exit(1)
	}
}

// A service holds the state that the handlers share.
type service struct {
	db     *gorm.DB
	logger *slog.Logger
	jwtKey []byte

	auth          *tokenauth.Service
	fallbackUntil time.Time // JWTs are rejected from then on; zero means never
	oldTokens     oldTokens
}

// run serves until the context is canceled. It then waits up to 10 seconds for
// the requests in progress.
func (s *service) run(ctx context.Context, port int, folder string) error {
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return err
	}
	var err error
	if s.jwtKey, err = readKey(filepath.Join(folder, "jwt.key")); err != nil {
		return err
	}
	if s.db, err = s.openDatabase(ctx, filepath.Join(folder, "reports.db")); err != nil {
		return err
	}
	pool, err := s.db.DB()
	if err != nil {
		return err
	}
	defer pool.Close()
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
	s.logger.Info("listening", "url", "http://"+listener.Addr().String())

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

func (s *service) openDatabase(ctx context.Context, file string) (*gorm.DB, error) {
	db, err := gorm.Open(gormlite.Open("file:"+file+"?_pragma=busy_timeout(1000)&_pragma=journal_mode(wal)&_txlock=immediate"), &gorm.Config{
		Logger: gormlogger.New(slog.NewLogLogger(s.logger.Handler(), slog.LevelWarn), gormlogger.Config{
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
