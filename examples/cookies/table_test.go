package main

import (
	"flag"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/gin-gonic/gin"
)

var update = flag.Bool("update", false, "write the table into README.md")

// A column of the table is a page that sends all requests.
type column struct {
	title string
	page  func(*visit) string // its URL
	mode  http.SameSite
	// change, if set, changes the application.
	change func(*app)
}

func ownPage(v *visit) string     { return v.url }
func otherPage(v *visit) string   { return v.site }
func otherOrigin(v *visit) string { return v.origin }

var columns = []column{
	{"own page", ownPage, http.SameSiteLaxMode, nil},
	{"another site: no guard", otherPage, http.SameSiteNoneMode, withoutGuard},
	{"Strict", otherPage, http.SameSiteStrictMode, nil},
	{"Lax", otherPage, http.SameSiteLaxMode, nil},
	{"None", otherPage, http.SameSiteNoneMode, nil},
	{"same site: Strict", otherOrigin, http.SameSiteStrictMode, nil},
	{"Lax", otherOrigin, http.SameSiteLaxMode, nil},
	{"None", otherOrigin, http.SameSiteNoneMode, nil},
}

// withoutGuard puts a middleware in the place of the guard. It accepts the cookie
// wherever the request comes from.
func withoutGuard(a *app) {
	a.guard = func(c *gin.Context) {
		cookie, err := c.Request.Cookie("__Host-session")
		if err != nil {
			c.AbortWithStatus(http.StatusUnauthorized)
			return
		}
		if _, err := a.auth.Validate(c.Request.Context(), cookie.Value); err != nil {
			c.AbortWithStatus(http.StatusUnauthorized)
		}
	}
}

// An outcome is what became of a request.
type outcome struct {
	Read     string // by the page
	Requests []request
}

// arrived returns the request without its preflight, or nil if the browser did not
// send it.
func (o outcome) arrived(t *testing.T) *request {
	t.Helper()
	var arrived []request
	for _, r := range o.Requests {
		if r.Method != http.MethodOptions {
			arrived = append(arrived, r)
		}
	}
	switch len(arrived) {
	case 0:
		return nil
	case 1:
		return &arrived[0]
	}
	t.Fatalf("several requests arrived: %+v", arrived)
	return nil
}

// cell returns the outcome as a cell of the table.
func (o outcome) cell(t *testing.T) string {
	t.Helper()
	r := o.arrived(t)
	if r == nil {
		return "–"
	}
	cell := fmt.Sprint(r.Status)
	if r.Reached {
		cell = "**" + cell + "**"
	}
	if o.Read != "" {
		cell += ", read"
	}
	return cell
}

// A way is a way to send a request, as requests.js has them.
type way struct{ Name, Path, Why string }

// sendAll sends all requests from a page.
func (v *visit) sendAll(t *testing.T, page string) ([]way, []outcome) {
	t.Helper()
	v.open(t, page)
	ways := evaluate[[]way](t, v, `requests.map(({ name, path, why }) => ({ Name: name, Path: path, Why: why }))`)
	outcomes := make([]outcome, len(ways))
	for i := range ways {
		outcomes[i] = evaluate[outcome](t, v, fmt.Sprintf(
			`run(requests[%d]).then(({ read, requests }) => ({ Read: read, Requests: requests }))`, i))
	}
	return ways, outcomes
}

// Pages of other origins can neither change anything with the cookie nor read
// anything, whatever way they send a request. The table in README.md shows what
// became of each request. Over plain HTTP on this machine, Lax is the same.
func TestOtherPagesCannotUseTheCookie(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var ways []way
	got := make(map[*hosts][][]string) // for each column its cells
	for _, h := range []*hosts{&overTLS, &onPorts} {
		got[h] = make([][]string, len(columns))
	}
	ok := t.Run("columns", func(t *testing.T) {
		for h := range got {
			for i, c := range columns {
				if h.scheme == "http" && c.mode != http.SameSiteLaxMode {
					continue
				}
				t.Run(fmt.Sprintf("%s/%d", h.app, i), func(t *testing.T) {
					t.Parallel()
					w, cells := c.send(t, h)
					mu.Lock()
					defer mu.Unlock()
					ways, got[h][i] = w, cells
				})
			}
		}
	})
	for _, cells := range got[&overTLS] {
		if !ok || cells == nil {
			return // also if the flag -run has selected some of them
		}
	}
	for h, cells := range got {
		for i := range cells {
			for j := range cells[i] {
				// Over plain HTTP, the guard does not look at the cookie of a
				// request with "Origin: null", which a redirect can cause.
				plain := strings.NewReplacer("403", "401")
				if cell, want := cells[i][j], got[&overTLS][i][j]; cell != want && plain.Replace(cell) != plain.Replace(want) {
					t.Errorf("%s, %s, column %d: got %s, and %s over TLS", h.app, ways[j].Name, i, cell, want)
				}
			}
		}
	}
	checkTable(t, table(ways, got[&overTLS]))
}

// send returns the cells of the column.
func (c column) send(t *testing.T, h *hosts) (ways []way, cells []string) {
	t.Helper()
	v := visitApp(t, h, c.mode, c.change)
	page := c.page(v)
	ways, outcomes := v.sendAll(t, page)
	for i, o := range outcomes {
		cells = append(cells, o.cell(t))
		switch {
		case c.change != nil:
		case page == v.url:
			checkOwn(t, ways[i], o)
		default:
			checkOther(t, ways[i], o, page)
			if r := o.arrived(t); ways[i].Name == "link" && c.mode == http.SameSiteLaxMode && (r == nil || !r.Reached) {
				t.Errorf("the link on a page of %s arrived as %+v, want it to reach the page", page, r)
			}
		}
	}
	if c.change != nil || page == v.url {
		if v.app.messages.Load() == 0 {
			t.Errorf("the requests of %s changed nothing", page)
		}
		return ways, cells
	}
	if n := v.app.messages.Load(); n != 0 {
		t.Errorf("the page of %s changed something %d times", page, n)
	}
	if got := v.status(t, "/my/data"); got != http.StatusOK {
		t.Errorf("after the requests of %s the user gets %d, want 200", page, got)
	}
	for user, want := range map[string]int{"1": 1, "2": 0} {
		if tokens, err := v.app.auth.Tokens(t.Context(), user); err != nil || len(tokens) != want {
			t.Errorf("after the requests of %s, user %s has the tokens %v, %v; want %d", page, user, tokens, err, want)
		}
	}
	return ways, cells
}

// checkOwn checks that a request of the application's own page works. If another
// site takes part in it, it must not.
func checkOwn(t *testing.T, w way, o outcome) {
	t.Helper()
	r := o.arrived(t)
	foreign := strings.Contains(w.Name, "other server") && w.Path == "/my/messages" || strings.Contains(w.Name, "sandboxed")
	if r == nil || r.Reached == foreign {
		t.Errorf("%s: the request of the own page arrived as %+v, and should reach its handler: %v", w.Name, r, !foreign)
	}
}

// checkOther checks that the page of another origin could neither change nor read
// anything.
func checkOther(t *testing.T, w way, o outcome, page string) {
	t.Helper()
	if o.Read != "" {
		t.Errorf("%s: a page of %s read %q", w.Name, page, o.Read)
	}
	r := o.arrived(t)
	if r == nil {
		return
	}
	if r.Reached && (r.Method != http.MethodGet || w.Path == "/my/feed" || w.Why == "") {
		t.Errorf("%s: a request of a page of %s reached its handler: %+v", w.Name, page, r)
	}
	if strings.HasPrefix(page, "https:") && strings.HasPrefix(w.Path, "/my/") && r.Cookie != (r.Status != http.StatusUnauthorized) {
		t.Errorf("%s: the request had the cookie: %v, but its status is %d", w.Name, r.Cookie, r.Status)
	}
}

// Pages of other hosts below the domain cannot replace the cookie.
func TestOtherHostsCannotSetTheCookie(t *testing.T) {
	t.Parallel()
	v := visitApp(t, &overTLS, 0, nil)
	v.open(t, v.origin)
	for _, cookie := range []string{
		"session=x; domain=example.com; path=/",
		"__Secure-session=x; domain=example.com; path=/my; secure",
		"__Host-session=x; domain=example.com; path=/; secure",
		"__Host-session=x; domain=example.com; path=/my; secure",
	} {
		evaluate[string](t, v, fmt.Sprintf("document.cookie = %q", cookie))
	}
	if got, want := evaluate[string](t, v, "document.cookie"), "session=x"; got != want {
		t.Errorf("the other host has the cookies %q, want %q", got, want)
	}
	if got := v.status(t, "/my/data"); got != http.StatusOK {
		t.Errorf("the user gets %d, want 200", got)
	}
}

// table returns the table of the README.
func table(ways []way, cells [][]string) string {
	var text strings.Builder
	text.WriteString("| request |")
	for _, c := range columns {
		fmt.Fprintf(&text, " %s |", c.title)
	}
	text.WriteString(" why that is safe |\n" + strings.Repeat("|---", len(columns)+2) + "|\n")
	for i, way := range ways {
		fmt.Fprintf(&text, "| %s |", way.Name)
		for _, column := range cells {
			fmt.Fprintf(&text, " %s |", column[i])
		}
		fmt.Fprintf(&text, " %s |\n", way.Why)
	}
	return text.String()
}

// checkTable checks the table in README.md, or writes it.
func checkTable(t *testing.T, want string) {
	t.Helper()
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	before, rest, found := strings.Cut(string(readme), "\n| request |")
	_, after, closed := strings.Cut(rest, "\n\n")
	if !found || !closed {
		t.Fatal("README.md has no table of requests, or nothing after it")
	}
	changed := before + "\n" + want + "\n" + after
	switch {
	case *update:
		if err := os.WriteFile("README.md", []byte(changed), 0o644); err != nil {
			t.Fatal(err)
		}
	case changed != string(readme):
		t.Errorf("the table in README.md is out of date; to update it: go test ./examples/cookies -update\n%s", want)
	}
}
