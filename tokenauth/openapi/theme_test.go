package openapi_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"

	"github.com/bearerkit/bearerkit/tokenauth"
	"github.com/bearerkit/bearerkit/tokenauth/openapi"
)

// prefer sets the color scheme that the reader prefers: "light" or "dark".
func (b *browser) prefer(scheme string) {
	b.Helper()
	b.do(chromedp.Func(func(ctx context.Context, tab *chromedp.Target) error {
		_, err := cdp.Call(ctx, tab, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
			Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}},
		})
		return err
	}))
}

// colors has a function that measures the luminance of the background behind an
// element and the contrast of its text (WCAG 2.2, "relative luminance").
const colors = `
	const rgba = (color) => color.match(/[\d.]+/g).map(Number);
	const luminance = ([r, g, b]) => [r, g, b].map((c) => c / 255).map((c) => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
		.reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
	const over = (top, below) => [0, 1, 2].map((i) => top[i] * (top[3] ?? 1) + below[i] * (1 - (top[3] ?? 1)));
	const background = (e) => e ? over(rgba(getComputedStyle(e).backgroundColor), background(e.parentElement)) : [255, 255, 255];
	window.measure = (selector) => {
		const e = document.querySelector(selector);
		if (!e) return { Background: -1, Contrast: 0 };
		const behind = background(e), [low, high] = [luminance(behind), luminance(over(rgba(getComputedStyle(e).color), behind))].sort((a, b) => a - b);
		return { Background: luminance(behind), Contrast: (high + 0.05) / (low + 0.05) };
	};`

// loadHostPage opens the page of a host with routes of its own, one of which has
// a long path and one of which has no tag, and signs in.
func loadHostPage(t *testing.T, scheme string, width int64) *browser {
	t.Helper()
	paths := own()
	paths["/administration/departments/{department-identifier}/monthly-reports-of-all-employees"] = map[string]any{"get": openapi.Protected(map[string]any{
		"operationId": "reports", "tags": []string{"Reports"}, "summary": "The reports of a department",
		"parameters": []any{map[string]any{"name": "department-identifier", "in": "path", "required": true, "schema": map[string]any{"type": "string"}}},
		"responses":  map[string]any{"200": map[string]any{"description": "The reports."}},
	})}
	paths["/health"] = map[string]any{"get": map[string]any{
		"operationId": "health", "responses": map[string]any{"204": map[string]any{"description": "The service is up."}},
	}}
	h := newHost(t, onMux, tokenauth.Options{}, tokenauth.Endpoints{Revocation: "/revoke"}, &openapi.Options{Paths: paths})
	b := newBrowser(t, h)
	b.prefer(scheme)
	if width > 0 {
		b.do(chromedp.EmulateViewport(width, 740, chromedp.EmulateMobile))
	}
	b.do(chromedp.Navigate(h.url + "/docs/"))
	b.awaitElement("#operations-Token-revoke .responses-table") // the last operation
	b.awaitElement(signIn + " .responses-table")
	return b
}

func TestPageShowsHostRoutesFirst(t *testing.T) {
	t.Parallel()
	b := loadHostPage(t, "light", 0)
	got := eval[[]string](b, `[...document.querySelectorAll(".opblock-tag")].map((tag) => tag.dataset.tag)`)
	if want := []string{"Host", "Reports", "default", "Token"}; !slices.Equal(got, want) {
		t.Errorf("got the groups %q, want %q", got, want)
	}
	if got := b.text(".opblock .opblock-summary-path"); strings.ReplaceAll(got, "\u200b", "") != "/admin" {
		t.Errorf("got %q as the first path, want /admin", got)
	}
	b.nothingWrong()
}

func TestPageCollapsesSchemas(t *testing.T) {
	t.Parallel()
	b := loadHostPage(t, "light", 0)
	const shown = `document.querySelectorAll("section.models .model-container, section.models .json-schema-2020-12").length`
	if n := eval[int](b, shown); n != 0 || eval[string](b, `document.querySelector(".models-control").ariaExpanded`) != "false" {
		t.Errorf("got %d schemas at first, want none", n)
	}
	b.click(".models-control")
	b.await(shown + " >= 3")
	if n := eval[int](b, `document.querySelectorAll("section.models .json-schema-2020-12-property").length`); n != 0 {
		t.Errorf("got %d properties in the list of schemas, want none", n)
	}
	b.nothingWrong()
}

func TestPageFollowsColorScheme(t *testing.T) {
	t.Parallel()
	axe, err := os.ReadFile(filepath.Join(nodeModule(t, "axe-core"), "axe.min.js"))
	if err != nil {
		t.Fatal(err)
	}
	b := loadHostPage(t, "dark", 0)
	eval[bool](b, string(axe)+"; true")
	eval[bool](b, colors+"; true")
	check := func(scheme string, selectors ...string) {
		t.Helper()
		b.settle()
		if got := eval[string](b, `getComputedStyle(document.querySelector("input")).colorScheme`); scheme == "dark" && got != "dark" {
			t.Errorf("got color-scheme %q for inputs, want dark", got)
		}
		type measured struct{ Background, Contrast float64 }
		if got := eval[measured](b, `measure("body")`).Background; (got < 0.1) != (scheme == "dark") {
			t.Errorf("%s: got a background of luminance %.2f", scheme, got)
		}
		for _, selector := range selectors {
			got := eval[measured](b, fmt.Sprintf("measure(%q)", selector))
			if got.Contrast < 4.5 {
				t.Errorf("%s: got a contrast of %.2f for %s, want at least 4.5", scheme, got.Contrast, selector)
			}
			if scheme == "dark" && got.Background > 0.5 && !strings.Contains(selector, ".opblock-summary-method") && !strings.Contains(selector, ".execute") {
				t.Errorf("dark: got a background of luminance %.2f behind %s", got.Background, selector)
			}
		}
	}
	texts := []string{
		".info .title", ".info p", ".info code", ".info .link .url", ".opblock-tag", ".btn.authorize", ".models-control span",
		".opblock-get .opblock-summary-method", ".opblock-post .opblock-summary-method", ".opblock-summary-path", ".opblock-summary-description",
		signIn + " .opblock-description p", signIn + " .opblock-description code", signIn + " .opblock-section-header h4",
		signIn + " .parameter__name", signIn + " .parameter__type", signIn + " input", signIn + " select",
		signIn + " .samples h4", signIn + " .samples [role=tab][aria-selected=false]", signIn + " .samples code",
		signIn + " .execute", signIn + " .btn-clear", signIn + " .try-out__btn",
		signIn + " .curl-command span", signIn + " .live-responses-table .microlight span", signIn + " .request-url pre",
		signIn + " .response-col_status", signIn + " .response-col_description p", signIn + " table.headers td", signIn + " .tablinks",
	}
	b.signInByKeyboard()
	for _, scheme := range []string{"dark", "light", "dark"} { // the open page follows a change
		b.prefer(scheme)
		check(scheme, texts...)
		b.accessible(scheme)
	}

	b.click(me + " .try-out__btn")
	b.click("[role=region] .auth-wrapper .authorize")
	b.awaitElement("[role=dialog] .auth-container")
	check("dark", "[role=dialog] h3", "[role=dialog] h4", "[role=dialog] p", "[role=dialog] .btn-done")
	b.click("[role=dialog] .auth-btn-wrapper .btn") // signs out
	b.awaitElement("[role=dialog] input")
	check("dark", "[role=dialog] input", "[role=dialog] label", "[role=dialog] .btn.authorize")
	b.accessible("dark, with the dialog")
	b.click(".close-modal")

	// An answer that is an error, and a field that is invalid.
	b.click(me + " .execute")
	b.answered(me, 401, "Authorization has been denied for this request.")
	const reports = "#operations-Reports-reports"
	b.click(reports + " .try-out__btn")
	b.click(reports + " .execute")
	b.awaitElement(reports + " input.invalid")
	check("dark", me+" .live-responses-table .response-col_status", me+" .live-responses-table .microlight span", reports+" input.invalid")
	b.accessible("dark, with errors")
	b.nothingWrong()
}

func TestPageFitsNarrowWindow(t *testing.T) {
	t.Parallel()
	b := loadHostPage(t, "light", 360)
	fits := func(state string) {
		t.Helper()
		b.settle()
		got := eval[struct{ Width, Window int }](b, `({ Width: document.scrollingElement.scrollWidth, Window: innerWidth })`)
		if got.Window != 360 || got.Width > got.Window {
			t.Errorf("%s: got a page of %d px in a window of %d px", state, got.Width, got.Window)
		}
		small := eval[[]string](b, `[...document.querySelectorAll("button, select, input, [role=tab], .info a")]
			.filter((e) => e.checkVisibility() && e.getBoundingClientRect().width > 0)
			.filter((e) => { const { width, height } = e.getBoundingClientRect(); return Math.min(width, height) < 38; }).map((e) => e.outerHTML.slice(0, 100))`)
		if len(small) > 0 {
			t.Errorf("%s: got controls under 38 px: %q", state, small)
		}
		outside := eval[[]string](b, `[...document.querySelectorAll("#page *")].filter((e) => e.checkVisibility() && !e.closest("svg") && !e.parentElement.closest("pre, .highlight-code"))
			.filter((e) => e.getBoundingClientRect().right > innerWidth + 1).map((e) => e.outerHTML.slice(0, 100))`)
		if len(outside) > 0 {
			t.Errorf("%s: got elements that reach out of the window: %q", state, outside)
		}
	}
	fits("at first")
	b.signInByKeyboard()
	b.click("#operations-Reports-reports .try-out__btn")
	b.awaitElement("#operations-Reports-reports .execute")
	b.click(me + " .try-out__btn")
	b.click(me + " .execute")
	b.answered(me, 200, `"name": "alice"`)
	b.click(".models-control")
	b.awaitElement("section.models .json-schema-2020-12")
	fits("with answers")
	b.click("[role=region] .auth-wrapper .authorize")
	b.awaitElement("[role=dialog] .auth-container")
	fits("with the dialog")
	b.click("[role=dialog] .auth-btn-wrapper .btn") // signs out
	b.awaitElement("[role=dialog] input")
	fits("with the form of the dialog")
	b.nothingWrong()
}
