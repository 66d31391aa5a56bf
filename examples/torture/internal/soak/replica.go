package soak

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/bearerkit/bearerkit/examples/torture/internal/host"
	"github.com/bearerkit/bearerkit/examples/torture/internal/plant"
	"github.com/bearerkit/bearerkit/examples/torture/internal/store"
	"github.com/bearerkit/bearerkit/ginadapter"
	"github.com/bearerkit/bearerkit/internal/throwaway"
	"github.com/bearerkit/bearerkit/tokenauth"
)

// The configuration of the replicas.
const (
	lease        = time.Second
	timeout      = time.Second
	refreshGrace = time.Minute // [tokenauth.RefreshOptions.Grace]
	clientCount  = 2
	operatorName = "operator"
	operatorRole = "Administrator"
)

// A config is what a replica reads from its standard input.
type config struct {
	Backend, DSN string
	Cached       bool
	Plant        string // "" for none
	Seed         uint64
}

// A message is what a replica writes to its standard output: first its address, then a
// sample each second.
type message struct {
	Addr   string  `json:",omitempty"`
	Sample *sample `json:",omitempty"`
}

// Child runs a replica for [Run]. It shuts down on SIGTERM, and when its standard
// input ends. It returns the exit code of the process.
func Child() int {
	signal.Ignore(os.Interrupt) // a terminal sends the signal to all processes; the parent decides
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	var c config
	in := json.NewDecoder(os.Stdin)
	if err := in.Decode(&c); err != nil {
		fmt.Fprintln(os.Stderr, "torture: soak: a replica:", err)
		return 2
	}
	go func() { defer stop(); io.Copy(io.Discard, os.Stdin) }()
	var failed error
	err := throwaway.Outside(context.Background(), func(tb testing.TB) {
		failed = c.serve(ctx, tb, json.NewEncoder(os.Stdout))
	})
	for _, err := range []error{failed, err} {
		if err != nil {
			fmt.Fprintln(os.Stderr, "torture: soak: a replica:", err)
			return 2
		}
	}
	return 0
}

func (c *config) serve(ctx context.Context, tb testing.TB, out *json.Encoder) error {
	storage, err := store.Connect(tb, c.Backend, c.DSN)
	if err != nil {
		return err
	}
	if p := plant.Named(plant.Shared, c.Plant); p != nil && p.Storage != nil {
		storage = p.Storage(storage, new(plant.State), c.Seed)
	}
	server, err := startServer(storage, c.Cached)
	if err != nil {
		return err
	}
	if err := out.Encode(message{Addr: server.addr}); err != nil {
		return err
	}
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return server.stop()
		case <-ticker.C:
			s := takeSample()
			if err := out.Encode(message{Sample: &s}); err != nil {
				return err
			}
		}
	}
}

// A server is a replica: a [tokenauth.Service] over HTTP.
type server struct {
	addr    string
	server  *http.Server
	cancel  context.CancelFunc
	running sync.WaitGroup
}

func startServer(storage tokenauth.Storage, cached bool) (*server, error) {
	o := &tokenauth.Options{
		Timeout: timeout, Clients: registry{}, Logger: slog.New(slog.DiscardHandler),
		Throttle: tokenauth.ThrottleOptions{InsecureOff: true},
		Refresh:  &tokenauth.RefreshOptions{Grace: refreshGrace, Key: tokenauth.NewSecret("32 bytes that the replicas share")},
	}
	if cached {
		o.Cache = &tokenauth.CacheOptions{Lease: lease}
	}
	auth, err := tokenauth.New(storage, staff{}, o)
	if err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	s := &server{
		addr: listener.Addr().String(), cancel: cancel,
		server: &http.Server{Handler: routes(auth), ReadHeaderTimeout: 5 * time.Second, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, 0)},
	}
	s.running.Go(func() { auth.Run(ctx) })
	s.running.Go(func() { s.server.Serve(listener) })
	return s, nil
}

func routes(auth *tokenauth.Service) http.Handler {
	gin.SetMode(gin.ReleaseMode)
	r := gin.New()
	ginadapter.Mount(r, auth, tokenauth.Endpoints{Revocation: "/revoke"})
	r.GET("/me", ginadapter.RequireBearer(auth), func(c *gin.Context) {
		token, _ := ginadapter.From(c)
		c.String(http.StatusOK, token.Principal.UserID)
	})
	r.DELETE("/users/:id/tokens", ginadapter.RequireRole(auth, operatorRole), func(c *gin.Context) {
		if err := auth.RevokeUser(c.Request.Context(), c.Param("id")); err != nil {
			c.AbortWithStatus(http.StatusServiceUnavailable)
			return
		}
		c.Status(http.StatusNoContent)
	})
	return r
}

// stop completes the requests in progress. It waits twice the five seconds for which
// [http.Server.Shutdown] waits for connections without a request. Clients that connect
// ahead have such connections.
func (s *server) stop() error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	err := s.server.Shutdown(ctx)
	s.cancel()
	s.running.Wait()
	return err
}

// kill interrupts the requests in progress.
func (s *server) kill() error {
	err := s.server.Close()
	s.cancel()
	s.running.Wait()
	return err
}

// staff is a [tokenauth.Authenticator] that knows every user name. The password is the
// name.
type staff struct{}

// Authenticate implements [tokenauth.Authenticator].
func (staff) Authenticate(_ context.Context, c tokenauth.Credentials) (tokenauth.Principal, error) {
	if c.Password.Reveal() != c.UserName {
		return tokenauth.Principal{}, tokenauth.ErrRejected
	}
	p := tokenauth.Principal{UserID: c.UserName, UserName: c.UserName, Roles: []string{"Reader"}}
	if c.UserName == operatorName {
		p.Roles = []string{operatorRole}
	}
	return p, nil
}

// Reload implements [tokenauth.Reloader].
func (staff) Reload(_ context.Context, p tokenauth.Principal) (tokenauth.Principal, error) {
	return p, nil
}

// registry is a [tokenauth.ClientRegistry] of public clients.
type registry struct{}

// FindClient implements [tokenauth.ClientRegistry].
func (registry) FindClient(_ context.Context, id string) (tokenauth.Client, error) {
	for i := range clientCount {
		if id == host.Client(i) {
			return tokenauth.Client{ID: id}, nil
		}
	}
	return tokenauth.Client{}, tokenauth.ErrNotFound
}
