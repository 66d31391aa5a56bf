package main

import (
	"bufio"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/bearerkit/bearerkit/examples/internal/process"
	"github.com/bearerkit/bearerkit/internal/throwaway"
)

// The calls in the README get the responses that it shows. SIGTERM stops the
// service, and tokens are still valid after a restart.
func TestREADMECalls(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("curl"); err != nil {
		throwaway.Need(t, "curl", errors.New("needs curl; to get it: apt-get install curl"))
	}
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	binary := filepath.Join(dir, "aspnet-migration")
	if err := process.Build(dir, "."); err != nil {
		t.Fatal(err)
	}
	host, stop := start(t, binary, dir)

	// A sh block has the commands, the json block after it their output.
	calls := regexp.MustCompile("(?s)```sh\n([^`]*)```\n+```json\n([^`]*)```").FindAllStringSubmatch(string(readme), -1)
	if len(calls) == 0 {
		t.Fatal("README.md has no sh block that is followed by a json block")
	}
	varies := regexp.MustCompile(`tat_[A-Za-z0-9_…-]+|[A-Z][a-z]{2}, [0-9]{2} [A-Z][a-z]{2} [0-9]{4} [0-9:]{8}`)
	script := ""
	for _, call := range calls {
		script += call[1]
		typed := strings.ReplaceAll(script, "http://127.0.0.1:8080", host)
		out, err := exec.Command("/bin/sh", "-c", typed).Output()
		if err != nil {
			t.Fatalf("%s: %v", call[1], err)
		}
		got := varies.ReplaceAllString(string(out), "…")
		if want := varies.ReplaceAllString(call[2], "…"); !strings.HasSuffix(got, strings.TrimSpace(want)) {
			t.Errorf("%sprinted %s, want %s", call[1], got, want)
		}
	}

	site := &site{url: host}
	token := site.signIn(t, "bob", "password").token(t)
	stop()
	site.url, _ = start(t, binary, dir)
	if a := site.get(t, "/api/values", token.AccessToken); a.status != 200 {
		t.Errorf("after a restart: got %+v, want 200", a)
	}
}

// start runs the command in a folder. It is stopped by the returned function, or
// when the test ends.
func start(t *testing.T, binary, dir string) (host string, stop func()) {
	t.Helper()
	cmd := exec.Command(binary, "-addr", "127.0.0.1:0")
	cmd.Dir = dir
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stop = sync.OnceFunc(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		late := time.AfterFunc(20*time.Second, func() { cmd.Process.Kill() })
		defer late.Stop()
		if err := cmd.Wait(); err != nil {
			t.Errorf("the command failed after SIGTERM: %v", err)
		}
	})
	t.Cleanup(stop)
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if host = regexp.MustCompile(`http://[0-9.:]+`).FindString(line); host == "" {
		t.Fatalf("first line is %q (error %v), want one with a URL", line, err)
	}
	return host, stop
}
