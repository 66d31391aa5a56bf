package openapi_test

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/bearerkit/bearerkit/internal/throwaway"
	"github.com/bearerkit/bearerkit/tokenauth"
)

// A runner runs code samples of one language.
type runner struct {
	program string                     // must be installed
	name    string                     // in TOKENAUTH_REQUIRE; empty for Go
	file    string                     // name of the sample's file
	command []string                   // the file is its last argument
	adapt   func(source string) string // nil if the sample runs as it is
}

var runners = map[string]runner{
	"curl":       {program: "curl", name: "curl", file: "sample.sh", command: []string{"sh"}},
	"C#":         {program: "mcs", name: "mono", file: "Sample.cs", command: []string{"sh", "testdata/csharp.sh"}, adapt: forMono},
	"JavaScript": {program: "node", name: "node", file: "sample.mjs", command: []string{"node"}},
	"Python":     {program: "python3", name: "python", file: "sample.py", command: []string{"python3"}},
	"Go":         {program: "go", file: "sample.go", command: []string{"go", "run", "-ldflags=-s -w"}},
}

// forMono converts a current C# program for the older compiler of Mono: it adds a
// class and .NET's implicit usings, and removes syntax of C# 8.
// testdata/csharp_json.cs has the types that Mono lacks.
func forMono(source string) string {
	source = strings.NewReplacer("using var ", "var ", ")!", ")").Replace(source)
	end := 0 // of the usings
	if i := strings.LastIndex(source, "\nusing "); i >= 0 || strings.HasPrefix(source, "using ") {
		end = i + 1 + strings.Index(source[i+1:], "\n") + 1
	}
	return `using System; using System.Collections.Generic; using System.Net.Http; using System.Threading.Tasks;
` + source[:end] + `
static class Program
{
	static void Main() => Sample().GetAwaiter().GetResult();
	static async Task Sample()
	{
` + source[end:] + `
	}
}
`
}

// The code samples on the page run and get the expected result.
func TestSamplesRun(t *testing.T) {
	t.Parallel()
	for name, e := range map[string]struct {
		o tokenauth.Options
		e tokenauth.Endpoints
	}{
		"one application": {tokenauth.Options{}, tokenauth.Endpoints{Revocation: "/revoke", Issuer: "https://api.example.com"}},
		"clients":         {tokenauth.Options{Clients: registry{}}, tokenauth.Endpoints{Revocation: "/revoke", Introspection: "/introspect"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHost(t, onMux, e.o, e.e, nil)
			c := newChecker(t, h)
			labels := make(map[string]int)
			for path, item := range c.doc["paths"].(map[string]any) {
				for method := range item.(map[string]any) {
					samples, _ := at(c.doc, "paths", path, method, "x-codeSamples").([]any)
					for _, sample := range samples {
						label := at(sample, "label").(string)
						labels[label]++
						t.Run(strings.Join([]string{method, path, label}, " "), func(t *testing.T) {
							c.runSample(t, path, label, at(sample, "source").(string))
						})
					}
				}
			}
			for _, label := range []string{"curl", "C#", "JavaScript", "Python", "Go"} {
				if labels[label] < 2 {
					t.Errorf("got %d samples for %s, want at least 2", labels[label], label)
				}
			}
		})
	}
}

func (c *checker) runSample(t *testing.T, path, label, source string) {
	t.Helper()
	if strings.Contains(source, "/PATH") || !strings.Contains(source, path) || strings.Contains(source, "client_") != (c.h.clients && !strings.Contains(path, ".")) {
		t.Errorf("got the sample of %s for %s: %s", path, label, source)
	}
	runner, ok := runners[label]
	if !ok {
		t.Fatalf("no runner for the samples in %s", label)
	}
	if _, err := exec.LookPath(runner.program); err != nil {
		throwaway.Need(t, runner.name, fmt.Errorf("needs %s", runner.program))
	}
	if runner.adapt != nil {
		source = runner.adapt(source)
	}
	token := c.signIn("erin", "client")
	file := filepath.Join(t.TempDir(), runner.file)
	source = strings.ReplaceAll(source, "client_secret=secret", "client_secret="+c.h.secret)
	source = strings.ReplaceAll(source, `"secret"`, `"`+c.h.secret+`"`)
	if err := os.WriteFile(file, []byte(source), 0o600); err != nil {
		t.Fatal(err)
	}
	command := exec.CommandContext(t.Context(), runner.command[0], append(slices.Clone(runner.command[1:]), file)...)
	command.Env = append(os.Environ(), "HOST="+c.h.url, "TOKEN="+token)
	out, err := command.CombinedOutput()
	if err != nil {
		t.Errorf("the sample of %s for %s: %v: %s", path, label, err, out)
		return
	}
	want := map[string]string{"/revoke": "", "/introspect": "rue", "/.well-known/oauth-authorization-server": "https://api.example.com/Token"}
	says, ok := want[path]
	if !ok {
		says = "tat_"
	}
	if !strings.Contains(string(out), says) {
		t.Errorf("the sample of %s for %s printed %s", path, label, out)
	}
	if path == "/revoke" {
		r, _ := http.NewRequest("GET", c.h.url+"/me", nil)
		r.Header.Set("Authorization", "Bearer "+token)
		response, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		if readAll(t, response); response.StatusCode != http.StatusUnauthorized {
			t.Errorf("after the sample for %s: got status %s for the revoked token, want 401", label, fmt.Sprint(response.StatusCode))
		}
	}
}
