package openapi_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/gin-gonic/gin"

	"github.com/bearerkit/bearerkit/ginadapter"
	"github.com/bearerkit/bearerkit/internal/throwaway"
	"github.com/bearerkit/bearerkit/storage/memory"
	"github.com/bearerkit/bearerkit/tokenauth"
	"github.com/bearerkit/bearerkit/tokenauth/openapi"
)

var nginxRecipe = regexp.MustCompile("(?s)```nginx\n(.*?)```")

// behindPrefix starts nginx in front of a host with the configuration of the guide,
// which removes the prefix /auth/.
func behindPrefix(t *testing.T, h *host) {
	t.Helper()
	guide, err := os.ReadFile("../../ginadapter/README.md")
	if err != nil {
		t.Fatal(err)
	}
	recipe := nginxRecipe.FindSubmatch(guide)
	if recipe == nil {
		t.Fatal("ginadapter/README.md has no configuration of nginx")
	}
	h.url = throwaway.Nginx(t, string(bytes.ReplaceAll(recipe[1], []byte("http://127.0.0.1:8080"), []byte(h.url))))
}

// Behind a proxy that removes a prefix, all URLs contain the prefix.
func TestLinksBehindAPrefix(t *testing.T) {
	t.Parallel()
	for name, on := range mounts {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHost(t, on, tokenauth.Options{}, tokenauth.Endpoints{Revocation: "/revoke", Issuer: "https://api.example.com/auth"}, nil)
			behindPrefix(t, h)
			get := func(path string) string {
				t.Helper()
				response, err := http.Get(h.url + path)
				if err != nil {
					t.Fatal(err)
				}
				body := readAll(t, response)
				if response.StatusCode != http.StatusOK {
					t.Fatalf("%s: got %s with status %d: %s", path, response.Request.URL, response.StatusCode, body)
				}
				return response.Request.URL.Path + " " + body
			}
			if got := get("/auth/docs"); !strings.HasPrefix(got, "/auth/docs/ <!doctype html>") {
				t.Errorf("/auth/docs: got %.200s", got)
			}
			metadata := get("/.well-known/oauth-authorization-server/auth")
			for _, member := range []string{`"issuer":"https://api.example.com/auth"`, `"token_endpoint":"https://api.example.com/auth/Token"`, `"revocation_endpoint":"https://api.example.com/auth/revoke"`} {
				if !strings.Contains(metadata, member) {
					t.Errorf("metadata lacks %s: %s", member, metadata)
				}
			}
			for _, path := range []string{"/auth/openapi.json", "/auth/docs/openapi.json"} {
				_, body, _ := strings.Cut(get(path), " ")
				doc := document(t, []byte(body))
				server, _ := at(doc, "servers").([]any)
				if len(server) != 1 || at(doc, "paths", "/Token") == nil || server[0].(map[string]any)["url"] != "/auth" {
					t.Errorf("%s: got the servers %v", path, server)
				}
				ahead, _ := at(doc, "paths", "/.well-known/oauth-authorization-server/auth", "servers").([]any)
				if len(ahead) != 1 || ahead[0].(map[string]any)["url"] != "/" {
					t.Errorf("%s: got the servers %v of the metadata", path, ahead)
				}
			}
		})
	}
}

// The page detects a prefix that the host does not configure.
func TestPageWorksBehindAPrefix(t *testing.T) {
	t.Parallel()
	h := newHost(t, onGin, tokenauth.Options{}, tokenauth.Endpoints{}, nil)
	direct := h.url
	behindPrefix(t, h)
	mux := http.NewServeMux()
	mux.Handle("/auth/", http.StripPrefix("/auth", h.handler))
	stripped := httptest.NewServer(mux)
	t.Cleanup(stripped.Close)
	for name, page := range map[string]string{"behind nginx": h.url + "/auth/docs", "directly": direct + "/docs", "behind http.StripPrefix": stripped.URL + "/auth/docs"} {
		h := &host{url: strings.TrimSuffix(strings.TrimSuffix(page, "/docs"), "/auth")}
		b := newBrowser(t, h)
		b.prefer("dark")
		b.do(chromedp.Navigate(page))
		b.awaitElement(admin + " .try-out__btn") // the last
		b.awaitElement(signIn + " .responses-table")
		if first := eval[string](b, `document.querySelector(".opblock-tag").dataset.tag`); first != "Host" || !eval[bool](b, `document.documentElement.matches(".dark-mode")`) {
			t.Errorf("got %q as the first group, want Host, on a dark page", first)
		}
		b.signInByKeyboard()
		b.click(me + " .try-out__btn")
		b.click(me + " .execute")
		b.answered(me, 200, `"name": "alice"`)
		b.nothingWrong()
		if t.Failed() {
			t.Fatal(name)
		}
	}
}

// The page finds the root of the API wherever it is mounted.
func TestPageFindsItsRoot(t *testing.T) {
	t.Parallel()
	page := mustDescribe(t, nil, tokenauth.Endpoints{}, nil).Page()
	strip := func(prefix string, h http.Handler) http.Handler { return http.StripPrefix(prefix, h) }
	for _, test := range []struct {
		path, root string
		handler    http.Handler
	}{
		{"/docs/", "./../", page},
		{"/", "./", page},
		{"/api/north%2Feast/docs/", "./../../../", page},
		{"/docs/", "./../", strip("/docs", page)}, // the page alone
		{"/docs/", "./../", strip("/docs/", page)},
		{"/a/docs/", "./../../", strip("/a/docs", page)},
		{"/v1/docs/", "./../", strip("/v1", page)}, // the whole API
		{"/v1/v2/docs/", "./../", strip("/v1", strip("/v2", page))},
		{"/v1/api/docs/", "./../../", strip("/v1", page)},
	} {
		w := httptest.NewRecorder()
		test.handler.ServeHTTP(w, httptest.NewRequest("GET", test.path, nil))
		if !strings.Contains(w.Body.String(), `data-root="`+test.root+`"`) {
			t.Errorf("%s: got %d without the root %s", test.path, w.Code, test.root)
		}
	}
}

// A parameter in the path of a route group is a parameter of each operation.
func TestDescribesParametersOfPaths(t *testing.T) {
	t.Parallel()
	auth, err := tokenauth.New(new(memory.Store), people{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := `[{"name":"tenant","in":"path","required":true,"schema":{"type":"string"}}]`
	mux := http.NewServeMux()
	engine := gin.New()
	for name, mounted := range map[string]tokenauth.Endpoints{
		"gin":      ginadapter.Mount(engine.Group("/api/:tenant"), auth, tokenauth.Endpoints{Revocation: "/revoke"}),
		"net/http": auth.Mount(mux, tokenauth.Endpoints{Token: []string{"/api/{tenant}/Token"}, Revocation: "/api/{tenant}/revoke"}),
	} {
		d, err := openapi.New(auth, mounted, nil)
		if err != nil {
			t.Fatal(err)
		}
		text := string(d.JSON())
		if strings.Contains(text, ":tenant") || !strings.Contains(text, "$HOST/api/{tenant}/Token") {
			t.Errorf("%s: the description contains ':tenant', or samples without the parameter", name)
		}
		for _, path := range []string{"/api/{tenant}/Token", "/api/{tenant}/revoke"} {
			var doc struct {
				Paths map[string]struct{ Parameters json.RawMessage }
			}
			if err := json.Unmarshal(d.JSON(), &doc); err != nil {
				t.Fatal(err)
			}
			if got := string(doc.Paths[path].Parameters); got != want {
				t.Errorf("%s: got for %s the parameters %s", name, path, got)
			}
		}
	}
	w := httptest.NewRecorder()
	engine.ServeHTTP(w, httptest.NewRequest("PUT", "/api/north/Token", nil))
	if w.Code != http.StatusMethodNotAllowed {
		t.Errorf("PUT to the endpoint of a tenant: got %d, want 405", w.Code)
	}

	for text, test := range map[string]struct {
		mounted tokenauth.Endpoints
		paths   map[string]any
	}{
		"*rest":  {tokenauth.Endpoints{Token: []string{"/api/*rest"}}, nil},
		"{$}":    {tokenauth.Endpoints{Token: []string{"/api/{$}"}}, nil},
		"{name}": {tokenauth.Endpoints{}, map[string]any{"/reports/:id": map[string]any{}}},
	} {
		if _, err := openapi.New(auth, test.mounted, &openapi.Options{Paths: test.paths}); err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("%+v: got %v, want an error with %q", test, err, text)
		}
	}
}
