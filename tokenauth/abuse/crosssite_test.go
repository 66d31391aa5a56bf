package abuse_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/bearerkit/bearerkit/internal/throwaway"
)

// A page of another site, open in a user's browser, can cause failed sign-ins.
// They throttle that page only, and neither the user nor other clients at the
// same address.
func TestPageOfAnotherSiteThrottlesOnlyItself(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		host string // the host of the page; the service is at 127.0.0.1
	}{
		"another site":                    {"localhost"},
		"another origin of the same site": {"127.0.0.1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newAbuseHost(t, onHTTP, nil)
			h.users.unhashed = true
			empty := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Type", "text/html")
				fmt.Fprint(w, "<!DOCTYPE html><title>page</title>")
			})
			pages := httptest.NewServer(empty)
			t.Cleanup(pages.Close)
			elsewhere := strings.Replace(pages.URL, "127.0.0.1", test.host, 1)
			service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/page" {
					empty(w, r)
					return
				}
				w.Header().Set("Access-Control-Allow-Origin", "*") // the host's CORS
				h.handler.ServeHTTP(w, r)
			}))
			t.Cleanup(service.Close)

			b := newChromium(t)
			signIn := func(grant string) int {
				return evaluate[int](t, b, fmt.Sprintf(`fetch(%q, {method: "POST", body: new URLSearchParams(%q)}).then(r => r.status)`, service.URL+"/Token", grant))
			}
			visit(t, b, service.URL+"/page")
			if got := signIn(goodGrant); got != http.StatusOK {
				t.Fatalf("sign-in on the service's own page: got %d, want 200", got)
			}
			visit(t, b, elsewhere)
			evaluate[bool](t, b, fmt.Sprintf(`(async () => {
				for (let i = 0; i < 150; i++) {
					for (const name of ["admin", "user" + i]) {
						await fetch(%q, {method: "POST", mode: "no-cors", body: new URLSearchParams({grant_type: "password", username: name, password: "x"})});
					}
				}
				return true;
			})()`, service.URL+"/Token"))
			if got := signIn(goodGrant); got != http.StatusTooManyRequests {
				t.Errorf("sign-in on the other site's page after 300 failures: got %d, want 429", got)
			}
			visit(t, b, service.URL+"/page")
			if got := signIn(goodGrant); got != http.StatusOK {
				t.Errorf("sign-in on the service's own page after the failures: got %d, want 200", got)
			}
			if got := signIn(wrongReader); got != http.StatusBadRequest {
				t.Errorf("wrong password of another user on the service's own page: got %d, want 400", got)
			}
			program, err := http.PostForm(service.URL+"/Token", url.Values{"grant_type": {"password"}, "username": {"nobody"}, "password": {"x"}})
			if err != nil {
				t.Fatal(err)
			}
			program.Body.Close()
			if program.StatusCode != http.StatusBadRequest {
				t.Errorf("wrong password sent by a program at the same address: got %d, want 400", program.StatusCode)
			}
		})
	}
}

func TestSinglePageApplicationOnAnotherOriginSignsIn(t *testing.T) {
	t.Parallel()
	h := newAbuseHost(t, onHTTP, nil)
	h.users.unhashed = true
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Access-Control-Allow-Origin", "*") // the host's CORS
		h.handler.ServeHTTP(w, r)
	}))
	t.Cleanup(service.Close)
	pages := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(pages.Close)
	b := newChromium(t)
	visit(t, b, strings.Replace(pages.URL, "127.0.0.1", "localhost", 1))
	for range 7 {
		got := evaluate[int](t, b, fmt.Sprintf(`fetch(%q, {method: "POST", body: new URLSearchParams(%q)}).then(r => r.status)`, service.URL+"/Token", goodGrant))
		if got != http.StatusOK {
			t.Fatalf("sign-in from another origin: got %d, want 200", got)
		}
	}
}

// newChromium starts a browser with an empty page. The test ends it.
func newChromium(t *testing.T) context.Context {
	t.Helper()
	path := throwaway.Chromium(t)
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute) // t.Context ends before Cleanup, so it would be too short
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewExecAllocator(ctx, append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.DisableGPU, chromedp.WSURLReadTimeout(time.Minute))...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	return ctx
}

func visit(t *testing.T, b context.Context, address string) {
	t.Helper()
	if err := chromedp.Do(b, chromedp.Navigate(address)); err != nil {
		t.Fatal(err)
	}
}

func evaluate[T any](t *testing.T, b context.Context, expression string) T {
	t.Helper()
	v, err := chromedp.Run(b, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
	if err != nil {
		t.Fatal(err)
	}
	return v
}
