package main

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/bearerkit/bearerkit/internal/throwaway"
)

// A test sets this variable to run the test binary as the program.
const programVariable = "REPLICAS_TEST_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(programVariable) != "" {
		main()
		return
	}
	os.Exit(throwaway.Main(m))
}

// program returns a command that runs the program with arguments.
func program(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), path, args...)
	cmd.Env = append(os.Environ(), programVariable+"=1")
	return cmd
}

// The script succeeds on an existing database, also if an earlier run left its
// tables there.
func TestScriptOnExistingDatabase(t *testing.T) {
	t.Parallel()
	dsn := throwaway.Postgres(t)
	for range 2 {
		out, err := program(t, "-port", "0", "-store", dsn).CombinedOutput()
		if err != nil || !strings.HasSuffix(string(out), "\nAll as promised.\n") {
			t.Fatalf("%v\n%s", err, out)
		}
	}
}

// With -serve and a temporary server, the service runs after the script until it
// is interrupted.
func TestServeAfterScript(t *testing.T) {
	t.Parallel()
	throwaway.Postgres(t) // skips the test without PostgreSQL
	cmd := program(t, "-port", "0", "-serve")
	var stderr strings.Builder
	cmd.Stderr = &stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(stdout)
	host := ""
	for lines.Scan() && !strings.HasPrefix(lines.Text(), "Ctrl-C stops") {
		if found := regexp.MustCompile(`HOST=(http://\S+)`).FindStringSubmatch(lines.Text()); found != nil {
			host = found[1]
		}
	}
	if host == "" {
		t.Fatalf("the program printed no URL: %v %s", cmd.Wait(), stderr.String())
	}

	form := url.Values{"grant_type": {"password"}, "username": {"alice"}, "password": {trialPassword}}
	r, err := http.NewRequestWithContext(t.Context(), "GET", host+"/Token", strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	signedIn, err := send(r)
	if err := signedIn.wanted(200, err); err != nil {
		t.Fatal("GET /Token with a body, through the balancer: ", err)
	}
	me, err := call(t.Context(), "GET", host+"/me", signedIn.AccessToken)
	if err := me.wanted(200, err); err != nil {
		t.Error(err)
	}
	// Only an Administrator can revoke.
	refused, err := call(t.Context(), "DELETE", host+"/users/"+signedIn.UserID+"/tokens", signedIn.AccessToken)
	if err := refused.wanted(403, err); err != nil {
		t.Error(err)
	}

	cmd.Process.Signal(os.Interrupt)
	rest, _ := io.ReadAll(stdout)
	if err := cmd.Wait(); err != nil {
		t.Errorf("the program failed after the interrupt: %v: %s%s", err, rest, stderr.String())
	}
	if conn, err := net.DialTimeout("tcp", strings.TrimPrefix(host, "http://"), time.Second); err == nil {
		conn.Close()
		t.Error("the balancer still accepts connections after the program ended")
	}
}

func TestUnreachableDatabaseFails(t *testing.T) {
	t.Parallel()
	out, err := program(t, "-port", "0", "-store", "postgres://nobody:hunter2@127.0.0.1:1/x").CombinedOutput()
	if err == nil || !strings.Contains(string(out), "replicas: ") || strings.Contains(string(out), "hunter2") {
		t.Errorf("want a failure that names the program and not the password; got error %v and output\n%s", err, out)
	}
}
