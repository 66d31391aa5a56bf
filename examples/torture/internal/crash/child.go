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
	"testing"

	"github.com/bearerkit/bearerkit/examples/torture/internal/host"
	"github.com/bearerkit/bearerkit/examples/torture/internal/plant"
	"github.com/bearerkit/bearerkit/examples/torture/internal/trial"
	"github.com/bearerkit/bearerkit/internal/throwaway"
	"github.com/bearerkit/bearerkit/tokenauth"
)

// What the service that is killed is told by its environment.
const (
	storeVariable = "TORTURE_STORE"
	plantVariable = "TORTURE_PLANT"
)

// markHeader carries the mark of a sign-in. All that a token's row says of its
// principal repeats it, so that a row that is half of one sign-in and half of
// another is known by two marks.
const markHeader = "Torture-Mark"

// Child runs the service that the trial kills. It prints its URL, and serves until
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
		Clients: twoClients{}, Logger: slog.New(slog.DiscardHandler), Throttle: tokenauth.ThrottleOptions{InsecureOff: true},
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
			http.Error(w, "the storage is in trouble", http.StatusServiceUnavailable)
		}
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mux.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), markKey{}, r.Header.Get(markHeader))))
	}), nil
}

type markKey struct{}

// marked are users of whom there are as many as are asked for. The password is
// the name.
type marked struct{}

func (marked) Authenticate(ctx context.Context, c tokenauth.Credentials) (tokenauth.Principal, error) {
	if c.Password.Reveal() != c.UserName {
		return tokenauth.Principal{}, tokenauth.ErrRejected
	}
	mark, _ := ctx.Value(markKey{}).(string)
	if mark == "" {
		return tokenauth.Principal{}, errors.New("torture: a sign-in without a mark")
	}
	return markedPrincipal(c.UserName, mark), nil
}

func markedPrincipal(user, mark string) tokenauth.Principal {
	return tokenauth.Principal{
		UserID: user, UserName: user, Roles: []string{"Reader", mark}, Attributes: map[string]string{"mark": mark}, Stamp: mark,
	}
}

// twoClients are public, so that a user has two slots.
type twoClients struct{}

func (twoClients) FindClient(_ context.Context, id string) (tokenauth.Client, error) {
	if id != host.Client(0) && id != host.Client(1) {
		return tokenauth.Client{}, tokenauth.ErrNotFound
	}
	return tokenauth.Client{ID: id}, nil
}
