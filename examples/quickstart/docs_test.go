package main_test

import (
	"strings"
	"syscall"
	"testing"
)

func TestServesDocumentation(t *testing.T) {
	t.Parallel()
	p := start(t, "-addr", "127.0.0.1:0", "-store", "memory:")
	for path, says := range map[string][]string{
		"/":                  {"<title>Quickstart</title>"}, // by a redirect
		"/openapi.json":      {`"openapi":"3.1.0"`, `"/Token"`, `"/token"`, `"/me"`, `"bearer":["Administrator"]`},
		"/docs":              {"<title>Quickstart</title>"},
		"/docs/":             {"<title>Quickstart</title>"},
		"/docs/openapi.json": {`"/Token"`},
	} {
		status, body := p.get(t, path, "")
		for _, want := range says {
			if status != 200 || !strings.Contains(body, want) {
				t.Errorf("%s: got %d %s, want it to contain %s", path, status, body, want)
			}
		}
	}
	if out, _ := p.stop(t, syscall.SIGTERM); !strings.Contains(out, p.host+"/docs") {
		t.Errorf("got output %s, want the URL of the page in it", out)
	}
}
