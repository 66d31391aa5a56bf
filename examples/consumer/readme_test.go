package main

import (
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/gin-gonic/gin"

	"github.com/bearerkit/bearerkit/internal/throwaway"
)

func readme(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// The commands in the README print what it says.
func TestREADMECalls(t *testing.T) {
	t.Parallel()
	for _, program := range []string{"bash", "curl"} {
		if _, err := exec.LookPath(program); err != nil {
			throwaway.Need(t, "curl", fmt.Errorf("needs %s; to get it: apt-get install %s", program, program))
		}
	}
	_, rest, _ := strings.Cut(readme(t), "```sh\nHOST=http://127.0.0.1:8080\n")
	script, _, found := strings.Cut(rest, "```\n")
	if !found {
		t.Fatal("README.md has no block with the calls")
	}
	s := startSite(t, config{store: storeURLs["sqlite"](t)})
	s.client(t).signInWithCookie("username", "browser") // the reader has opened the page first
	bash := exec.CommandContext(t.Context(), "bash", "-eu", "-o", "pipefail", "-c", "HOST="+s.url+"\n"+script)
	bash.Dir = t.TempDir()
	got, err := bash.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, got)
	}
	out := string(got)
	for _, want := range []string{
		`"name":"username"`, `"name":"Laptop"`, `"name":"Ann's phone"`, "event: message", `{"reason":"ended"}`, "Authorization has been denied",
		"The user name or password is incorrect.", "mfa_required", `"name":"username"`, "replaced by a newer token",
		`"key":"consumer_`, `"insufficient_scope"`, `"name":"Nightly"`,
		"\n204\n204\n204\n", `"name":"username"`, "\n204\n", "The refresh token is not valid.", "\n403\n",
	} {
		_, after, found := strings.Cut(out, want)
		if !found {
			t.Fatalf("want %s next in the rest of the output: %s", want, out)
		}
		out = after
	}
	if n := len(regexp.MustCompile("(?m)^204").FindAll(got, -1)); n != 8 {
		t.Errorf("got the status 204 %d times, want 8: %s", n, got)
	}
}

// The table in the README has all routes, and no others.
func TestREADMERoutes(t *testing.T) {
	t.Parallel()
	s := startSite(t, config{store: "memory:"})
	registered := make(map[string]bool)
	for _, r := range s.service.routes().(*gin.Engine).Routes() {
		path := strings.ReplaceAll(r.Path, ":id", "{id}")
		known := strings.HasPrefix(path, "/page.") || strings.HasPrefix(strings.ToLower(path), "/token") && (path != "/Token" || r.Method != "POST")
		if !known {
			registered[r.Method+" "+path] = true
		}
	}
	documented := make(map[string]bool)
	for _, m := range regexp.MustCompile("(?m)^\\| `((?:GET|POST|PATCH|DELETE) /[^`]*)` \\|").FindAllStringSubmatch(readme(t), -1) {
		documented[m[1]] = true
		if !registered[m[1]] {
			t.Errorf("README.md has the route %s, which does not exist", m[1])
		}
	}
	for route := range registered {
		if !documented[route] {
			t.Errorf("README.md has no route %s", route)
		}
	}
}
