package tokenauth_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/bearerkit/bearerkit/storage/memory"
	"github.com/bearerkit/bearerkit/tokenauth"
	"github.com/bearerkit/bearerkit/tokenauth/openapi"
)

// everything configures all endpoints.
var everything = tokenauth.Endpoints{Revocation: "/revoke", Introspection: "/introspect", Issuer: "https://api.example.com"}

// mountAll mounts all endpoints, their OpenAPI description and its page.
func mountAll(t *testing.T, auth *tokenauth.Service, mux *http.ServeMux) {
	t.Helper()
	d, err := openapi.New(auth, auth.Mount(mux, everything), nil)
	if err != nil {
		t.Fatal(err)
	}
	mux.Handle("GET /openapi.json", d)
	mux.Handle("GET /docs/", d.Page())
}

// Mount works beside other patterns of the host. The endpoints answer each
// method of their paths.
func TestMountCoexistsWithOtherPatterns(t *testing.T) {
	t.Parallel()
	auth := newService(t, new(memory.Store), &staff{}, &tokenauth.Options{Clients: registered{"api": all}})
	for _, patterns := range [][]string{
		nil,
		{"GET /"},
		{"/"},
		{"GET /{path...}"},
		{"GET /{path}"},
		{"GET /{$}"},
		{"POST /{path...}", "GET /", "/"},
		{"OPTIONS /", "PUT /{path}"},
		{"api.example.com/"},
		{"GET other.example.com/{path...}", "GET /{path...}"},
		{"PROPFIND /"},
		{"/Token/"},
		{"GET /Token/{rest...}"},
		{"GET /.well-known/", "POST /.well-known/{path...}"},
		{"/{path}/{rest...}"},
	} {
		mux := http.NewServeMux()
		name := fmt.Sprintf("%q", patterns)
		func() {
			defer func() {
				if p := recover(); p != nil {
					t.Errorf("%s: panicked: %v", name, p)
					mux = nil
				}
			}()
			for _, pattern := range patterns {
				mux.HandleFunc(pattern, func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "host") })
			}
			mountAll(t, auth, mux)
		}()
		if mux == nil {
			continue
		}
		ask := func(method, path string) *httptest.ResponseRecorder {
			w := httptest.NewRecorder()
			r := httptest.NewRequest(method, path, nil)
			r.Host = "service.example.com"
			mux.ServeHTTP(w, r)
			return w
		}
		for path, allow := range map[string]string{
			"/Token": "GET, POST", "/token": "GET, POST", "/revoke": "POST", "/introspect": "POST",
			"/.well-known/oauth-authorization-server": "GET, HEAD",
		} {
			for _, method := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "CONNECT", "OPTIONS", "TRACE"} {
				w := ask(method, path)
				allowed := strings.Contains(", "+allow+",", ", "+method+",")
				switch {
				case w.Body.String() == "host":
					t.Errorf("%s: %s %s reached the host's handler", name, method, path)
				case allowed && w.Code == http.StatusMethodNotAllowed,
					!allowed && (w.Code != http.StatusMethodNotAllowed || w.Header().Get("Allow") != allow):
					t.Errorf("%s: %s %s answered %d with Allow %q", name, method, path, w.Code, w.Header().Get("Allow"))
				}
			}
		}
		for _, path := range []string{"/openapi.json", "/docs/", "/docs/openapi.json"} {
			if w := ask("GET", path); w.Code != 200 || w.Body.String() == "host" {
				t.Errorf("%s: GET %s answered %d, want 200 from the endpoint", name, path, w.Code)
			}
		}
		// Methods without a constant in net/http are answered too, unless a
		// pattern of the host with a method competes.
		withMethod := slices.ContainsFunc(patterns, func(pattern string) bool { return strings.Contains(pattern, " /") })
		for _, method := range []string{"PROPFIND", "post"} {
			w := ask(method, "/Token")
			if !withMethod && w.Header().Get("Allow") != "GET, POST" || w.Code == 200 && w.Body.String() != "host" {
				t.Errorf("%s: %s answered %d with Allow %q", name, method, w.Code, w.Header().Get("Allow"))
			}
		}
	}
}

// Mount keeps a handler that the host has already registered for one method of
// a path.
func TestMountKeepsAHandlerOfTheHost(t *testing.T) {
	t.Parallel()
	for _, others := range [][]string{nil, {"GET /"}} {
		mux := http.NewServeMux()
		for _, pattern := range append(others, "GET /token") {
			mux.HandleFunc(pattern, func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "a form") })
		}
		newService(t, new(memory.Store), &staff{}, nil).Mount(mux)
		for method, want := range map[string]string{"GET": "a form", "HEAD": "a form", "POST": "invalid_request", "PUT": "invalid_request"} {
			w := httptest.NewRecorder()
			mux.ServeHTTP(w, httptest.NewRequest(method, "/token", nil))
			if !strings.Contains(w.Body.String(), want) {
				t.Errorf("beside %q, %s answered %d %s", others, method, w.Code, w.Body)
			}
		}
	}
}

// Mount treats a type that embeds http.ServeMux as a ServeMux. On other types
// it registers the paths without methods.
func TestMountOnOtherMuxes(t *testing.T) {
	t.Parallel()
	auth := newService(t, new(memory.Store), &staff{}, nil)
	embedded := struct{ *http.ServeMux }{http.NewServeMux()}
	embedded.HandleFunc("GET /", http.NotFound)
	auth.Mount(embedded)
	paths := make(pathMux)
	auth.Mount(paths)
	if len(paths) != 2 || paths["/Token"] == nil || paths["/token"] == nil {
		t.Errorf("mounted the paths %v", paths)
	}
}

type pathMux map[string]http.Handler

func (m pathMux) Handle(path string, h http.Handler) { m[path] = h }

// Mount panics if a path is already registered, and names the path.
func TestMountPanicsIfAPathIsRegistered(t *testing.T) {
	t.Parallel()
	auth := newService(t, new(memory.Store), &staff{}, nil)
	for name, prepare := range map[string]func(*http.ServeMux){
		"Mount":                     func(mux *http.ServeMux) { auth.Mount(mux) },
		"Mount, and a host's GET /": func(mux *http.ServeMux) { mux.HandleFunc("GET /", http.NotFound); auth.Mount(mux) },
		"Mount at other paths":      func(mux *http.ServeMux) { auth.Mount(mux, tokenauth.Endpoints{Token: []string{"/x", "/Token"}}) },
		"a host's path":             func(mux *http.ServeMux) { mux.HandleFunc("/token", http.NotFound) },
		"Mount beside a host's GET": func(mux *http.ServeMux) { mux.HandleFunc("GET /Token", http.NotFound); auth.Mount(mux) },
	} {
		mux := http.NewServeMux()
		prepare(mux)
		func() {
			defer func() {
				if p := fmt.Sprint(recover()); !strings.Contains(p, "tokenauth: ") || !strings.Contains(strings.ToLower(p), `"/token"`) {
					t.Errorf("%s: panicked with %q, want it to name the path", name, p)
				}
			}()
			auth.Mount(mux)
		}()
	}
	defer func() {
		if p := fmt.Sprint(recover()); !strings.Contains(p, "/{") {
			t.Errorf("an invalid path: panicked with %q", p)
		}
	}()
	auth.Mount(http.NewServeMux(), tokenauth.Endpoints{Token: []string{"/{"}})
}
