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

// A browser is a page in Chromium, and what went wrong on it.
type browser struct {
	testing.TB
	ctx  context.Context
	host string

	mu    sync.Mutex
	wrong []string
	asked map[string]bool // paths
}

// chromium is the browser that all tests share.
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

// newBrowser opens a page in a context of its own, which shares nothing with
// others: no cache, no cookies.
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
	ctx, cancel := context.WithTimeout(chromium.ctx, 3*time.Minute) // t.Context ends before Cleanup
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
	b := &browser{TB: t, ctx: ctx, host: u.Host, asked: make(map[string]bool)}
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
		// Of all tabs of a browser only one has the focus otherwise.
		if _, err := cdp.Call(ctx, tab, emulation.SetFocusEmulationEnabled, emulation.SetFocusEmulationEnabledParams{Enabled: true}); err != nil {
			return err
		}
		// The time that the page's main thread works, which a busy machine
		// does not stretch.
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

// signInByKeyboard tries out the sign-in of alice.
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

// listen notes requests to elsewhere, exceptions and errors on the console. That
// a call of the API was refused is none: the page is made to show it.
func (b *browser) listen(event any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch e := event.(type) {
	case *network.EventRequestWillBeSent:
		u, err := url.Parse(e.Request.URL)
		if err != nil || u.Host != b.host && u.Scheme != "data" && u.Scheme != "blob" {
			b.wrong = append(b.wrong, "a request to "+e.Request.URL)
			return
		}
		b.asked[u.Path] = true
	case *runtime.EventExceptionThrown:
		b.wrong = append(b.wrong, "an exception: "+fmt.Sprint(e.ExceptionDetails.Text, e.ExceptionDetails.Exception))
	case *runtime.EventConsoleAPICalled:
		if e.Type == runtime.ConsoleAPICalledTypeError || e.Type == runtime.ConsoleAPICalledTypeWarning {
			b.wrong = append(b.wrong, fmt.Sprintf("on the console: %v", e.Args))
		}
	case *log.EventEntryAdded:
		api := e.Entry.Source == log.EntrySourceNetwork && !strings.Contains(e.Entry.URL, "/docs/")
		if e.Entry.Level == log.EntryLevelError && !api {
			b.wrong = append(b.wrong, "logged: "+e.Entry.Text)
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
	b.Fatal(err, b.wrong)
}

// eval returns what an expression is, a promise's value too.
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

// awaitElement waits until there is one.
func (b *browser) awaitElement(selector string) {
	b.Helper()
	b.await(fmt.Sprintf("document.querySelector(%q)", selector))
}

// text returns what an element shows, but for access tokens.
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
		b.Errorf("%s: axe looked at %d rules", state, got.Passes)
	}
}

const (
	signIn = "#operations-Token-signIn"
	me     = "#operations-Host-me"
	admin  = "#operations-Host-admin"
)

// answered waits for the answer of an operation that was tried out.
func (b *browser) answered(operation string, status int, says string) {
	b.Helper()
	b.await(fmt.Sprintf(`document.querySelector(%q)?.innerText.includes(%q)`, operation+" .live-responses-table .response", fmt.Sprint(status)))
	got := b.text(operation + " .live-responses-table")
	if !strings.Contains(got, says) {
		b.Errorf("%s shows %s, want something of %s", operation, got, says)
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
		t.Error("the page tries out a GET with a body")
	}
	if text := eval[string](b, "document.body.innerText"); strings.Contains(text, "Other spellings") || !strings.Contains(text, "Sign in, by GET") {
		t.Error("the page shows the same operation twice, or lacks one")
	}
	eval[bool](b, string(axe)+"; true")
	b.accessible("at first")

	// Refused without a token.
	b.click(me + " .try-out__btn")
	b.click(me + " .execute")
	b.answered(me, 401, "Authorization has been denied for this request.")

	// Signed in by the keyboard alone.
	b.tabTo(signIn + " .samples [role=tab]")
	b.do(chromedp.KeyEvent(kb.ArrowRight))
	if text := b.text(signIn + " .samples [role=tabpanel]"); !strings.Contains(text, "HttpClient") {
		t.Errorf("the second sample is %s", text)
	}
	eval[bool](b, "document.activeElement.blur(), getSelection().setPosition(document.body, 0), true")
	b.signInByKeyboard()

	if command := b.text(signIn + " .curl-command"); strings.Contains(command, "password=password") || !strings.Contains(command, "username=alice") {
		t.Errorf("the command that repeats the call is %s", command)
	}

	if path := os.Getenv("TOKENAUTH_SCREENSHOT"); path != "" {
		b.screenshots(path, signIn+" .opblock-section-request-body")
	}

	// Let in with the token, and refused for a role.
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
		t.Errorf("the page keeps %s", kept)
	}
	b.nothingWrong()
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.asked["/Token"] || !b.asked["/docs/openapi.json"] {
		t.Errorf("it asked for %v, so that it asked for nothing else tells nothing", b.asked)
	}
}

// nothingWrong fails for what listen noted, and for violations of the policy.
func (b *browser) nothingWrong() {
	b.Helper()
	if violations := eval[[]string](b, "violations"); len(violations) > 0 {
		b.Errorf("the policy was violated: %v", violations)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, wrong := range b.wrong {
		b.Error(wrong)
	}
}

// With a registry the client signs in by Basic authentication, and the command
// that the page shows tells neither its secret nor the user's.
func TestPageHidesClientSecrets(t *testing.T) {
	t.Parallel()
	h := newHost(t, onMux, tokenauth.Options{Clients: registry{}}, tokenauth.Endpoints{Introspection: "/introspect"}, nil)
	b := newBrowser(t, h)
	b.do(chromedp.Navigate(h.url + "/docs/"))
	b.click(signIn + " .try-out__btn")
	b.awaitElement(signIn + " .execute")
	eval[bool](b, fmt.Sprintf(`ui.preauthorizeBasic("client", "client", %q), true`, h.secret))
	for name, value := range map[string]string{"username": "alice", "password": "password"} {
		input := fmt.Sprintf(`document.querySelector("%s [data-property-name=%s] input")`, signIn, name)
		// The page may draw the form anew while it is typed into.
		for typed := ""; typed != value; typed = eval[string](b, input+".value") {
			eval[bool](b, `((input) => { input.focus(); input.select(); return true; })(`+input+`)`)
			b.do(chromedp.KeyEvent(value))
		}
		b.do(chromedp.KeyEvent(kb.Tab)) // the page takes a value when its input loses the focus
	}
	// The client is named in the header, so not here.
	for _, name := range []string{"client_id", "client_secret"} {
		if got := eval[string](b, fmt.Sprintf(`document.querySelector("%s [data-property-name=%s] input").value`, signIn, name)); got != "" {
			t.Errorf("%s is filled in: %s", name, got)
		}
	}
	b.click(signIn + " .execute")
	b.answered(signIn, 200, `"userName": "alice"`)
	command := b.text(signIn + " .curl-command")
	if !strings.Contains(command, "Basic ***") || strings.Contains(command, "password=password") {
		t.Errorf("the command that repeats the call is %s", command)
	}
	b.nothingWrong()
}

// worked returns for how many milliseconds the page's main thread has worked.
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
	b.Error("the browser does not tell how long the page worked")
	return 0
}

// screenshots writes the pictures for the guides of tokenauth: a light one at
// the path, and a dark one beside it. They start at the given element and show
// no token and no port.
//
//	TOKENAUTH_SCREENSHOT=docs.png go test -run PageSignsIn .
func (b *browser) screenshots(path, from string) {
	b.Helper()
	b.do(chromedp.EmulateViewport(1280, 896))
	eval[bool](b, fmt.Sprintf(`(() => {
		const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
		while (texts.nextNode()) texts.currentNode.data = texts.currentNode.data.replace(/tat_[\w-]{30,}/, "tat_…").replace(/127.0.0.1:\d+/, "localhost:8080");
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
