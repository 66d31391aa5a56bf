package openapi_test

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/bearerkit/bearerkit/ginadapter"
	"github.com/bearerkit/bearerkit/storage/memory"
	"github.com/bearerkit/bearerkit/tokenauth"
	"github.com/bearerkit/bearerkit/tokenauth/openapi"
)

func init() { gin.SetMode(gin.ReleaseMode) }

// people is a [tokenauth.Authenticator] that accepts every user with the same
// password.
type people struct{}

func (people) Authenticate(_ context.Context, c tokenauth.Credentials) (tokenauth.Principal, error) {
	switch {
	case c.UserName == "outage":
		return tokenauth.Principal{}, errors.New("the directory is down")
	case c.UserName == "panic":
		panic("bug in the directory")
	case c.Password.Reveal() != "password":
		return tokenauth.Principal{}, tokenauth.ErrRejected
	}
	return tokenauth.Principal{
		UserID: "id of " + c.UserName, UserName: c.UserName, Roles: []string{"Reader", "Auditor"},
		Attributes: map[string]string{"tenant": "north"},
	}, nil
}

// Reload implements [tokenauth.Reloader].
func (people) Reload(_ context.Context, p tokenauth.Principal) (tokenauth.Principal, error) {
	return p, nil
}

// registry has three confidential clients with different permissions, and a public
// one.
type registry map[string]tokenauth.Client

func newRegistry() (registry, string) {
	secret := tokenauth.NewSecret(rand.Text())
	digest := tokenauth.Digest(sha256.Sum256([]byte(secret.Reveal())))
	r := registry{"public": {ID: "public"}}
	for _, id := range []string{"client", "other", "resource"} {
		r[id] = tokenauth.Client{ID: id, Secrets: []tokenauth.Digest{digest}, IntrospectsOwn: id == "client", IntrospectsAll: id == "resource"}
	}
	return r, secret.Reveal()
}

func (r registry) FindClient(_ context.Context, id string) (tokenauth.Client, error) {
	if id == "outage" {
		return tokenauth.Client{}, errors.New("the registry is down")
	}
	if id == "panic" {
		panic("bug in the registry")
	}
	c, ok := r[id]
	if !ok {
		return c, tokenauth.ErrNotFound
	}
	return c, nil
}

// flaky is a storage whose calls fail or panic on demand.
type flaky struct {
	memory.Store
	fails, panics atomic.Bool
}

func (f *flaky) Find(ctx context.Context, s tokenauth.Slot) (tokenauth.Token, error) {
	if f.panics.Load() {
		panic("bug in the storage")
	}
	if f.fails.Load() {
		return tokenauth.Token{}, errors.New("the storage is down")
	}
	return f.Store.Find(ctx, s)
}

func (f *flaky) Revoke(ctx context.Context, s tokenauth.Slot, d tokenauth.Digest) error {
	if f.panics.Load() {
		panic("bug in the storage")
	}
	if f.fails.Load() {
		return errors.New("the storage is down")
	}
	return f.Store.Revoke(ctx, s, d)
}

// A host is a running service with all its endpoints, and its description.
type host struct {
	auth    *tokenauth.Service
	storage *flaky
	url     string
	d       *openapi.Description
	ahead   atomic.Int64 // nanoseconds that the service's clock is ahead
	clients bool
	secret  string // of each client
	handler http.Handler
}

// own returns the descriptions of the host's own routes.
func own() map[string]any {
	who := map[string]any{
		"operationId": "me", "summary": "Who is calling", "tags": []string{"Host"},
		"responses": map[string]any{"200": map[string]any{
			"description": "The user.",
			"headers":     map[string]any{"Cache-Control": map[string]any{"schema": map[string]any{"const": "private"}}},
			"content": map[string]any{"application/json": map[string]any{
				"schema":  map[string]any{"type": "object", "required": []string{"name"}, "properties": map[string]any{"name": map[string]any{"type": "string"}}},
				"example": map[string]string{"name": "alice"},
			}},
		}},
	}
	admin := map[string]any{
		"operationId": "admin", "summary": "For administrators", "tags": []string{"Host"},
		"responses": map[string]any{"200": map[string]any{"description": "Done."}},
	}
	return map[string]any{
		"/me":    map[string]any{"get": openapi.Protected(who)},
		"/admin": map[string]any{"get": openapi.Protected(admin, "Administrator", "Owner")},
	}
}

type mount func(h *host, e tokenauth.Endpoints) (http.Handler, tokenauth.Endpoints)

var mounts = map[string]mount{"net-http": onMux, "gin": onGin}

// limitHeader is a request header with the host's limit of the body in bytes.
const limitHeader = "X-Limit"

// newHost starts a host. If more is nil, its description has the routes of own.
func newHost(t testing.TB, on mount, o tokenauth.Options, e tokenauth.Endpoints, more *openapi.Options) *host {
	t.Helper()
	h := &host{storage: new(flaky), clients: o.Clients != nil}
	start := time.Now()
	o.Now = func() time.Time { return start.Add(time.Duration(h.ahead.Load())) }
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if h.clients {
		o.Clients, h.secret = newRegistry()
	}
	var err error
	if h.auth, err = tokenauth.New(h.storage, people{}, &o); err != nil {
		t.Fatal(err)
	}
	var mounted tokenauth.Endpoints
	h.handler, mounted = on(h, e)
	if more == nil {
		more = &openapi.Options{Paths: own()}
		if o.Keys != nil {
			more.Paths["/reports"] = map[string]any{"get": openapi.Protected(map[string]any{
				"operationId": "reports", "summary": "For people and scripts", "tags": []string{"Host"},
				"security": []map[string][]string{{"key": {}}},
				"responses": map[string]any{"200": map[string]any{
					"description": "Done.",
					"headers":     map[string]any{"Cache-Control": map[string]any{"schema": map[string]any{"const": "private"}}},
				}},
			})}
		}
	}
	if h.d, err = openapi.New(h.auth, mounted, more); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if limit, err := strconv.ParseInt(r.Header.Get(limitHeader), 10, 64); err == nil {
			r.Body = http.MaxBytesReader(w, r.Body, limit)
		}
		h.handler.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	h.url = server.URL
	return h
}

func onMux(h *host, e tokenauth.Endpoints) (http.Handler, tokenauth.Endpoints) {
	mux := http.NewServeMux()
	mounted := h.auth.Mount(mux, e)
	who := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token, _ := tokenauth.FromContext(r.Context())
		w.Header().Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode(map[string]string{"name": token.Principal.UserName})
	})
	mux.Handle("/me", h.auth.RequireBearer(who))
	if h.auth.Options().Keys != nil {
		mux.Handle("/reports", tokenauth.Requirement{Keys: true}.Guard(h.auth)(who))
	}
	mux.Handle("/admin", h.auth.RequireRole("Administrator", "Owner")(who))
	mux.HandleFunc("/openapi.json", func(w http.ResponseWriter, r *http.Request) { h.d.ServeHTTP(w, r) })
	for _, path := range []string{"/docs", "/docs/"} {
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) { h.d.Page().ServeHTTP(w, r) })
	}
	return mux, mounted
}

func onGin(h *host, e tokenauth.Endpoints) (http.Handler, tokenauth.Endpoints) {
	r := gin.New()
	mounted := ginadapter.Mount(r, h.auth, e)
	who := func(c *gin.Context) {
		token, _ := ginadapter.From(c)
		c.JSON(http.StatusOK, gin.H{"name": token.Principal.UserName})
	}
	r.GET("/me", ginadapter.RequireBearer(h.auth), who)
	r.GET("/admin", ginadapter.RequireRole(h.auth, "Administrator", "Owner"), who)
	if h.auth.Options().Keys != nil {
		r.GET("/reports", ginadapter.Guard(h.auth, tokenauth.Requirement{Keys: true}), who)
	}
	r.GET("/openapi.json", func(c *gin.Context) { h.d.ServeHTTP(c.Writer, c.Request) })
	for _, path := range []string{"/docs", "/docs/*file"} {
		r.GET(path, func(c *gin.Context) { h.d.Page().ServeHTTP(c.Writer, c.Request) })
	}
	return r, mounted
}

// document decodes a description.
func document(t *testing.T, b []byte) map[string]any {
	t.Helper()
	var doc map[string]any
	if err := json.Unmarshal(b, &doc); err != nil {
		t.Fatal(err)
	}
	return doc
}

// at returns the value at the names in a document, or nil. It follows references.
func at(doc any, names ...string) any {
	v := doc
	for _, name := range names {
		m, _ := deref(doc, v).(map[string]any)
		v = m[name]
	}
	return deref(doc, v)
}

func deref(doc, v any) any {
	m, _ := v.(map[string]any)
	ref, ok := m["$ref"].(string)
	if !ok {
		return v
	}
	var kind, name string
	if _, err := fmt.Sscanf(ref, "#/components/%s", &kind); err != nil {
		panic(err)
	}
	for i := range kind {
		if kind[i] == '/' {
			kind, name = kind[:i], kind[i+1:]
			break
		}
	}
	return at(doc, "components", kind, name)
}

func readAll(t *testing.T, r *http.Response) string {
	t.Helper()
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
