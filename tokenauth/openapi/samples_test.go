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

	"github.com/bearerkit/bearerkit/tokenauth"
)

// runners run a sample of code; what is not installed is skipped.
var runners = map[string]struct {
	file    string
	command []string
}{
	"curl":       {"sample.sh", []string{"sh"}},
	"JavaScript": {"sample.mjs", []string{"node"}},
	"Python":     {"sample.py", []string{"python3"}},
	"Go":         {"sample.go", []string{"go", "run"}},
}

// The samples of code that the page shows do what they say.
func TestSamples(t *testing.T) {
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
						c.runSample(t, path, label, at(sample, "source").(string))
					}
				}
			}
			for _, label := range []string{"curl", "C#", "JavaScript", "Python", "Go"} {
				if labels[label] < 2 {
					t.Errorf("there are %d samples for %s", labels[label], label)
				}
			}
		})
	}
}

func (c *checker) runSample(t *testing.T, path, label, source string) {
	t.Helper()
	if strings.Contains(source, "/PATH") || !strings.Contains(source, path) || strings.Contains(source, "client_") != (c.h.clients && !strings.Contains(path, ".")) {
		t.Errorf("the sample of %s for %s is %s", path, label, source)
	}
	runner, ok := runners[label]
	if !ok {
		return
	}
	if _, err := exec.LookPath(runner.command[0]); err != nil {
		t.Logf("%s is not run: %v", label, err)
		return
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
		t.Errorf("the sample of %s for %s says %s", path, label, out)
	}
	if path == "/revoke" {
		r, _ := http.NewRequest("GET", c.h.url+"/me", nil)
		r.Header.Set("Authorization", "Bearer "+token)
		response, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		if readAll(t, response); response.StatusCode != http.StatusUnauthorized {
			t.Errorf("after the sample for %s the token is answered by %s", label, fmt.Sprint(response.StatusCode))
		}
	}
}
