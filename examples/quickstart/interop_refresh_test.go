package main_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"
	"golang.org/x/oauth2"

	"github.com/bearerkit/bearerkit/internal/throwaway"
	"github.com/bearerkit/bearerkit/storage/memory"
	"github.com/bearerkit/bearerkit/tokenauth"
	"github.com/bearerkit/bearerkit/tokenauth/password"
)

// stayed is the report of a client that stays signed in.
type stayed struct {
	Client string   `json:"client"` // name and version
	Users  []string `json:"users"`  // the names that /me returned
}

// Real clients stay signed in: each calls /me three times, its access token has expired
// the second and the third time, and it refreshes by itself.
func TestRealClientsRefresh(t *testing.T) {
	t.Parallel()
	cheap, err := bcrypt.GenerateFromPassword([]byte(shopPassword), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	type client struct {
		name  string
		visit func(*testing.T, target) stayed
	}
	clients := []client{{"x/oauth2", xoauth2Stays}, {"C# HttpClient", csharpStays}}
	for _, s := range scripts {
		s.file = strings.TrimSuffix(s.file, filepath.Ext(s.file)) + "_refresh" + filepath.Ext(s.file)
		clients = append(clients, client{s.library, s.stays})
	}
	for _, c := range clients {
		for _, auth := range []string{"", "basic", "body"} { // "": without a registry of clients
			t.Run(strings.TrimSpace(c.name+" "+auth), func(t *testing.T) {
				t.Parallel()
				s := startRefreshing(t, string(cheap), auth != "")
				at := target{host: s.host, user: shopUser, password: shopPassword, auth: auth}
				if auth != "" {
					at.clientID, at.clientSecret = shopID, shopSecret
				}
				got := c.visit(t, at)
				t.Log(got.Client)
				if want := []string{shopUser, shopUser, shopUser}; !slices.Equal(got.Users, want) {
					t.Errorf("/me named %q, want %q", got.Users, want)
				}
				if want := []string{"issued", "refreshed", "refreshed"}; !slices.Equal(s.events(), want) {
					t.Errorf("at the token endpoint there were %q, want %q", s.events(), want)
				}
			})
		}
	}
}

// A refreshingShop is a server with refresh tokens, one user and, if there is a registry,
// one client. Whenever /me was answered, its clock moves past the expiry of the access
// token.
type refreshingShop struct {
	host string

	mu    sync.Mutex
	ahead time.Duration
	seen  []string
}

func startRefreshing(t *testing.T, hash string, registered bool) *refreshingShop {
	t.Helper()
	s := new(refreshingShop)
	users, err := password.New(func(_ context.Context, userName string) (password.Account, error) {
		if userName != shopUser {
			return password.Account{}, tokenauth.ErrNotFound
		}
		return password.Account{UserID: "1", UserName: shopUser, PasswordHash: hash}, nil
	}, &password.Options{KeepHashes: true})
	if err != nil {
		t.Fatal(err)
	}
	o := &tokenauth.Options{
		Lifetime:  15 * time.Minute,
		Refresh:   new(tokenauth.RefreshOptions),
		Now:       func() time.Time { return time.Now().Add(s.clock(0)) },
		Observers: []func(context.Context, tokenauth.Event){s.observe},
		Logger:    slog.New(slog.DiscardHandler),
	}
	if registered {
		o.Clients = registry{}
	}
	auth, err := tokenauth.New(new(memory.Store), users, o)
	if err != nil {
		t.Fatal(err)
	}
	handler := mounted(auth, auth.RequireBearer)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		status := &statusWriter{ResponseWriter: w, status: http.StatusOK}
		handler.ServeHTTP(status, r)
		if r.URL.Path == "/me" && status.status == http.StatusOK {
			s.clock(20 * time.Minute)
		}
	}))
	t.Cleanup(server.Close)
	s.host = server.URL
	return s
}

type statusWriter struct {
	http.ResponseWriter
	status int
}

func (w *statusWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

// clock moves the server's clock, and returns how far it is ahead.
func (s *refreshingShop) clock(by time.Duration) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ahead += by
	return s.ahead
}

func (s *refreshingShop) observe(_ context.Context, e tokenauth.Event) {
	if kind := e.Kind.String(); kind != "validated" && kind != "refused" {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.seen = append(s.seen, strings.TrimSpace(kind+" "+string(e.Reason)))
	}
}

func (s *refreshingShop) events() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.seen)
}

func (s script) stays(t *testing.T, at target) (got stayed) {
	t.Helper()
	if err := json.Unmarshal(run(t, at, nil, s.interpreter(t), s.file), &got); err != nil {
		t.Fatalf("the client printed no report: %v", err)
	}
	return got
}

// xoauth2Stays uses a TokenSource, as an application that stores its token does.
func xoauth2Stays(t *testing.T, at target) (got stayed) {
	t.Helper()
	out, err := xoauth2Version()
	if err != nil {
		t.Fatal(err)
	}
	got.Client = strings.TrimSpace(string(out))
	config := oauth2.Config{
		ClientID: at.clientID, ClientSecret: at.clientSecret,
		Endpoint: oauth2.Endpoint{TokenURL: at.host + "/Token", AuthStyle: map[string]oauth2.AuthStyle{
			"basic": oauth2.AuthStyleInHeader, "body": oauth2.AuthStyleInParams,
		}[at.auth]},
	}
	token, err := config.PasswordCredentialsToken(t.Context(), at.user, at.password)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		if i > 0 {
			token.Expiry = time.Now().Add(-time.Second)
		}
		source := config.TokenSource(t.Context(), token)
		response, err := oauth2.NewClient(t.Context(), source).Get(at.host + "/me")
		if err != nil {
			t.Fatal(err)
		}
		var body struct {
			UserName string `json:"userName"`
		}
		err = json.NewDecoder(response.Body).Decode(&body)
		response.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		got.Users = append(got.Users, body.UserName)
		if token, err = source.Token(); err != nil {
			t.Fatal(err)
		}
	}
	return got
}

var compileRefreshing sync.Once

// csharpStays uses an HttpClient with a handler that refreshes.
func csharpStays(t *testing.T, at target) (got stayed) {
	t.Helper()
	for _, program := range []string{"mcs", "mono"} {
		if _, err := exec.LookPath(program); err != nil {
			throwaway.Need(t, "mono", errors.New("needs Mono, as the other C# clients"))
		}
	}
	program := filepath.Join(programs, "refresh.exe")
	compileRefreshing.Do(func() {
		run(t, at, nil, "mcs", "-out:"+program, "-r:System.Net.Http", "-r:System.Runtime.Serialization", "csharp_refresh.cs")
	})
	if err := json.Unmarshal(run(t, at, nil, "mono", program), &got); err != nil {
		t.Fatal(fmt.Errorf("the client printed no report: %w", err))
	}
	return got
}
