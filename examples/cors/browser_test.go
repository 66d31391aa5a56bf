package main

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/gin-gonic/gin"

	"github.com/bearerkit/bearerkit/internal/throwaway"
	"github.com/bearerkit/bearerkit/tokenauth"
	"github.com/bearerkit/bearerkit/tokenauth/tokenauthtest"
)

func TestMain(m *testing.M) {
	gin.SetMode(gin.ReleaseMode)
	code := m.Run()
	if browser.stop != nil {
		browser.stop()
	}
	os.Exit(code)
}

// browser is the Chromium that all tests share. Each test has its own profile.
var browser struct {
	sync.Once
	ctx  context.Context
	err  error
	stop context.CancelFunc
}

// A visit is the page of one test in Chromium, and the API that it calls.
type visit struct {
	auth      *tokenauthtest.Service // with the user alice, who has no role
	api, page string                 // URLs
	browser   context.Context
}

// A build returns the API. It may allow pages of the origins to call it.
type build func(auth *tokenauth.Service, origins ...string) http.Handler

func newVisit(t *testing.T, build build) *visit {
	t.Helper()
	chromium := throwaway.Chromium(t)
	v := &visit{auth: tokenauthtest.New(t, nil)}
	v.auth.Users.Add(tokenauth.Principal{UserID: "1", UserName: "alice"}, "password")
	api, page := httptest.NewUnstartedServer(nil), httptest.NewUnstartedServer(nil)
	v.api, v.page = "http://"+api.Listener.Addr().String(), "http://"+page.Listener.Addr().String()
	api.Config.Handler, page.Config.Handler = build(v.auth.Service, v.page), pageOf(v.api)
	api.Start()
	t.Cleanup(api.Close)
	page.Start()
	t.Cleanup(page.Close)

	browser.Do(func() {
		allocator, stop := chromedp.NewExecAllocator(context.Background(), append(chromedp.DefaultExecAllocatorOptions[:],
			chromedp.ExecPath(chromium), chromedp.NoSandbox, chromedp.DisableGPU, chromedp.WSURLReadTimeout(time.Minute))...)
		browser.ctx, _ = chromedp.NewContext(allocator)
		browser.stop = stop
		browser.err = chromedp.Do(browser.ctx)
	})
	if browser.err != nil {
		t.Fatal(browser.err)
	}
	ctx, cancel := context.WithTimeout(browser.ctx, 3*time.Minute) // not t.Context, which is canceled before cleanup
	t.Cleanup(cancel)
	v.browser, cancel = chromedp.NewContext(ctx, chromedp.WithNewBrowserContext())
	t.Cleanup(cancel)
	if err := chromedp.Do(v.browser, chromedp.Navigate(v.page)); err != nil {
		t.Fatal(err)
	}
	return v
}

func evaluate[T any](t *testing.T, v *visit, expression string) T {
	t.Helper()
	value, err := chromedp.Run(v.browser, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
	if err != nil {
		t.Fatal(err)
	}
	return value
}

// seen is the part of a response that a script in the page can read. If fetch
// fails, only Error is set, to the name of the exception.
type seen struct {
	Status                        int
	Code, Token, Retry, Challenge string
	Error                         string
}

// fetch calls the API from the page. init is the second argument of fetch in
// JavaScript.
func (v *visit) fetch(t *testing.T, path, init string) seen {
	t.Helper()
	return evaluate[seen](t, v, fmt.Sprintf(`fetch(%q, %s).then(async (r) => {
		const body = await r.json().catch(() => ({}));
		return { Status: r.status, Code: body.error ?? "", Token: body.access_token ?? "",
			Retry: r.headers.get("Retry-After") ?? "", Challenge: r.headers.get("WWW-Authenticate") ?? "", Error: "" };
	}).catch((e) => ({ Status: 0, Code: "", Token: "", Retry: "", Challenge: "", Error: e.name }))`, v.api+path, init))
}

// signIn signs alice in with the Content-Type of a form, which needs no
// preflight.
func (v *visit) signIn(t *testing.T, password string) seen {
	t.Helper()
	return v.fetch(t, "/Token", fmt.Sprintf(`{method: "POST", body: new URLSearchParams({grant_type: "password", username: "alice", password: %q})}`, password))
}

// signInLabelledJSON signs alice in with the Content-Type application/json, which
// needs a preflight.
func (v *visit) signInLabelledJSON(t *testing.T) seen {
	t.Helper()
	return v.fetch(t, "/Token", `{method: "POST", headers: {"Content-Type": "application/json"}, body: "grant_type=password&username=alice&password=password"}`)
}

// get calls a protected route, which needs a preflight.
func (v *visit) get(t *testing.T, path, token string) seen {
	t.Helper()
	return v.fetch(t, path, fmt.Sprintf(`{headers: {Authorization: "Bearer %s"}}`, token))
}

// preflight sends the preflight of a browser for a request with a token.
func (v *visit) preflight(t *testing.T, path string) *http.Response {
	t.Helper()
	r, err := http.NewRequest("OPTIONS", v.api+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header = http.Header{"Origin": {v.page}, "Access-Control-Request-Method": {"GET"}, "Access-Control-Request-Headers": {"authorization"}}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	return response
}
