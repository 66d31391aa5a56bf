package existingservice_test

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/bearerkit/bearerkit/internal/throwaway"
)

// The commands in the README print what it says.
func TestREADMECalls(t *testing.T) {
	t.Parallel()
	for _, program := range []string{"bash", "curl"} {
		if _, err := exec.LookPath(program); err != nil {
			throwaway.Need(t, "curl", fmt.Errorf("needs %s; to get it: apt-get install %s", program, program))
		}
	}
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(readme), "```sh\nHOST=http://127.0.0.1:8080\n")
	script, _, found := strings.Cut(rest, "```\n")
	if !found {
		t.Fatal("README.md has no sh block that begins with HOST")
	}
	bash := exec.CommandContext(t.Context(), "bash", "-eu", "-o", "pipefail", "-c", script)
	bash.Env = append(os.Environ(), "HOST=http://"+startAfter(t).Addr)
	out, err := bash.CombinedOutput()
	if err != nil {
		t.Errorf("%v: %s", err, out)
	}
	rest = string(out)
	for _, want := range []string{
		`{"id":1,"item":"tea","count":2,"takenBy":"bob@example.com"}`, forbidden, `[{"id":"`, ended, `{"status":"ok"}`,
		`tokenauth_events_total{kind="issued",reason=""} 2`, `tokenauth_events_total{kind="revoked",reason="user"} 2`,
	} {
		_, after, found := strings.Cut(rest, want)
		if !found {
			t.Fatalf("want %s next in the rest of the output: %s", want, rest)
		}
		rest = after
	}
}
