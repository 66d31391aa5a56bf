package crash

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/bearerkit/bearerkit/examples/torture/internal/host"
	"github.com/bearerkit/bearerkit/examples/torture/internal/plant"
	"github.com/bearerkit/bearerkit/examples/torture/internal/trial"
	"github.com/bearerkit/bearerkit/internal/throwaway"
	"github.com/bearerkit/bearerkit/tokenauth"
)

// The environment variables by which the trial configures the child process.
const (
	storeVariable = "TORTURE_STORE"
	plantVariable = "TORTURE_PLANT"
)

// markHeader carries the mark of a sign-in. Each field of the token's principal
// repeats the mark, so that a row that mixes two sign-ins shows two marks.
const markHeader = "Torture-Mark"

// lateHeader asks the service to wait before it answers, so that more crashes come after
// a change was made and before its answer.
const lateHeader = "Torture-Late"

// A lateWriter waits for a moment before it writes anything.
type lateWriter struct {
	http.ResponseWriter
	once sync.Once
}

func (l *lateWriter) wait() { l.once.Do(func() { time.Sleep(10 * plant.Moment) }) }

// WriteHeader implements [http.ResponseWriter].
func (l *lateWriter) WriteHeader(status int) {
	l.wait()
	l.ResponseWriter.WriteHeader(status)
}

// Write implements [http.ResponseWriter].
func (l *lateWriter) Write(p []byte) (int, error) {
	l.wait()
	return l.ResponseWriter.Write(p)
}

// Child runs the service that the trial kills. It prints its URL and serves until
// its standard input ends. It returns the exit code of the process.
func Child() int {
	go func() {
		io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	err := throwaway.Outside(context.Background(), func(tb testing.TB) {
		b, err := openChildBackend(tb, os.Getenv(storeVariable))
		if err != nil {
			tb.Fatal(err)
		}
		e := &trial.Env{Plant: plant.Named(Plants, os.Getenv(plantVariable))}
		handler, err := handler(e.Planted(b.Connect(tb), 0))
		if err != nil {
			tb.Fatal(err)
		}
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			tb.Fatal(err)
		}
		fmt.Println("http://" + listener.Addr().String())
		tb.Fatal(http.Serve(listener, handler))
	})
	fmt.Fprintln(os.Stderr, "torture: crash:", err)
	return 2
}

func handler(s tokenauth.Storage) (http.Handler, error) {
	auth, err := tokenauth.New(s, marked{}, &tokenauth.Options{
		Refresh: &tokenauth.RefreshOptions{Grace: grace, Key: tokenauth.NewSecret("32 bytes that the processes share")},
		Devices: &tokenauth.DeviceOptions{Parameter: "device", Max: maxTokens}, Clients: twoClients{}, Logger: slog.New(slog.DiscardHandler), Throttle: tokenauth.ThrottleOptions{InsecureOff: true},
	})
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	auth.Mount(mux, tokenauth.Endpoints{Revocation: "/revoke"})
	mux.Handle("GET /me", auth.RequireBearer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		t, _ := tokenauth.FromContext(r.Context())
		io.WriteString(w, t.Principal.UserName)
	})))
	mux.HandleFunc("DELETE /users/{id}/tokens", func(w http.ResponseWriter, r *http.Request) {
		if err := auth.RevokeUser(r.Context(), r.PathValue("id")); err != nil {
			http.Error(w, "the storage failed", http.StatusServiceUnavailable)
		}
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get(lateHeader) != "" {
			w = &lateWriter{ResponseWriter: w}
		}
		mux.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), markKey{}, r.Header.Get(markHeader))))
	}), nil
}

type markKey struct{}

// marked is a [tokenauth.Authenticator] that knows every user name. The password is
// the name.
type marked struct{}

func (marked) Authenticate(ctx context.Context, c tokenauth.Credentials) (tokenauth.Principal, error) {
	if c.Password.Reveal() != c.UserName {
		return tokenauth.Principal{}, tokenauth.ErrRejected
	}
	mark, _ := ctx.Value(markKey{}).(string)
	if mark == "" {
		return tokenauth.Principal{}, errors.New("torture: crash: a sign-in without the header " + markHeader)
	}
	return markedPrincipal(c.UserName, mark), nil
}

// Reload implements [tokenauth.Reloader].
func (marked) Reload(_ context.Context, p tokenauth.Principal) (tokenauth.Principal, error) {
	return p, nil
}

func markedPrincipal(user, mark string) tokenauth.Principal {
	return tokenauth.Principal{
		UserID: user, UserName: user, Roles: []string{"Reader", mark}, Attributes: map[string]string{"mark": mark}, Stamp: mark,
	}
}

// twoClients is a [tokenauth.ClientRegistry] with two public clients, so that a user
// has two slots.
type twoClients struct{}

func (twoClients) FindClient(_ context.Context, id string) (tokenauth.Client, error) {
	if id != host.Client(0) && id != host.Client(1) {
		return tokenauth.Client{}, tokenauth.ErrNotFound
	}
	return tokenauth.Client{ID: id}, nil
}
