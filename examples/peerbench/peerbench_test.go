package main

import (
	"bytes"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/bearerkit/bearerkit/internal/throwaway"
)

// The test binary starts itself as a child, as the program does.
func TestMain(m *testing.M) {
	gin.SetMode(gin.ReleaseMode)
	if len(os.Args) > 1 && os.Args[1] == childCommand {
		child(os.Args[2:])
		return
	}
	os.Exit(throwaway.Main(m))
}

// Each contestant accepts valid requests, identifies their users, and refuses
// invalid requests.
func TestContestants(t *testing.T) {
	users := users(5)
	for _, m := range contestants {
		t.Run(m.name, func(t *testing.T) {
			c := m.make(t, m.name, users)
			if err := c.check(users); err != nil {
				t.Fatal(err)
			}
			if m.name != bareName && len(c.bad) < 2 {
				t.Errorf("the contestant has %d invalid requests, want at least 2", len(c.bad))
			}
			if err := c.serve(2).run(amount{total: 100}); err != nil {
				t.Error(err)
			}
			// Serving does not change the requests.
			if err := c.check(users); err != nil {
				t.Error("after requests: ", err)
			}
		})
	}
}

// check fails for contestants that do not authenticate correctly.
func TestCheckFindsFaults(t *testing.T) {
	users := users(2)
	c := cached(t, oursName, users)
	for name, broken := range map[string]contestant{
		"accepts all":     {handler: engine(nil, userID), bad: c.bad},
		"identifies none": {handler: engine(nil, userID), good: c.good},
		"mixes users up":  {handler: c.handler, good: []*http.Request{c.good[1], c.good[0]}},
		"refuses valid":   {handler: c.handler, good: c.bad},
	} {
		if broken.check(users) == nil {
			t.Errorf("check passed a contestant that %s, want an error", name)
		}
	}
}

func TestStructures(t *testing.T) {
	store := new(ledger)
	auth := service(t, store, nil)
	cards := deal(t, auth, 500)
	for _, s := range structures {
		t.Run(s.name, func(t *testing.T) {
			f := &front{structure: s.make(1000), store: store}
			for range 2 {
				for i := range cards.len() {
					want, err := auth.Validate(t.Context(), cards.accessToken(i))
					if err != nil {
						t.Fatal(err)
					}
					got, err := f.Validate(t.Context(), cards.accessToken(i))
					if err != nil {
						t.Fatal(err)
					}
					if s.name != nothing && (got.Slot != want.Slot || got.Principal.UserID != want.Principal.UserID || !got.Principal.HasRole("Reader")) {
						t.Fatalf("got %+v, want %+v", got, want)
					}
					if _, err := f.Validate(t.Context(), tampered(cards.accessToken(i))); err == nil {
						t.Fatal("the front accepted a tampered token")
					}
				}
			}
		})
	}
}

// Each RATIO line has the documented form, and the plots and tables exist.
func TestReportFormats(t *testing.T) {
	var out bytes.Buffer
	r := &report{out: &out}
	p := plan{rounds: 3, cycles: 1, short: true}
	if err := throwaway.Outside(t.Context(), func(tb testing.TB) { validationFor(tb, p, r, time.Millisecond) }); err != nil {
		t.Fatal(err)
	}
	r.growth = []series{{name: "cached", x: []float64{1e3, 1e6}, y: []float64{400, 500}}}
	dir := t.TempDir()
	if err := r.plot(dir); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"validation.svg", "growth.svg"} {
		if svg, err := os.ReadFile(filepath.Join(dir, name)); err != nil || !bytes.Contains(svg, []byte("</svg>")) {
			t.Errorf("%s is not a complete SVG (error %v)", name, err)
		}
	}
	r.writeRatios()
	line := regexp.MustCompile(`(?m)^RATIO [a-z0-9_]+ [0-9]+(\.[0-9]+)?$`)
	if got, want := len(line.FindAllString(out.String(), -1)), len(r.ratios); got != want {
		t.Errorf("%d of %d lines have the form RATIO name value:\n%s", got, want, strings.Join(r.ratios, "\n"))
	}
	for _, name := range []string{"cached_vs_gin_jwt", "cached_vs_golang_jwt_hs256", "cached_vs_floor", "cached_allocs"} {
		if !strings.Contains(out.String(), "\nRATIO "+name+" ") {
			t.Errorf("the report has no RATIO %s", name)
		}
	}
	if md := string(r.markdown("go run .", "here")); !strings.Contains(md, "| "+oursName+" |") {
		t.Error("the Markdown report has no row of this project")
	}
}

func TestDecimal(t *testing.T) {
	for _, c := range []struct {
		value    float64
		decimals int
		want     string
	}{{0, 0, "0"}, {999, 0, "999"}, {1000, 0, "1,000"}, {1234567.8, 1, "1,234,567.8"}, {-4321, 0, "-4,321"}, {-12, 0, "-12"}} {
		if got := decimal(c.value, c.decimals); got != c.want {
			t.Errorf("decimal(%v, %d) = %q, want %q", c.value, c.decimals, got, c.want)
		}
	}
}
