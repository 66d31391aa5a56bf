// Second-factor serves the Token API with codes of an authenticator app as a second
// factor.
//
//	go run ./examples/second-factor [-port PORT] [-db FILE]
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

	"github.com/gin-gonic/gin"
	_ "github.com/ncruces/go-sqlite3/driver"
	"github.com/ncruces/go-sqlite3/gormlite"
	"golang.org/x/sync/errgroup"
	"gorm.io/gorm"
	gormlogger "gorm.io/gorm/logger"
)

func main() {
	port := flag.Int("port", 8080, "port of 127.0.0.1 to listen on; 0 picks a free one")
	file := flag.String("db", "second-factor.db", "SQLite `file` with all tables; several processes can share it")
	flag.Parse()
	gin.SetMode(gin.ReleaseMode)

	logger := slog.New(slog.NewTextHandler(os.Stderr, nil))
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, logger, *port, *file)
	stop()
	if err != nil {
		logger.Error("service failed", "error", err)
		os.Exit(1)
	}
}

// run serves until the context is canceled. It then waits up to 10 seconds for
// the requests in progress.
func run(ctx context.Context, logger *slog.Logger, port int, file string) error {
	db, err := openDatabase(openFile(file), logger)
	if err != nil {
		return err
	}
	pool, err := db.DB()
	if err != nil {
		return err
	}
	defer pool.Close()
	s, err := newService(ctx, db, logger)
	if err != nil {
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

func openFile(file string) gorm.Dialector {
	return gormlite.Open("file:" + file + "?_pragma=busy_timeout(1000)&_pragma=journal_mode(wal)&_txlock=immediate")
}

// openDatabase opens a database whose log has no values of statements, which may be
// secrets.
func openDatabase(dialector gorm.Dialector, logger *slog.Logger) (*gorm.DB, error) {
	return gorm.Open(dialector, &gorm.Config{Logger: gormlogger.New(slog.NewLogLogger(logger.Handler(), slog.LevelWarn), gormlogger.Config{
		LogLevel:             gormlogger.Warn,
		SlowThreshold:        time.Second,
		ParameterizedQueries: true,
	})})
}
