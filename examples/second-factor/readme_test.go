package main

import (
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/bearerkit/bearerkit/examples/internal/process"
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
	first := block("```sh first\nHOST=http://127.0.0.1:8080\nREPLICA=http://127.0.0.1:8081\n")
	second := block("```sh second\n")

	folder := t.TempDir()
	if err := process.Build(folder, "."); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(folder, "second-factor.db")
	var environment []string
	for _, name := range []string{"HOST", "REPLICA"} {
		p, err := process.Start(filepath.Join(folder, "second-factor"), "-port", "0", "-db", file)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			out, err := p.Stop(syscall.SIGTERM)
			if err != nil || strings.Contains(out, "panic") || strings.Contains(out, "tat_") || strings.Contains(out, trialPassword) {
				t.Errorf("the service ended with error %v, and logged %s", err, out)
			}
		})
		environment = append(environment, name+"=http://"+p.Addr)
	}
	run := func(script string, environment ...string) string {
		t.Helper()
		bash := exec.CommandContext(t.Context(), "bash", "-eu", "-o", "pipefail", "-c", script)
		bash.Dir = filepath.Join("..", "..")
		bash.Env = append(os.Environ(), environment...)
		out, err := bash.CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return string(out)
	}
	expect := func(out string, want ...string) {
		t.Helper()
		for _, w := range want {
			_, after, found := strings.Cut(out, w)
			if !found {
				t.Fatalf("want %s next in the rest of the output: %s", w, out)
			}
			out = after
		}
	}

	out := run(first+"\necho secret $SECRET; declare -p PASSWORD; declare -f signin factor app", environment...)
	out, functions, _ := strings.Cut(out, "secret ")
	secret, functions, _ := strings.Cut(functions, "\n")
	expect(out, notConfirmed, codeRequired, wrongCode, `"access_token":"tat_`, wrongCode)

	// In place of the minute that the README asks the reader to wait.
	db, err := openDatabase(openFile(file), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	pool, err := db.DB()
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	if err := db.Model(&User{}).Where("email = ?", alice).Update("totp_step", 1).Error; err != nil {
		t.Fatal(err)
	}
	out = run(functions+second, append(environment, "SECRET="+secret)...)
	expect(out, `"access_token":"tat_`)
	if strings.Contains(out, "error") {
		t.Errorf("the last commands printed %s", out)
	}
}
