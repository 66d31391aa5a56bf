package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/gin-gonic/gin"

	"github.com/bearerkit/bearerkit/internal/throwaway"
	"github.com/bearerkit/bearerkit/tokenauth"
	"github.com/bearerkit/bearerkit/tokenauth/place"
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

// browser is the Chromium that all tests share. Each visit has its own profile.
var browser struct {
	sync.Once
	ctx  context.Context
	err  error
	stop func()
}

// startBrowser starts a Chromium that finds the hosts below example.com and test
// on this machine, and lets pages of other sites use cookies with SameSite=None.
func startBrowser(path string) error {
	profile, err := os.MkdirTemp("", "cookies")
	if err != nil {
		return err
	}
	preferences := filepath.Join(profile, "Default", "Preferences")
	if err := os.MkdirAll(filepath.Dir(preferences), 0o700); err != nil {
		return err
	}
	if err := os.WriteFile(preferences, []byte(`{"profile": {"cookie_controls_mode": 0}}`), 0o600); err != nil {
		return err
	}
	allocator, stop := chromedp.NewExecAllocator(context.Background(), append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.DisableGPU, chromedp.IgnoreCertErrors, chromedp.WSURLReadTimeout(time.Minute),
		chromedp.UserDataDir(profile),
		chromedp.Flag("disable-site-isolation-trials", true), // fewer processes, which is faster
		chromedp.Flag("host-resolver-rules", "MAP *.example.com 127.0.0.1, MAP *.test 127.0.0.1"))...)
	ctx, cancel := chromedp.NewContext(allocator)
	browser.ctx = ctx
	browser.stop = func() {
		cancel()
		stop()
		os.RemoveAll(profile)
	}
	return chromedp.Do(ctx)
}

// hosts are the hosts of the application, of a page of another site, and of a page
// of the same site.
type hosts struct {
	scheme, app, site, origin string
}

var (
	overTLS = hosts{"https", "app.example.com", "evil.test", "evil.example.com"}
	onPorts = hosts{"http", "localhost", "127.0.0.1", "localhost"} // two ports of a host are one site
)

// A visit is a tab of Chromium that is signed in at an application, and the
// server of another site.
type visit struct {
	app               *app
	url, site, origin string // base URLs; site and origin have the same server
	tab               context.Context
}

// visitApp starts an application, and signs in from its page. change may change
// the application before it starts.
func visitApp(t *testing.T, h *hosts, mode http.SameSite, change func(*app)) *visit {
	t.Helper()
	chromium := throwaway.Chromium(t)
	cookie := place.Cookie{Name: "session", SameSite: mode}
	auth := tokenauthtest.New(t, &tokenauth.Options{Places: []place.Place{place.Scheme("Bearer"), cookie}})
	auth.Users.Add(tokenauth.Principal{UserID: "1", UserName: "alice"}, "password")
	auth.Users.Add(tokenauth.Principal{UserID: "2", UserName: "mallory"}, "password")
	v := &visit{app: newApp(auth.Service, cookie)}
	v.app.accept.InsecureSkipVerify = true // only the guard looks at the origin
	if change != nil {
		change(v.app)
	}
	server, other := httptest.NewUnstartedServer(nil), httptest.NewUnstartedServer(nil)
	url := func(host string, s *httptest.Server) string {
		return fmt.Sprintf("%s://%s:%d", h.scheme, host, s.Listener.Addr().(*net.TCPAddr).Port)
	}
	v.url, v.site, v.origin = url(h.app, server), url(h.site, other), url(h.origin, other)
	server.Config.Handler = v.app.routes(pages(v.url, v.site, v.app.record))
	other.Config.Handler = otherSite(v.url, v.app.record)
	for _, s := range []*httptest.Server{server, other} {
		if h.scheme == "https" {
			s.StartTLS()
		} else {
			s.Start()
		}
		t.Cleanup(s.Close)
	}

	browser.Do(func() { browser.err = startBrowser(chromium) })
	if browser.err != nil {
		t.Fatal(browser.err)
	}
	ctx, cancel := context.WithTimeout(browser.ctx, 9*time.Minute) // not t.Context, which is canceled before cleanup
	t.Cleanup(cancel)
	v.tab, cancel = chromedp.NewContext(ctx, chromedp.WithNewBrowserContext())
	t.Cleanup(cancel)
	v.open(t, v.url)
	if got := evaluate[int](t, v, `signIn("alice", "password")`); got != http.StatusNoContent {
		t.Fatalf("the sign-in was answered with %d", got)
	}
	return v
}

// open opens a page in the tab.
func (v *visit) open(t *testing.T, url string) {
	t.Helper()
	if err := chromedp.Do(v.tab, chromedp.Navigate(url)); err != nil {
		t.Fatal(err)
	}
}

// status returns the status of the response to a GET of the application's page.
func (v *visit) status(t *testing.T, path string) int {
	t.Helper()
	v.open(t, v.url)
	return evaluate[int](t, v, fmt.Sprintf(`fetch(%q).then((response) => response.status)`, path))
}

func evaluate[T any](t *testing.T, v *visit, expression string) T {
	t.Helper()
	value, err := chromedp.Run(v.tab, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
	if err != nil {
		t.Fatalf("%s: %v", strings.SplitN(expression, "\n", 2)[0], err)
	}
	return value
}
