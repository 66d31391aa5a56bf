package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/accessibility"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/bearerkit/bearerkit/internal/throwaway"
)

// browser is the Chromium that all tests share. Each tab has its own profile, so it
// is a device of its own.
var browser struct {
	sync.Once
	ctx  context.Context
	err  error
	stop func()
}

// A tab shows the page of a site, and records what goes wrong on it.
type tab struct {
	*testing.T
	ctx context.Context

	mu     sync.Mutex
	errors []string
}

// A screen is what a device looks like.
type screen struct {
	width, height int64
	scheme        string // light or dark
}

var (
	laptop = screen{1000, 760, "light"}
	phone  = screen{360, 760, "dark"}
)

// visit opens the page in a new profile.
func visit(t *testing.T, s *site, look screen) *tab {
	t.Helper()
	path := throwaway.Chromium(t)
	browser.Do(func() {
		allocator, stopAllocator := chromedp.NewExecAllocator(context.Background(), append(chromedp.DefaultExecAllocatorOptions[:],
			chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.DisableGPU, chromedp.WSURLReadTimeout(3*time.Minute))...)
		ctx, stop := chromedp.NewContext(allocator)
		browser.ctx, browser.stop = ctx, func() { stop(); stopAllocator() }
		browser.err = chromedp.Do(ctx)
	})
	if browser.err != nil {
		t.Fatal(browser.err)
	}
	ctx, cancel := context.WithTimeout(browser.ctx, 5*time.Minute) // not t.Context, which is canceled before cleanup
	t.Cleanup(cancel)
	b := &tab{T: t}
	b.ctx, cancel = chromedp.NewContext(ctx, chromedp.WithNewBrowserContext())
	t.Cleanup(cancel)
	if err := chromedp.Listen(b.ctx, b.listen); err != nil {
		t.Fatal(err)
	}
	b.do(chromedp.Func(func(ctx context.Context, tab *chromedp.Target) error {
		if _, err := cdp.Call(ctx, tab, log.Enable, cdp.Empty{}); err != nil {
			return err
		}
		// Otherwise only one tab of the browser has the focus.
		if _, err := cdp.Call(ctx, tab, emulation.SetFocusEmulationEnabled, emulation.SetFocusEmulationEnabledParams{Enabled: true}); err != nil {
			return err
		}
		_, err := cdp.Call(ctx, tab, page.AddScriptToEvaluateOnNewDocument, page.AddScriptToEvaluateOnNewDocumentParams{
			Source: `document.addEventListener("securitypolicyviolation", (e) => console.error("policy: " + e.violatedDirective + " " + e.blockedURI));`,
		})
		return err
	}))
	b.look(look)
	b.do(chromedp.Navigate(s.url))
	t.Cleanup(func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		for _, err := range b.errors {
			t.Error(err)
		}
	})
	return b
}

// look gives the tab another screen.
func (b *tab) look(s screen) {
	b.Helper()
	b.do(chromedp.EmulateViewport(s.width, s.height), chromedp.Func(func(ctx context.Context, tab *chromedp.Target) error {
		_, err := cdp.Call(ctx, tab, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
			Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: s.scheme}},
		})
		return err
	}))
}

// listen records exceptions, errors on the console and violations of the policy. It
// leaves out refused requests that the page handles: a wrong password, a refused
// refresh, and an access token that has ended or expired.
func (b *tab) listen(event any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch e := event.(type) {
	case *runtime.EventExceptionThrown:
		b.errors = append(b.errors, "exception: "+fmt.Sprint(e.ExceptionDetails.Text, e.ExceptionDetails.Exception))
	case *runtime.EventConsoleAPICalled:
		var args []string
		for _, a := range e.Args {
			args = append(args, string(a.Value))
		}
		b.errors = append(b.errors, "console: "+strings.Join(args, " "))
	case *log.EventEntryAdded:
		u, _ := url.Parse(e.Entry.URL)
		refused := false
		if e.Entry.Source == log.EntrySourceNetwork && u != nil {
			switch u.Path {
			case "/session", "/api/password":
				refused = strings.Contains(e.Entry.Text, "status of 400")
			case "/api/me", "/api/devices", "/events":
				refused = strings.Contains(e.Entry.Text, "status of 401")
			}
		}
		if !refused {
			b.errors = append(b.errors, fmt.Sprintf("log: %s %s", e.Entry.Text, e.Entry.URL))
		}
	}
}

func (b *tab) do(actions ...chromedp.Action[chromedp.Void]) {
	b.Helper()
	if err := chromedp.Do(b.ctx, actions...); err != nil {
		b.Fatal(err)
	}
}

func eval[T any](b *tab, expression string) T {
	b.Helper()
	v, err := chromedp.Run(b.ctx, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
	if err != nil {
		b.Fatalf("%s: %v", expression, err)
	}
	return v
}

// await waits until an expression is true.
func (b *tab) await(expression string) {
	b.Helper()
	if _, err := chromedp.Run(b.ctx, chromedp.Poll[bool]("Boolean("+expression+")", chromedp.WithPollingInterval(20*time.Millisecond), chromedp.WithPollingTimeout(wait))); err != nil {
		b.Fatalf("waiting for %s: %v; the page has the text %q", expression, err, eval[string](b, "document.body.innerText"))
	}
}

// awaitStatus waits until the page says something to the user.
func (b *tab) awaitStatus(text string) {
	b.Helper()
	b.await(fmt.Sprintf(`document.querySelector("[role=status]").innerText.includes(%q)`, text))
}

// awaitFocus waits until an element has the focus.
func (b *tab) awaitFocus(id string) {
	b.Helper()
	b.await(fmt.Sprintf("document.activeElement.id === %q", id))
}

// press presses keys, as kb names them, and types texts.
func (b *tab) press(keys ...string) {
	b.Helper()
	for _, key := range keys {
		b.do(chromedp.KeyEvent(key))
	}
}

// tabTo presses Tab until an element has the focus, which must be visible.
func (b *tab) tabTo(selector string) {
	b.Helper()
	for range 30 {
		b.press(kb.Tab)
		if eval[bool](b, fmt.Sprintf("document.activeElement.matches(%q)", selector)) {
			if width := eval[string](b, "getComputedStyle(document.activeElement).outlineWidth"); width != "3px" {
				b.Errorf("%s has the focus, and an outline of %s", selector, width)
			}
			return
		}
	}
	b.Fatalf("pressing Tab 30 times did not focus %s", selector)
}

// enter replaces the text of the field with the focus.
func (b *tab) enter(text string) {
	b.Helper()
	eval[bool](b, "document.activeElement.select(), true")
	b.press(text)
}

// signIn signs in with the keyboard only.
func (b *tab) signIn(user, password, device string) {
	b.Helper()
	b.await(`document.querySelector("#device-name").value`)
	b.tabTo("#username")
	b.enter(user)
	b.press(kb.Tab)
	b.press(password)
	b.press(kb.Tab)
	b.awaitFocus("device-name")
	b.enter(device)
	b.tabTo("#sign-in button")
	b.press(kb.Enter)
}

// awaitSignedIn waits until the page shows the devices and a running clock.
func (b *tab) awaitSignedIn(user string) {
	b.Helper()
	b.awaitStatus("Signed in as " + user)
	b.awaitFocus("devices-title")
	b.await(`document.querySelector("#live").innerText === "Connected" && document.querySelector("#clock").innerText`)
	if eval[bool](b, `document.querySelector("#signed-out").checkVisibility()`) {
		b.Error("the form is still visible")
	}
}

// awaitSignedOut waits until the page shows the form, and why.
func (b *tab) awaitSignedOut(why string) {
	b.Helper()
	b.awaitStatus(why)
	b.awaitFocus("username")
	if eval[bool](b, `document.querySelector("#signed-in").checkVisibility() || document.querySelector("#user").checkVisibility()`) {
		b.Error("the page of a user is still visible")
	}
}

// devices returns the names in the list.
func (b *tab) devices() []string {
	b.Helper()
	return eval[[]string](b, `[...document.querySelectorAll("#devices .name")].map((e) => e.innerText)`)
}

// Two browsers are two devices. Each sees both. When one ends the other, or changes
// the password, the stream of the other ends, and its page says so.
func TestPageOnTwoDevices(t *testing.T) {
	onEach(t, databases, func(t *testing.T, storeURL string) {
		s := startSite(t, config{store: storeURL})
		const name = `<b onclick="x">Ann's phone</b>`
		one := visit(t, s, laptop)
		one.signIn("username", trialPassword, "Work laptop")
		one.awaitSignedIn("username")
		two := visit(t, s, phone)
		two.signIn("username", trialPassword, name)
		two.awaitSignedIn("username")
		clock := eval[string](two, `document.querySelector("#clock").innerText`)
		two.await(fmt.Sprintf(`document.querySelector("#clock").innerText !== %q`, clock))

		one.await(`document.querySelectorAll("#devices li").length === 2`)
		if got := fmt.Sprint(one.devices()); got != "[Work laptop This device "+name+"]" {
			t.Errorf("the list has %s", got)
		}
		one.tabTo("#devices button")
		one.press(kb.Enter)
		two.awaitSignedOut("You were signed out: this device was ended")
		one.awaitStatus(name + " is signed out.")
		one.awaitFocus("devices-title")
		if got := fmt.Sprint(one.devices()); got != "[Work laptop This device]" {
			t.Errorf("after the phone ended, the list has %s", got)
		}

		two.signIn("username", "wrong", name)
		two.awaitStatus("The user name or password is incorrect.")
		two.awaitFocus("password")
		two.press(trialPassword, kb.Enter)
		two.awaitSignedIn("username")
		if got := len(two.devices()); got != 2 {
			t.Errorf("the phone is in the list %d times", got-1)
		}

		one.tabTo("summary")
		one.press(kb.Enter)
		one.tabTo("#current")
		one.press("wrong", kb.Tab, "the next password", kb.Enter)
		one.awaitStatus("The user name or password is incorrect.")
		one.awaitFocus("current")
		one.press(trialPassword, kb.Enter)
		one.awaitStatus("Your password is changed.")
		one.awaitFocus("devices-title")
		two.awaitSignedOut("You were signed out: this device was ended")
		if got := fmt.Sprint(one.devices()); got != "[Work laptop This device]" {
			t.Errorf("after the password changed, the list has %s", got)
		}

		two.signIn("username", "the next password", name)
		two.awaitSignedIn("username")
		two.do(chromedp.Reload())
		two.awaitSignedIn("username") // the cookie is still there
		one.await(`document.querySelector("#end-others").checkVisibility()`)
		one.tabTo("#end-others")
		one.press(kb.Enter)
		two.awaitSignedOut("You were signed out: this device was ended")
		one.awaitStatus("All other devices are signed out.")
		one.awaitFocus("devices-title")
		one.tabTo("#sign-out")
		one.press(kb.Enter)
		one.awaitSignedOut("You signed out.")
		one.do(chromedp.Reload())
		one.await(`document.querySelector("#signed-out").checkVisibility()`)
	})
}

// A user makes a key, copies it, renames it and ends it, with the keyboard only.
func TestPageHasTheKeys(t *testing.T) {
	onEach(t, databases, func(t *testing.T, storeURL string) {
		s := startSite(t, config{store: storeURL})
		b := visit(t, s, laptop)
		b.signIn("username", trialPassword, "Laptop")
		b.awaitSignedIn("username")
		const name = `<b onclick="x">Nightly</b>`
		b.tabTo("#key-name")
		b.press(name)
		b.tabTo("#make-key button")
		b.press(kb.Enter)
		b.awaitFocus("secret")
		script := &client{t: t, url: s.url, token: eval[string](b, `document.querySelector("#secret").value`)}
		if body := script.want(200, "GET", "/api/reports", nil); !strings.Contains(body, `"roles":["Administrator"]`) {
			t.Errorf("the reports with the key on the page: %s", body)
		}
		lines := func() []string {
			return eval[[]string](b, `[...document.querySelectorAll("#keys li")].map((e) => e.querySelector("input").value + " " + e.querySelector("code").innerText)`)
		}
		start := strings.TrimSuffix(strings.TrimPrefix(strings.Join(lines(), ";"), name+" "), "…")
		if !strings.HasPrefix(script.token, start) || len(start) < len("consumer_")+8 || len(start) > len(script.token)/2 {
			t.Errorf("the list has %q, want the name and the beginning of the key", lines())
		}

		month := eval[string](b, `document.querySelector("#keys .until").innerText`)
		if year := fmt.Sprint(time.Now().AddDate(0, 0, 30).Year()); time.Now().Year() != time.Now().AddDate(0, 0, 30).Year() && !strings.Contains(month, year) {
			t.Errorf("the list says %q, want the year %s", month, year)
		}
		b.tabTo("#keys input")
		b.enter("Weekly")
		b.tabTo("#keys button")
		b.awaitStatus("The key is now named Weekly.")
		if got := eval[string](b, `document.querySelector("#keys button").textContent`); got != "End Weekly" {
			t.Errorf("after the new name, the button says %q", got)
		}
		b.do(chromedp.Reload())
		b.awaitSignedIn("username")
		if got := lines(); len(got) != 1 || !strings.HasPrefix(got[0], "Weekly ") || eval[bool](b, `document.querySelector("#made").checkVisibility()`) {
			t.Errorf("after a reload, the list has %q, and the key must not be visible", got)
		}
		b.tabTo("#keys button")
		b.press(kb.Enter)
		b.awaitStatus("The key Weekly has ended.")
		b.awaitFocus("keys-title")
		if got := lines(); len(got) != 0 {
			t.Errorf("after the key ended, the list has %q", got)
		}
		script.want(401, "GET", "/api/reports", nil)

		// A new key stays visible until it ends itself.
		for _, name := range []string{"First", "Second"} {
			b.tabTo("#key-name")
			b.press(name)
			b.tabTo("#make-key button")
			b.press(kb.Enter)
			b.awaitFocus("secret")
		}
		for _, end := range []struct {
			button, name string
			visible      bool
		}{{"#keys li:nth-child(2) button", "First", true}, {"#keys button", "Second", false}} {
			b.tabTo(end.button)
			b.press(kb.Enter)
			b.awaitStatus("The key " + end.name + " has ended.")
			b.awaitFocus("keys-title")
			if visible := eval[bool](b, `document.querySelector("#made").checkVisibility()`); visible != end.visible {
				t.Errorf("after the key %s ended, the new key is visible: %v, want %v", end.name, visible, end.visible)
			}
		}
	})
}

func TestPageAsksForACode(t *testing.T) {
	t.Parallel()
	s := startSite(t, config{store: storeURLs["sqlite"](t)})
	b := visit(t, s, phone)
	b.await(`document.querySelector("#device-name").value`)
	if eval[bool](b, `document.querySelector("#otp").checkVisibility()`) {
		t.Error("the page asks for a code before it knows who signs in")
	}
	b.signIn("mfa", trialPassword, "Phone")
	b.awaitStatus("Enter the code")
	b.awaitFocus("otp")
	b.press("000000", kb.Enter)
	b.awaitStatus("The code is wrong")
	b.awaitFocus("otp")
	b.press(code(t, time.Now().Add(30*time.Second)), kb.Enter)
	b.awaitSignedIn("mfa")
}

// newTab opens the page in another tab of the same browser.
func (b *tab) newTab(s *site) *tab {
	b.Helper()
	ctx, cancel := chromedp.NewContext(b.ctx)
	b.Cleanup(cancel)
	other := &tab{T: b.T, ctx: ctx}
	other.do(chromedp.Navigate(s.url))
	return other
}

// The tabs of a browser share the cookie, so they show the same user.
func TestPageInTwoTabs(t *testing.T) {
	t.Parallel()
	s := startSite(t, config{store: storeURLs["sqlite"](t)})
	one := visit(t, s, laptop)
	two := one.newTab(s)
	for _, user := range []string{"username", "reader"} {
		// As if the tabs had been open before anyone signed in.
		for _, b := range []*tab{one, two} {
			eval[bool](b, `localStorage.clear(), true`)
		}
		for _, b := range []*tab{one, two} {
			b.do(chromedp.Reload())
			b.await(`document.querySelector("#device-name").value`)
		}
		one.signIn("username", trialPassword, "Laptop")
		one.awaitSignedIn("username")
		two.awaitSignedIn("username")
		eval[bool](two, `localStorage.removeItem("signed-in"), true`)
		two.do(chromedp.Reload())
		two.await(`document.querySelector("#device-name").value`)
		two.signIn(user, trialPassword, "Laptop")
		for _, b := range []*tab{two, one} {
			b.awaitSignedIn(user)
			b.await(fmt.Sprintf(`document.querySelector("#user-name").innerText === %q`, user))
			b.do(chromedp.Reload())
			b.awaitSignedIn(user)
		}
	}
}

// The service does not answer the sign-out. The page still shows the stream.
func TestPageStaysAliveAfterAFailedSignOut(t *testing.T) {
	t.Parallel()
	s := startSite(t, config{store: storeURLs["sqlite"](t)})
	b := visit(t, s, laptop)
	b.signIn("username", trialPassword, "Laptop")
	b.awaitSignedIn("username")
	eval[bool](b, `window.service = fetch, window.fetch = () => Promise.reject(new TypeError()), true`)
	b.tabTo("#sign-out")
	b.press(kb.Enter)
	b.awaitStatus("The service does not answer.")
	clock := eval[string](b, `document.querySelector("#clock").innerText`)
	b.await(fmt.Sprintf(`document.querySelector("#clock").innerText !== %q && document.querySelector("#live").innerText === "Connected"`, clock))
	eval[bool](b, `window.fetch = service, true`)
	b.press(kb.Enter)
	b.awaitSignedOut("You signed out.")
}

// After a failure while it loads, the user stays signed in, and the page recovers.
func TestPageRecoversFromFailures(t *testing.T) {
	t.Parallel()
	s := startSite(t, config{store: storeURLs["sqlite"](t)})
	b := visit(t, s, laptop)
	b.do(chromedp.Func(func(ctx context.Context, tab *chromedp.Target) error {
		_, err := cdp.Call(ctx, tab, page.AddScriptToEvaluateOnNewDocument, page.AddScriptToEvaluateOnNewDocumentParams{
			Source: `const service = fetch; window.fetch = (path, o) => path === sessionStorage.getItem("fails") ? Promise.reject(new TypeError()) : service(path, o);`,
		})
		return err
	}))
	b.signIn("username", trialPassword, "Laptop")
	b.awaitSignedIn("username")
	for _, path := range []string{"api/me", "api/devices"} {
		eval[bool](b, fmt.Sprintf(`sessionStorage.setItem("fails", %q), true`, path))
		b.do(chromedp.Reload())
		b.awaitStatus("The service does not answer.")
		if path == "api/devices" {
			b.await(`document.querySelector("#live").innerText === "Connected"`)
		}
		eval[bool](b, `sessionStorage.removeItem("fails"), true`)
		if path == "api/me" {
			b.do(chromedp.Reload())
			b.awaitSignedIn("username")
		}
		b.await(`document.querySelectorAll("#devices li").length === 1`)
	}
}

// The page refreshes the access token before it expires. So both its stream and a
// WebSocket stay open, in both tabs.
func TestPageStaysSignedIn(t *testing.T) {
	t.Parallel()
	s := startSite(t, config{store: storeURLs["sqlite"](t)})
	one := visit(t, s, laptop)
	one.signIn("username", trialPassword, "Laptop")
	one.awaitSignedIn("username")
	// The page refreshes after 15 seconds, halfway between these times.
	now := time.Now()
	expires := now.Add(time.Minute)
	if err := s.store.db.Exec("UPDATE tokenauth_tokens SET issued_at = ?, expires_at = ?", now.Add(-30*time.Second).Unix(), expires.Unix()).Error; err != nil {
		t.Fatal(err)
	}
	one.do(chromedp.Reload())
	two := one.newTab(s)
	tabs := []*tab{one, two}
	for _, b := range tabs {
		b.awaitSignedIn("username")
		eval[bool](b, `window.interruptions = [], new MutationObserver(() => interruptions.push(document.querySelector("#live").innerText))
			.observe(document.querySelector("#live"), { childList: true }), window.socket = new WebSocket("ws"), true`)
		b.await(`socket.readyState === WebSocket.OPEN`)
	}
	time.Sleep(time.Until(expires)) // and until the service has looked at its streams again
	for _, b := range tabs {
		clock := eval[string](b, `document.querySelector("#clock").dateTime`)
		b.await(fmt.Sprintf(`new Date(document.querySelector("#clock").dateTime) - new Date(%q) >= 7000`, clock))
		if got := eval[[]string](b, `interruptions`); len(got) != 0 {
			t.Errorf("while the page refreshed, it said %q", got)
		}
		if !eval[bool](b, `socket.readyState === WebSocket.OPEN && document.querySelector("#signed-out").hidden`) {
			t.Error("the WebSocket is closed, or the page has the form")
		}
	}
	refreshes := 0
	for _, b := range tabs {
		refreshes += eval[int](b, `performance.getEntriesByType("resource").filter((e) => new URL(e.name).pathname === "/session").length`)
	}
	if refreshes != 1 {
		t.Errorf("two tabs refreshed %d times, want once", refreshes)
	}
}

// The access token expired while no page was open. All tabs load at the same time.
func TestPageRefreshesWhenItLoads(t *testing.T) {
	t.Parallel()
	s := startSite(t, config{store: storeURLs["sqlite"](t)})
	one := visit(t, s, laptop)
	one.signIn("username", trialPassword, "Laptop")
	one.awaitSignedIn("username")
	two := one.newTab(s)
	two.awaitSignedIn("username")
	tabs := []*tab{one, two}
	for _, expire := range []func(){
		func() { s.expire(t, "user-1") },
		func() { // as the browser does at the same time
			one.do(chromedp.Func(func(ctx context.Context, tab *chromedp.Target) error {
				_, err := cdp.Call(ctx, tab, network.DeleteCookies, network.DeleteCookiesParams{Name: "session", URL: s.url})
				return err
			}))
		},
	} {
		for _, b := range tabs {
			b.do(chromedp.Navigate("about:blank"))
		}
		expire()
		var wg sync.WaitGroup
		for _, b := range tabs {
			wg.Go(func() { chromedp.Do(b.ctx, chromedp.Navigate(s.url)) })
		}
		wg.Wait()
		for _, b := range tabs {
			b.awaitSignedIn("username")
		}
		s.expire(t, "user-1") // while the page is open, as if the computer had slept
		for _, b := range tabs {
			clock := eval[string](b, `document.querySelector("#clock").dateTime`)
			b.await(fmt.Sprintf(`document.querySelector("#live").innerText === "Connected" && new Date(document.querySelector("#clock").dateTime) - new Date(%q) >= 7000`, clock))
		}
	}
	if got := fmt.Sprint(one.devices()); got != "[Laptop This device]" {
		t.Errorf("the list has %s", got)
	}
}

// The device was ended while no page was open.
func TestPageSaysThatItsRefreshWasRefused(t *testing.T) {
	t.Parallel()
	s := startSite(t, config{store: storeURLs["sqlite"](t)})
	b := visit(t, s, phone)
	b.signIn("username", trialPassword, "Phone")
	b.awaitSignedIn("username")
	b.do(chromedp.Navigate("about:blank"))
	s.client(t).signIn("username", "laptop").want(204, "DELETE", "/api/devices", nil)
	b.do(chromedp.Navigate(s.url))
	b.awaitSignedOut("You were signed out: your sign-in has expired, or this device was ended.")
	b.checkLook("refused")
	b.signIn("username", trialPassword, "Phone")
	b.awaitSignedIn("username")
}

// The list of devices changes while one of its buttons has the focus.
func TestPageKeepsTheFocus(t *testing.T) {
	t.Parallel()
	s := startSite(t, config{store: storeURLs["sqlite"](t)})
	phone := s.client(t).signIn("username", "phone")
	b := visit(t, s, laptop)
	// Each character has three bytes. The service allows 100.
	b.signIn("username", trialPassword, strings.Repeat("電", 50))
	b.awaitSignedIn("username")
	b.tabTo("#devices button")
	s.client(t).signIn("username", "tablet")
	b.await(`document.querySelectorAll("#devices li").length === 3`)
	if got := eval[string](b, `document.activeElement.innerText`); !strings.Contains(got, "The phone") {
		t.Errorf("after the list has changed, the focus is on %q", got)
	}
	phone.want(204, "DELETE", "/session", nil)
	b.await(`document.querySelectorAll("#devices li").length === 2`)
	b.awaitFocus("devices-title")
}

// measures has functions that find what a reader could not see or use.
const measures = `
	const rgba = (color) => color.match(/[\d.]+/g).map(Number);
	const luminance = ([r, g, b]) => [r, g, b].map((c) => c / 255).map((c) => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
		.reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
	const over = (top, below) => [0, 1, 2].map((i) => top[i] * (top[3] ?? 1) + below[i] * (1 - (top[3] ?? 1)));
	const background = (e) => e ? over(rgba(getComputedStyle(e).backgroundColor), background(e.parentElement)) : [255, 255, 255];
	const contrast = (a, b) => { const [low, high] = [luminance(a), luminance(b)].sort((a, b) => a - b); return (high + 0.05) / (low + 0.05); };
	const visible = (selector) => [...document.querySelectorAll(selector)].filter((e) => e.checkVisibility() && !e.matches(".unseen, noscript, noscript *"));
	window.faint = () => visible("body *").filter((e) => [...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim()) || e.matches("input"))
		.map((e) => [contrast(over(rgba(getComputedStyle(e).color), background(e)), background(e)), e.outerHTML.slice(0, 80)])
		.filter(([c]) => c < 4.5).concat(visible("input").map((e) => [contrast(rgba(getComputedStyle(e).borderTopColor), background(e.parentElement)), "border of " + e.id])
		.filter(([c]) => c < 3)).map(([c, what]) => c.toFixed(2) + " " + what);
	window.outside = () => (document.scrollingElement.scrollWidth > innerWidth ? ["the page"] : [])
		.concat(visible("body *").filter((e) => { const { left, right } = e.getBoundingClientRect(); return left < 0 || right > innerWidth; }).map((e) => e.outerHTML.slice(0, 80)));
	window.small = () => visible("button, input, summary").filter((e) => { const { width, height } = e.getBoundingClientRect(); return Math.min(width, height) < 24; }).map((e) => e.outerHTML.slice(0, 80));
	window.dark = () => luminance(background(document.body)) < 0.1;`

// checkLook checks the page on all screens.
func (b *tab) checkLook(state string) {
	b.Helper()
	eval[bool](b, "(() => {"+measures+"})(), true")
	for _, width := range []int64{320, 360, 1000} {
		for _, scheme := range []string{"light", "dark"} {
			b.look(screen{width, 740, scheme})
			if dark := eval[bool](b, "dark()"); dark != (scheme == "dark") {
				b.Errorf("%s, %s: the page is dark: %v", state, scheme, dark)
			}
			for _, fault := range []string{"faint", "outside", "small"} {
				if found := eval[[]string](b, fault+"()"); len(found) > 0 {
					b.Errorf("%s, %s at %d px: too %s: %q", state, scheme, width, fault, found)
				}
			}
		}
	}
}

// checkNames checks that a screen reader finds a name for each control, and the
// wanted ones among all nodes.
func (b *tab) checkNames(state string, wanted ...string) {
	b.Helper()
	tree, err := chromedp.Run(b.ctx, func(ctx context.Context, tab *chromedp.Target) (accessibility.GetFullAXTreeResult, error) {
		return cdp.Call(ctx, tab, accessibility.GetFullAXTree, accessibility.GetFullAXTreeParams{})
	})
	if err != nil {
		b.Fatal(err)
	}
	found := make(map[string]bool)
	for _, n := range tree.Nodes {
		if n.Ignored || n.Role == nil {
			continue
		}
		role, name := text(n.Role), text(n.Name)
		found[role+" "+name] = true
		switch role {
		case "button", "textbox", "DisclosureTriangle", "heading", "region", "image", "link", "RootWebArea":
			if name == "" {
				b.Errorf("%s: a %s has no name", state, role)
			}
		}
	}
	for _, want := range wanted {
		if !found[want] {
			b.Errorf("%s: the accessibility tree has no %q, but %v", state, want, found)
		}
	}
}

func text(v *accessibility.Value) string {
	var s string
	if v != nil {
		json.Unmarshal(v.Value, &s)
	}
	return s
}

func TestPageFitsItsReaders(t *testing.T) {
	t.Parallel()
	s := startSite(t, config{store: storeURLs["sqlite"](t)})
	s.client(t).signIn("username", strings.Repeat("long", 15))
	b := visit(t, s, laptop)
	b.await(`document.querySelector("#device-name").value`)
	b.checkLook("signed out")
	b.checkNames("signed out", "heading Sign in", "textbox User name", "textbox Password", "textbox Name of this device", "button Sign in", "status ")
	b.signIn("mfa", trialPassword, "Phone")
	b.awaitStatus("Enter the code")
	b.checkLook("asked for a code")
	b.checkNames("asked for a code", "textbox Code of your authenticator app")

	b.tabTo("#username") // from the code, round the page
	b.enter("username")  // who needs no code
	b.press(kb.Enter)
	b.awaitSignedIn("username")
	b.tabTo("summary")
	b.press(kb.Enter)
	b.checkLook("signed in")
	b.checkNames("signed in", "heading Where you are signed in", "heading Live connection", "button Sign out",
		"button Sign out The "+strings.Repeat("long", 15), "textbox Current password", "textbox New password", "button Change password", "list ")
}
