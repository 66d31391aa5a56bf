package openapi_test

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/performance"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/bearerkit/bearerkit/internal/throwaway"
	"github.com/bearerkit/bearerkit/tokenauth"
)

// A browser is a page in Chromium, with the errors that occurred on it.
type browser struct {
	testing.TB
	ctx  context.Context
	host string

	mu        sync.Mutex
	errors    []string
	requested map[string]bool // paths
}

// chromium is the process that all tests share.
var chromium struct {
	sync.Once
	ctx  context.Context
	err  error
	stop []context.CancelFunc
}

func TestMain(m *testing.M) {
	code := m.Run()
	for _, stop := range slices.Backward(chromium.stop) {
		stop()
	}
	os.Exit(code)
}

// newBrowser opens a page in its own browser context, with its own cache and
// cookies.
func newBrowser(t testing.TB, h *host) *browser {
	t.Helper()
	path := throwaway.Chromium(t)
	chromium.Do(func() {
		options := append(chromedp.DefaultExecAllocatorOptions[:],
			chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.DisableGPU, chromedp.WindowSize(1400, 1000),
			chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true), chromedp.WSURLReadTimeout(time.Minute))
		allocator, stopAllocator := chromedp.NewExecAllocator(context.Background(), options...)
		ctx, stop := chromedp.NewContext(allocator)
		chromium.ctx, chromium.stop = ctx, []context.CancelFunc{stopAllocator, stop}
		chromium.err = chromedp.Do(ctx)
	})
	if chromium.err != nil {
		t.Fatal(chromium.err)
	}
	ctx, cancel := context.WithTimeout(chromium.ctx, 3*time.Minute) // t.Context is canceled before Cleanup
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx, chromedp.WithNewBrowserContext())
	t.Cleanup(cancel)
	return newTab(t, ctx, h)
}

func newTab(t testing.TB, ctx context.Context, h *host) *browser {
	t.Helper()
	u, err := url.Parse(h.url)
	if err != nil {
		t.Fatal(err)
	}
	b := &browser{TB: t, ctx: ctx, host: u.Host, requested: make(map[string]bool)}
	if err := chromedp.Listen(ctx, b.listen); err != nil {
		t.Fatal(err)
	}
	b.do(chromedp.Func(func(ctx context.Context, tab *chromedp.Target) error {
		if _, err := cdp.Call(ctx, tab, network.Enable, network.EnableParams{}); err != nil {
			return err
		}
		if _, err := cdp.Call(ctx, tab, log.Enable, cdp.Empty{}); err != nil {
			return err
		}
		// Otherwise only one tab of the browser has the focus.
		if _, err := cdp.Call(ctx, tab, emulation.SetFocusEmulationEnabled, emulation.SetFocusEmulationEnabledParams{Enabled: true}); err != nil {
			return err
		}
		// CPU time of the page's main thread does not depend on other load of
		// the machine.
		_, err := cdp.Call(ctx, tab, performance.Enable, performance.EnableParams{TimeDomain: performance.EnableTimeDomainThreadTicks})
		if err != nil {
			return err
		}
		_, err = cdp.Call(ctx, tab, page.AddScriptToEvaluateOnNewDocument, page.AddScriptToEvaluateOnNewDocumentParams{
			Source: `window.violations = [];
				document.addEventListener("securitypolicyviolation", (e) => violations.push(e.violatedDirective + " " + e.blockedURI));
				requestAnimationFrame(function look() {
					if (!document.querySelector(".opblock-body .try-out__btn")?.checkVisibility()) return requestAnimationFrame(look);
					const { port1, port2 } = new MessageChannel(), open = document.querySelectorAll(".opblock.is-open").length;
					port1.onmessage = () => window.first = { After: performance.now(), Open: open }; // the frame is drawn
					port2.postMessage(null);
				});`,
		})
		return err
	}))
	return b
}

// signInByKeyboard signs in alice on the page with the keyboard only.
func (b *browser) signInByKeyboard() {
	b.Helper()
	b.tabTo(signIn + " .try-out__btn")
	b.do(chromedp.KeyEvent(kb.Enter))
	b.awaitElement(signIn + " .execute")
	b.tabTo(signIn + " [data-property-name=username] input")
	b.do(chromedp.KeyEvent("alice"))
	b.tabTo(signIn + " input[type=password]")
	b.do(chromedp.KeyEvent("password"))
	b.tabTo(signIn + " .execute")
	b.do(chromedp.KeyEvent(kb.Enter))
	b.answered(signIn, 200, `"userName": "alice"`)
}

// listen records requests to other servers, exceptions and errors on the console.
// It ignores error responses of the API, because the page shows those.
func (b *browser) listen(event any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch e := event.(type) {
	case *network.EventRequestWillBeSent:
		u, err := url.Parse(e.Request.URL)
		if err != nil || u.Host != b.host && u.Scheme != "data" && u.Scheme != "blob" {
			b.errors = append(b.errors, "request to "+e.Request.URL)
			return
		}
		b.requested[u.Path] = true
	case *runtime.EventExceptionThrown:
		b.errors = append(b.errors, "exception: "+fmt.Sprint(e.ExceptionDetails.Text, e.ExceptionDetails.Exception))
	case *runtime.EventConsoleAPICalled:
		if e.Type == runtime.ConsoleAPICalledTypeError || e.Type == runtime.ConsoleAPICalledTypeWarning {
			b.errors = append(b.errors, fmt.Sprintf("console: %v", e.Args))
		}
	case *log.EventEntryAdded:
		api := e.Entry.Source == log.EntrySourceNetwork && !strings.Contains(e.Entry.URL, "/docs/")
		if e.Entry.Level == log.EntryLevelError && !api {
			b.errors = append(b.errors, "log: "+e.Entry.Text)
		}
	}
}

func (b *browser) do(actions ...chromedp.Action[chromedp.Void]) {
	b.Helper()
	if err := chromedp.Do(b.ctx, actions...); err != nil {
		b.failed(err)
	}
}

func (b *browser) failed(err error) {
	b.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.Fatal(err, b.errors)
}

// eval returns the value of an expression. It waits for a promise.
func eval[T any](b *browser, expression string) T {
	b.Helper()
	v, err := chromedp.Run(b.ctx, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
	if err != nil {
		b.failed(err)
	}
	return v
}

// await waits until an expression is true.
func (b *browser) await(expression string) {
	b.Helper()
	if _, err := chromedp.Run(b.ctx, chromedp.Poll[bool]("Boolean("+expression+")", chromedp.WithPollingInterval(20*time.Millisecond), chromedp.WithPollingTimeout(time.Minute))); err != nil {
		b.failed(fmt.Errorf("waiting for %s: %w", expression, err))
	}
}

// awaitElement waits until an element matches the selector.
func (b *browser) awaitElement(selector string) {
	b.Helper()
	b.await(fmt.Sprintf("document.querySelector(%q)", selector))
}

// text returns the visible text of an element, with access tokens shortened.
func (b *browser) text(selector string) string {
	b.Helper()
	return accessToken.ReplaceAllString(eval[string](b, fmt.Sprintf("document.querySelector(%q).innerText", selector)), "tat_…")
}

var accessToken = regexp.MustCompile(`tat_[\w-]{30,}`)

func (b *browser) click(selector string) {
	b.Helper()
	b.awaitElement(selector)
	eval[bool](b, fmt.Sprintf("document.querySelector(%q).click(), true", selector))
}

// tabTo presses Tab until the element has the focus.
func (b *browser) tabTo(selector string) {
	b.Helper()
	for range 300 {
		b.do(chromedp.KeyEvent(kb.Tab))
		if eval[bool](b, fmt.Sprintf("document.activeElement.matches(%q)", selector)) {
			return
		}
	}
	b.Fatalf("pressing Tab 300 times did not focus %s", selector)
}

// settle waits until the transitions of colors and sizes are over.
func (b *browser) settle() {
	b.Helper()
	eval[bool](b, `new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve)))
		.then(() => Promise.allSettled(document.getAnimations().map((a) => a.finished))).then(() => true)`)
}

// accessible runs axe on the page.
func (b *browser) accessible(state string) {
	b.Helper()
	type violation struct {
		ID, Impact, Help string
		Nodes            []struct{ HTML string }
	}
	b.settle()
	got := eval[struct {
		Violations []violation
		Passes     int
	}](b, `axe.run({ resultTypes: ["violations"] }).then(({ violations, passes }) => ({ Passes: passes.length, Violations: violations.map(
		({ id, impact, help, nodes }) => ({ ID: id, Impact: impact, Help: help, Nodes: nodes.map((n) => ({ HTML: n.html.slice(0, 200) })) })) }))`)
	for _, v := range got.Violations {
		b.Errorf("%s: %s (%s): %s: %v", state, v.ID, v.Impact, v.Help, v.Nodes)
	}
	if got.Passes < 10 {
		b.Errorf("%s: axe passed only %d rules, want at least 10", state, got.Passes)
	}
}

const (
	signIn = "#operations-Token-signIn"
	me     = "#operations-Host-me"
	admin  = "#operations-Host-admin"
)

// answered waits for the response to a request that the page sent.
func (b *browser) answered(operation string, status int, says string) {
	b.Helper()
	b.await(fmt.Sprintf(`document.querySelector(%q)?.innerText.includes(%q)`, operation+" .live-responses-table .response", fmt.Sprint(status)))
	got := b.text(operation + " .live-responses-table")
	if !strings.Contains(got, says) {
		b.Errorf("%s: got %s, want it to contain %s", operation, got, says)
	}
}

func TestPageSignsInAndIsAccessible(t *testing.T) {
	t.Parallel()
	axe, err := os.ReadFile(filepath.Join(nodeModule(t, "axe-core"), "axe.min.js"))
	if err != nil {
		t.Fatal(err)
	}
	h := newHost(t, onGin, tokenauth.Options{}, tokenauth.Endpoints{Revocation: "/revoke"}, nil)
	b := newBrowser(t, h)

	b.do(chromedp.Navigate(h.url + "/docs"))
	b.await("window.first")
	b.awaitElement(admin + " .try-out__btn") // the last
	b.awaitElement(signIn + " .responses-table")
	if n := eval[int](b, `document.querySelectorAll("#operations-Token-signInByGet .try-out__btn").length`); n != 0 {
		t.Error("the page offers to try out a GET with a body")
	}
	if text := eval[string](b, "document.body.innerText"); strings.Contains(text, "Other spellings") || !strings.Contains(text, "Sign in, by GET") {
		t.Error("the page shows the other spellings of the path, or lacks sign-in by GET")
	}
	eval[bool](b, string(axe)+"; true")
	b.accessible("at first")

	// Rejected without a token.
	b.click(me + " .try-out__btn")
	b.click(me + " .execute")
	b.answered(me, 401, "Authorization has been denied for this request.")

	// Sign-in with the keyboard only.
	b.tabTo(signIn + " .samples [role=tab]")
	b.do(chromedp.KeyEvent(kb.ArrowRight))
	if text := b.text(signIn + " .samples [role=tabpanel]"); !strings.Contains(text, "HttpClient") {
		t.Errorf("got the second sample %s, want C#", text)
	}
	eval[bool](b, "document.activeElement.blur(), getSelection().setPosition(document.body, 0), true")
	b.signInByKeyboard()

	if command := b.text(signIn + " .curl-command"); strings.Contains(command, "password=password") || !strings.Contains(command, "username=alice") {
		t.Errorf("got the curl command %s, want it without secrets", command)
	}

	if path := os.Getenv("TOKENAUTH_SCREENSHOT"); path != "" {
		b.screenshots(path, signIn+" .opblock-section-request-body")
	}

	// Accepted with the token, and rejected without the role.
	b.click(me + " .execute")
	b.answered(me, 200, `"name": "alice"`)
	b.click(admin + " .try-out__btn")
	b.click(admin + " .execute")
	b.answered(admin, 403, "insufficient_scope")
	b.accessible("with answers")

	b.click(".auth-wrapper .authorize")
	b.awaitElement("[role=dialog]")
	b.accessible("with the dialog")
	b.click(".close-modal")

	if kept := eval[string](b, `JSON.stringify([localStorage.length, sessionStorage.length, document.cookie])`); kept != `[0,0,""]` {
		t.Errorf("got stored data %s, want none", kept)
	}
	b.nothingWrong()
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.requested["/Token"] || !b.requested["/docs/openapi.json"] {
		t.Errorf("got the requests %v, want /Token and /docs/openapi.json among them", b.requested)
	}
}

// nothingWrong fails for each error that listen recorded, and for violations of
// the Content-Security-Policy.
func (b *browser) nothingWrong() {
	b.Helper()
	if violations := eval[[]string](b, "violations"); len(violations) > 0 {
		b.Errorf("the Content-Security-Policy was violated: %v", violations)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, err := range b.errors {
		b.Error(err)
	}
}

// With registered clients, the client uses Basic authentication. The curl command
// on the page contains neither its secret nor the user's password. The page sends the
// device that the user typed, and the fields that were left empty count as absent.
func TestPageHidesClientSecrets(t *testing.T) {
	t.Parallel()
	h := newHost(t, onMux, tokenauth.Options{Clients: registry{}, Devices: &tokenauth.DeviceOptions{Parameter: "device"}}, tokenauth.Endpoints{Introspection: "/introspect"}, nil)
	b := newBrowser(t, h)
	b.do(chromedp.Navigate(h.url + "/docs/"))
	b.click(signIn + " .try-out__btn")
	b.awaitElement(signIn + " .execute")
	eval[bool](b, fmt.Sprintf(`ui.preauthorizeBasic("client", "client", %q), true`, h.secret))
	for name, value := range map[string]string{"username": "alice", "password": "password", "device": "phone"} {
		input := fmt.Sprintf(`document.querySelector("%s [data-property-name=%s] input")`, signIn, name)
		// The page may render the form again during input.
		for typed := ""; typed != value; typed = eval[string](b, input+".value") {
			eval[bool](b, `((input) => { input.focus(); input.select(); return true; })(`+input+`)`)
			b.do(chromedp.KeyEvent(value))
		}
		b.do(chromedp.KeyEvent(kb.Tab)) // the page reads the input when it loses the focus
	}
	// The header names the client, so the body must not.
	for _, name := range []string{"client_id", "client_secret"} {
		if got := eval[string](b, fmt.Sprintf(`document.querySelector("%s [data-property-name=%s] input").value`, signIn, name)); got != "" {
			t.Errorf("got %s = %s, want it empty", name, got)
		}
	}
	b.click(signIn + " .execute")
	b.answered(signIn, 200, `"userName": "alice"`)
	if tokens, err := h.auth.Tokens(t.Context(), "id of alice"); err != nil || len(tokens) != 1 || tokens[0].Device != "phone" || tokens[0].DeviceName != "" {
		t.Errorf("got the tokens %+v, %v, want one on the phone, without a name", tokens, err)
	}
	command := b.text(signIn + " .curl-command")
	if !strings.Contains(command, "Basic ***") || strings.Contains(command, "password=password") {
		t.Errorf("got the curl command %s, want it without secrets", command)
	}
	b.nothingWrong()
}

// worked returns the CPU time of the page's main thread in milliseconds.
func (b *browser) worked() float64 {
	b.Helper()
	metrics, err := chromedp.Run(b.ctx, func(ctx context.Context, tab *chromedp.Target) (performance.GetMetricsResult, error) {
		return cdp.Call(ctx, tab, performance.GetMetrics, cdp.Empty{})
	})
	if err != nil {
		b.failed(err)
	}
	for _, m := range metrics.Metrics {
		if m.Name == "TaskDuration" {
			return m.Value * 1000
		}
	}
	b.Error("the browser reports no TaskDuration")
	return 0
}

// screenshots writes the pictures for the guides of tokenauth: a light one at
// the path, and a dark one beside it. They start at the given element. Placeholders
// replace the token, the address of the host and the user's ID.
//
//	TOKENAUTH_SCREENSHOT=docs.png go test -run PageSignsIn .
func (b *browser) screenshots(path, from string) {
	b.Helper()
	b.do(chromedp.EmulateViewport(1280, 896))
	eval[bool](b, fmt.Sprintf(`(() => {
		const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
		while (texts.nextNode()) texts.currentNode.data = texts.currentNode.data.replace(/tat_[\w-]{30,}/, "tat_…").replace(/127.0.0.1:\d+/, "localhost:8080").replace("id of alice", "69f61388-c60d-4ee2-a454-f60305e414c7");
		document.querySelector(%q).scrollIntoView();
		document.activeElement.blur();
		return true;
	})()`, from))
	for scheme, path := range map[string]string{"light": path, "dark": strings.TrimSuffix(path, ".png") + "-dark.png"} {
		b.prefer(scheme)
		b.settle()
		picture, err := chromedp.Run(b.ctx, chromedp.CaptureScreenshot())
		if err != nil {
			b.failed(err)
		}
		if err := os.WriteFile(path, picture, 0o644); err != nil {
			b.Fatal(err)
		}
	}
	b.prefer("light")
	b.do(chromedp.ResetViewport())
}
