package main

import (
	"bufio"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
)

// A test sets this variable to run the test binary as the service.
const serviceVariable = "OWN_STORAGE_TEST_SERVICE"

func TestMain(m *testing.M) {
	if os.Getenv(serviceVariable) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// start starts the service and returns its URL. The function stop sends SIGTERM
// and returns the error of the process.
func start(t *testing.T, file string) (host string, stop func() error) {
	t.Helper()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), program, "-port", "0", "-file", file)
	cmd.Env = append(os.Environ(), serviceVariable+"=1")
	var stderr strings.Builder
	cmd.Stderr = &stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(stdout)
	line, _ := lines.ReadString('\n')
	host = regexp.MustCompile(`http://[0-9.]+:[0-9]+`).FindString(line)
	if host == "" {
		t.Fatalf("the service did not start: %v, %s%s", cmd.Wait(), line, stderr.String())
	}
	return host, func() error {
		cmd.Process.Signal(syscall.SIGTERM)
		io.Copy(io.Discard, lines)
		return cmd.Wait()
	}
}

func signIn(t *testing.T, host, password string) (status int, accessToken string) {
	t.Helper()
	response, err := http.PostForm(host+"/Token", url.Values{"grant_type": {"password"}, "username": {"alice"}, "password": {password}})
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var body struct {
		AccessToken string `json:"access_token"`
	}
	if err := json.NewDecoder(response.Body).Decode(&body); err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, body.AccessToken
}

// expect calls /me and compares the status.
func expect(t *testing.T, host, accessToken string, want int) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), "GET", host+"/me", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+accessToken)
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if body, _ := io.ReadAll(response.Body); response.StatusCode != want {
		t.Errorf("/me: got %d %s, want %d", response.StatusCode, body, want)
	}
}

// A token is valid until the next sign-in, also after a restart.
func TestTokenSurvivesRestart(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "tokens.db")
	host, stop := start(t, file)
	if status, _ := signIn(t, host, "wrong"); status != 400 {
		t.Errorf("wrong password: got %d, want 400", status)
	}
	_, first := signIn(t, host, "password")
	expect(t, host, first, 200)
	_, second := signIn(t, host, "password")
	expect(t, host, first, 401)
	expect(t, host, second, 200)
	if err := stop(); err != nil {
		t.Fatal("the service failed after SIGTERM: ", err)
	}

	host, stop = start(t, file)
	expect(t, host, second, 200)
	expect(t, host, first, 401)
	if err := stop(); err != nil {
		t.Fatal("the service failed after SIGTERM: ", err)
	}
}
