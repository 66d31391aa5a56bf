package openapi_test

import (
	"context"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"github.com/bearerkit/bearerkit/tokenauth"
	"github.com/bearerkit/bearerkit/tokenauth/openapi"
)

// TestPageLoadsLittleAtFirst checks what determines the time until the page is
// usable: the files it loads, and the work it does before the first operation.
func TestPageLoadsLittleAtFirst(t *testing.T) {
	t.Parallel()
	paths := own()
	paths["/reports/{id}"] = map[string]any{
		"parameters": []any{map[string]any{"name": "id", "in": "path", "required": true, "schema": map[string]any{"type": "string"}}},
		"get": openapi.Protected(map[string]any{
			"operationId": "report", "tags": []string{"Host"},
			"responses": map[string]any{"200": map[string]any{"description": "A report."}},
		}),
	}
	h := newHost(t, onMux, tokenauth.Options{}, tokenauth.Endpoints{Revocation: "/revoke"}, &openapi.Options{Paths: paths})
	b := newBrowser(t, h)
	b.do(chromedp.Navigate(h.url + "/docs/"))
	b.await("window.first")
	if open := eval[int](b, "first.Open"); open != 1 {
		t.Errorf("got %d open operations at first, want 1", open)
	}
	b.awaitElement(`#operations-Host-report [data-param-name=id]`) // an inherited parameter needs the resolver
	b.awaitElement(signIn + " .responses-table")
	if got, want := eval[string](b, "location.href"), h.url+"/docs/"; got != want {
		t.Errorf("got the URL %s after the operations opened, want it unchanged", got)
	}

	// The HTML names all files, so that they load in parallel.
	loaded := eval[[]struct {
		By, Type string
		Size     int
	}](b, `performance.getEntriesByType("resource").map((e) => ({ By: e.initiatorType, Type: e.name.split(".").at(-1), Size: e.encodedBodySize }))`)
	by, size := make(map[string]int), 0
	for _, l := range loaded {
		by[l.Type+" by "+l.By]++
		size += l.Size
	}
	if want := map[string]int{"css by link": 2, "js by script": 2, "json by link": 1}; !maps.Equal(by, want) {
		t.Errorf("got the files %v, want %v", by, want)
	}
	if size > 512<<10 {
		t.Errorf("got %d bytes, want at most 512 KiB", size)
	}

	// The page resolves most references itself, without Swagger UI's resolver. The
	// results must be equal, except for the URL of the description in the names of
	// schemas.
	got := eval[struct{ LookedUp, Left, Different []string }](b, `(async () => {
		const description = ui.specSelectors.specJS(), result = { LookedUp: [], Left: [], Different: [] }, found = [];
		const sorted = (_, v) => v?.constructor === Object ? Object.fromEntries(Object.entries(v).sort()) : v;
		const text = (v) => JSON.stringify(v, sorted).replace(/("\$\$ref":")[^#]*/g, "$1");
		ui.specActions.invalidateResolvedSubtreeCache();
		for (const [path, item] of Object.entries(description.paths)) for (const [method, { operationId }] of Object.entries(item)) {
			if (!operationId) continue;
			const at = ["paths", path, method];
			ui.specActions.requestResolvedSubtree(at);
			const operation = ui.specSelectors.specResolvedSubtree(at);
			result[operation ? "LookedUp" : "Left"].push(operationId);
			if (operation) found.push([at, operation.toJS()]);
		}
		for (const [at, operation] of found) {
			const { spec } = await ui.fn.resolveSubtree(description, at, { baseDoc: document.baseURI });
			if (text(operation) !== text(spec)) result.Different.push(operation.operationId);
		}
		return result;
	})()`)
	slices.Sort(got.LookedUp)
	if want := []string{"admin", "me", "revoke", "signIn", "signIn2", "signInByGet", "signInByGet2"}; !slices.Equal(got.LookedUp, want) {
		t.Errorf("resolved by the page: got %v, want %v", got.LookedUp, want)
	}
	if want := []string{"report"}; !slices.Equal(got.Left, want) {
		t.Errorf("left to the resolver: got %v, want %v", got.Left, want)
	}
	if len(got.Different) > 0 {
		t.Errorf("the page and the resolver disagree about %v", got.Different)
	}
	b.nothingWrong()
}

// The page resolves only simple references, and leaves others to Swagger UI.
func TestPageLeavesToResolver(t *testing.T) {
	t.Parallel()
	h := newHost(t, onMux, tokenauth.Options{}, tokenauth.Endpoints{}, nil)
	b := newBrowser(t, h)
	b.do(chromedp.Navigate(h.url + "/docs/"))
	b.await("window.first")
	for schema, want := range map[string]string{
		`{"type": "string"}`:                                      `{"type":"string"}`,
		`{"items": {"$ref": "#/schemas/other"}}`:                  `{"items":{"const":1,"$$ref":"#/schemas/other"}}`,
		`{"properties": {"$ref": {"const": 2}}}`:                  "left",
		`{"items": {"$ref": "#/schemas/tested"}}`:                 "left", // a circle
		`{"items": {"$ref": "#/schemas/missing"}}`:                "left",
		`{"items": {"$ref": "#/schemas/chain"}}`:                  "left",
		`{"items": {"$ref": "#other"}}`:                           "left",
		`{"items": {"$ref": "other.json#/schemas/other"}}`:        "left",
		`{"items": {"$ref": "#/schemas/other", "minimum": 1}}`:    "left",
		`{"items": {"allOf": [{"$ref": "#/schemas/other"}]}}`:     "left",
		`{"get": {"parameters": [{"name": "id", "in": "path"}]}}`: "left",
	} {
		got := eval[string](b, `(() => {
			try {
				const schemas = { tested: `+schema+`, other: { const: 1 }, chain: { $ref: "#/schemas/other" } };
				return JSON.stringify(withReferences({ schemas }, ["schemas", "tested"]));
			} catch { return "left"; }
		})()`)
		if got != want {
			t.Errorf("%s: got %s, want %s", schema, got, want)
		}
	}
}

// BenchmarkPage measures the time until the first operation can be read and tried
// out, in new browser contexts with empty caches. The Runtime domain is disabled
// during loading: with it, V8 parses Swagger UI three more times, for the stack of
// an exception that Swagger UI catches itself.
func BenchmarkPage(b *testing.B) {
	h := newHost(b, onMux, tokenauth.Options{}, tokenauth.Endpoints{Revocation: "/revoke"}, nil)
	ctx := newBrowser(b, h).ctx
	var afters, works []float64
	for b.Loop() {
		ctx, cancel := chromedp.NewContext(ctx, chromedp.WithNewBrowserContext())
		tab := newTab(b, ctx, h)
		tab.do(chromedp.Func(func(ctx context.Context, tab *chromedp.Target) error {
			_, err := cdp.Call(ctx, tab, runtime.Disable, cdp.Empty{})
			return err
		}), chromedp.Sleep(time.Second), chromedp.Navigate(h.url+"/docs/"), chromedp.Sleep(3*time.Second))
		afters = append(afters, eval[float64](tab, "first.After"))
		works = append(works, tab.worked())
		cancel()
	}
	slices.Sort(afters)
	slices.Sort(works)
	b.ReportMetric(0, "ns/op") // most of it is the start of the browser context
	b.ReportMetric(afters[len(afters)/2], "ms-median")
	b.ReportMetric(afters[len(afters)-1], "ms-max")
	b.ReportMetric(works[len(works)/2], "ms-work-median")
}
