package jwtmigration_test

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
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
	block := func(opening string) string {
		t.Helper()
		_, rest, _ := strings.Cut(string(readme), opening)
		script, _, found := strings.Cut(rest, "```\n")
		if !found {
			t.Fatalf("README.md has no block that begins with %q", opening)
		}
		return script
	}
	run := func(s *server, script string, environment ...string) string {
		t.Helper()
		bash := exec.CommandContext(t.Context(), "bash", "-eu", "-o", "pipefail", "-c", script)
		bash.Env = append(append(os.Environ(), "HOST=http://"+s.Addr), environment...)
		out, err := bash.CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return string(out)
	}
	first, second := block("```sh before\nHOST=http://127.0.0.1:8080\n"), block("```sh after\n")

	before := start(t, "before", t.TempDir())
	out := run(before, first+"\necho; echo $JWT; declare -f login")
	me, rest, _ := strings.Cut(out, "\n")
	jwt, login, found := strings.Cut(rest, "\n")
	if !found || !strings.Contains(me, `"name":"bob"`) || !strings.HasPrefix(jwt, "eyJ") {
		t.Fatalf("the commands for before printed %s, want bob's user and a JWT", out)
	}
	if out, err := before.Stop(syscall.SIGTERM); err != nil {
		t.Fatal(err, out)
	}

	out = run(start(t, "after", before.data), login+second, "JWT="+jwt)
	for _, want := range []string{me, "tat_\n", `{"token":"tat_…"`, `{"bob":{"requests":2,`, unauthorized} {
		_, after, found := strings.Cut(out, want)
		if !found {
			t.Fatalf("want %s next in the rest of the output: %s", want, out)
		}
		out = after
	}
}
