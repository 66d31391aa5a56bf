// Installation is a small service with an installation page. Its database does
// not exist until an administrator has filled in the page. From then on the
// service issues and accepts tokens, without a restart.
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

	"golang.org/x/sync/errgroup"

	"github.com/bearerkit/bearerkit/tokenauth"
)

func main() {
	port := flag.Int("port", 8080, "port of 127.0.0.1 to listen on; 0 picks a free one")
	file := flag.String("db", "installation.db", "SQLite `file` that the installation creates")
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

// run serves until the context is canceled. It then waits up to 10 seconds for
// the requests in progress.
func run(ctx context.Context, logger *slog.Logger, port int, file string) error {
	s := &service{file: file, logger: logger, auth: make(chan *tokenauth.Service, 1)}
	defer s.close()
	if err := s.begin(ctx); err != nil {
		return err
	}

	listener, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		return err
	}
	server := &http.Server{
		Handler:           s,
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
	work.Go(func() error {
		select {
		case auth := <-s.auth:
			return auth.Run(ctx)
		case <-ctx.Done():
			return nil
		}
	})
	return work.Wait()
}
