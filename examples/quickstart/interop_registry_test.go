package main_test

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/crypto/bcrypt"

	"github.com/bearerkit/bearerkit/storage/memory"
	"github.com/bearerkit/bearerkit/tokenauth"
	"github.com/bearerkit/bearerkit/tokenauth/password"
)

// Form-encoding, which RFC 6749 §2.3.1 requires in Basic authentication, changes
// these values, and so does decoding them once too often.
const (
	shopID     = "the shop +%2B/"
	shopSecret = "s +%41/:~"
	// Some clients send ü in ISO-8859-1, and some refuse it.
	shopSecretToo = shopSecret + "ü"

	shopUser     = "Zoë +%41&="
	shopPassword = "pä ss+%41&=;:€"
)

// Real clients authenticate to a registry of clients, by Basic and in the body.
func TestRealClientsAuthenticate(t *testing.T) {
	t.Parallel()
	cheap, err := bcrypt.GenerateFromPassword([]byte(shopPassword), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	hash := string(cheap)
	clients := []client{{"x/oauth2", xoauth2}, {"C# HttpClient", csharp("POST")}}
	for _, s := range scripts {
		clients = append(clients, client{s.library, s.visit})
	}
	for _, c := range clients {
		for _, auth := range []string{"basic", "body"} {
			t.Run(c.name+" "+auth, func(t *testing.T) {
				t.Parallel()
				s := startShop(t, hash)
				at := target{s.host, shopUser, shopPassword, shopID, shopSecretToo, auth}
				if c.name == "simple-oauth2" { // it refuses what RFC 6749 Appendix A.2 does not allow
					at.clientSecret = shopSecret
				}
				c.check(t, at)

				ways := s.ways()
				t.Logf("it sends its credentials %s", strings.Join(ways, "; "))
				if len(ways) != 1 || (ways[0] == "in the body") != (auth == "body") {
					t.Errorf("configured for %s, it sends its credentials %q", auth, ways)
				}
			})
		}
	}
}

// A shop is a server with one registered client and one user.
type shop struct {
	host string

	mu    sync.Mutex
	named []string
}

func startShop(t *testing.T, hash string) *shop {
	t.Helper()
	users, err := password.New(func(_ context.Context, userName string) (password.Account, error) {
		if userName != shopUser {
			return password.Account{}, tokenauth.ErrNotFound
		}
		return password.Account{UserID: "1", UserName: shopUser, PasswordHash: hash}, nil
	}, &password.Options{KeepHashes: true})
	if err != nil {
		t.Fatal(err)
	}
	auth, err := tokenauth.New(new(memory.Store), users, &tokenauth.Options{Clients: registry{}})
	if err != nil {
		t.Fatal(err)
	}
	handler := mounted(auth, auth.RequireClient(shopID))
	s := new(shop)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.watch(r)
		handler.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	s.host = server.URL
	return s
}

// mounted returns a handler with the Token API, and with /me behind the guard.
func mounted(auth *tokenauth.Service, guard func(http.Handler) http.Handler) http.Handler {
	mux := http.NewServeMux()
	auth.Mount(mux)
	mux.Handle("GET /me", guard(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token, _ := tokenauth.FromContext(r.Context())
		w.Header().Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode(map[string]string{"userName": token.Principal.UserName})
	})))
	return mux
}

type registry struct{}

func (registry) FindClient(_ context.Context, clientID string) (tokenauth.Client, error) {
	if clientID != shopID {
		return tokenauth.Client{}, tokenauth.ErrNotFound
	}
	secrets := []tokenauth.Digest{sha256.Sum256([]byte(shopSecret)), sha256.Sum256([]byte(shopSecretToo))}
	return tokenauth.Client{ID: shopID, Secrets: secrets}, nil
}

// watch records how a client sends its credentials.
func (s *shop) watch(r *http.Request) {
	if r.URL.Path != "/Token" {
		return
	}
	way := "in the body"
	if id, _, basic := r.BasicAuth(); basic {
		decoded, _ := url.QueryUnescape(id)
		switch {
		case id == shopID:
			way = "raw, by Basic"
		case decoded == shopID:
			way = "form-encoded, by Basic"
		default:
			way = "wrong, by Basic"
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.named = append(s.named, way)
}

// ways returns the recorded ways, each once.
func (s *shop) ways() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	slices.Sort(s.named)
	return slices.Compact(s.named)
}
