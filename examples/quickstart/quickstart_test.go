package main_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	sqldriver "github.com/go-sql-driver/mysql"

	build "github.com/bearerkit/bearerkit/examples/internal/process"
	"github.com/bearerkit/bearerkit/internal/throwaway"
)

// programs is the folder of the programs quickstart and anystore.
var programs string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "quickstart")
		if err != nil {
			panic(err)
		}
		defer os.RemoveAll(dir)
		programs = dir
		if err := build.Build(dir, ".", "./anystore"); err != nil {
			panic(err)
		}
		return throwaway.Main(m)
	}())
}

// A process is a running quickstart or anystore.
type process struct {
	host   string
	cmd    *exec.Cmd
	output output
	ended  chan error
}

// output collects what a process writes to stdout and stderr.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// start starts the quickstart.
func start(t *testing.T, args ...string) *process {
	t.Helper()
	return startProgram(t, "quickstart", args...)
}

func startProgram(t *testing.T, program string, args ...string) *process {
	t.Helper()
	p := &process{cmd: exec.Command(filepath.Join(programs, program), args...), ended: make(chan error, 1)}
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.cmd.Stderr = &p.output
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(stdout)
	line, err := lines.ReadString('\n')
	if found := regexp.MustCompile(`http://[0-9.]+:[0-9]+`).FindString(line); err == nil && found != "" {
		p.host = found
	}
	go func() {
		io.Copy(&p.output, io.MultiReader(strings.NewReader(line), lines))
		p.ended <- p.cmd.Wait()
	}()
	t.Cleanup(func() { p.stop(t, syscall.SIGKILL) })
	return p
}

// stop ends the process and returns its output.
func (p *process) stop(t *testing.T, signal os.Signal) (string, error) {
	t.Helper()
	p.cmd.Process.Signal(signal)
	select {
	case err := <-p.ended:
		p.ended <- err
		return p.output.String(), err
	case <-time.After(time.Minute):
		t.Fatalf("the process did not end after %v", signal)
		return "", nil
	}
}

type token struct {
	AccessToken string `json:"access_token"`
	UserID      string `json:"userId"`
	Role        string `json:"role"`
}

func (p *process) signIn(t *testing.T, user string) (status int, tok token) {
	response, err := http.PostForm(p.host+"/Token", url.Values{"grant_type": {"password"}, "username": {user}, "password": {"password"}})
	if err != nil {
		t.Error(err)
		return 0, tok
	}
	defer response.Body.Close()
	if err := json.NewDecoder(response.Body).Decode(&tok); err != nil {
		t.Error(err)
	}
	return response.StatusCode, tok
}

func (p *process) get(t *testing.T, path, accessToken string) (int, string) {
	t.Helper()
	r, err := http.NewRequest("GET", p.host+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if accessToken != "" {
		r.Header.Set("Authorization", "Bearer "+accessToken)
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(body)
}

var stores = map[string]func(*testing.T) string{
	"memory":   func(*testing.T) string { return "memory:" },
	"sqlite":   func(t *testing.T) string { return "sqlite:" + filepath.Join(t.TempDir(), "a file%20?.db") },
	"postgres": func(t *testing.T) string { return throwaway.Postgres(t) },
	"redis":    func(t *testing.T) string { return throwaway.StartRedis(t).DSN() },
	"mysql": func(t *testing.T) string {
		c, err := sqldriver.ParseDSN(throwaway.MariaDB(t))
		if err != nil {
			t.Fatal(err)
		}
		u := url.URL{Scheme: "mysql", User: url.UserPassword(c.User, c.Passwd), Host: c.Addr, Path: "/" + c.DBName}
		if c.Net == "unix" {
			u.Host, u.RawQuery = "", url.Values{"socket": {c.Addr}}.Encode()
		}
		return u.String()
	},
}

func TestServesWithEachStore(t *testing.T) {
	t.Parallel()
	for name, open := range stores {
		t.Run("anystore "+name, func(t *testing.T) {
			t.Parallel()
			testServes(t, "anystore", name, open(t))
		})
	}
	for _, name := range []string{"memory", "sqlite"} {
		t.Run("quickstart "+name, func(t *testing.T) {
			t.Parallel()
			testServes(t, "quickstart", name, stores[name](t))
		})
	}
}

func testServes(t *testing.T, program, name, store string) {
	p := startProgram(t, program, "-addr", "127.0.0.1:0", "-store", store)
	if p.host == "" {
		out, _ := p.stop(t, syscall.SIGKILL)
		t.Fatal("it did not start: ", out)
	}
	status, admin := p.signIn(t, "username")
	if status != 200 || admin.Role != "Administrator" {
		t.Fatalf("signing in answered %d, role %q", status, admin.Role)
	}
	_, reader := p.signIn(t, "reader")

	want := fmt.Sprintf(`{"userId":%q,"userName":"reader","role":"Reader"}`, reader.UserID)
	if status, body := p.get(t, "/me", reader.AccessToken); status != 200 || body != want {
		t.Errorf("/me answered %d %s, want %s", status, body, want)
	}
	for _, test := range []struct {
		path, accessToken string
		status            int
	}{
		{"/admin", admin.AccessToken, 200}, {"/admin", reader.AccessToken, 403},
		{"/admin", "", 401}, {"/me", "", 401}, {"/health", "", 200},
	} {
		if status, body := p.get(t, test.path, test.accessToken); status != test.status {
			t.Errorf("%s answered %d %s, want %d", test.path, status, body, test.status)
		}
	}
	manyAtOnce(t, p)

	_, last := p.signIn(t, "username")
	out, err := p.stop(t, syscall.SIGTERM)
	if err != nil {
		t.Errorf("it ended with error %v and output %s", err, out)
	}
	if !strings.Contains(out, "FOR TRIALS ONLY") {
		t.Errorf("it did not warn of the trial accounts: %s", out)
	}
	if name == "memory" {
		return
	}
	p = startProgram(t, program, "-addr", "127.0.0.1:0", "-store", store)
	if status, body := p.get(t, "/me", last.AccessToken); status != 200 {
		t.Errorf("the token was refused after a restart: %d %s", status, body)
	}
	out, err = p.stop(t, os.Interrupt)
	// With Redis the users are in memory, and each start creates them again.
	if err != nil || strings.Contains(out, "FOR TRIALS ONLY") != (name == "redis") {
		t.Errorf("it ended with error %v and output %s", err, out)
	}
}

// manyAtOnce signs one user in many times concurrently. All sign-ins must succeed,
// and exactly one of the tokens must be valid. If a busy machine takes longer than
// the service waits, a client gets 503 and tries again.
func manyAtOnce(t *testing.T, p *process) {
	t.Helper()
	n := 16
	if throwaway.Long() {
		n = 200
	}
	tokens := make([]string, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			status, tok := p.signIn(t, "username")
			for try := 1; status == 503 && try < 10; try++ {
				status, tok = p.signIn(t, "username")
			}
			if status != 200 {
				t.Errorf("one of %d sign-ins answered %d", n, status)
			}
			tokens[i] = tok.AccessToken
		})
	}
	wg.Wait()
	valid := 0
	for _, accessToken := range tokens {
		switch status, body := p.get(t, "/me", accessToken); status {
		case 200:
			valid++
		case 401:
		default:
			t.Errorf("/me answered %d %s", status, body)
		}
	}
	if valid != 1 {
		t.Errorf("%d of %d tokens are valid, want 1", valid, n)
	}
}

// With the cache, a process refuses a token that another process on the same
// database replaced.
func TestRevocationReachesOtherProcess(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"postgres", "redis"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			testCache(t, stores[name](t))
		})
	}
}

func testCache(t *testing.T, store string) {
	a := startProgram(t, "anystore", "-addr", "127.0.0.1:0", "-store", store, "-cache")
	b := startProgram(t, "anystore", "-addr", "127.0.0.1:0", "-store", store, "-cache")
	if a.host == "" || b.host == "" {
		t.Fatal("it did not start: ", a.output.String(), b.output.String())
	}
	rounds := 4
	if throwaway.Long() {
		rounds = 20
	}
	for range rounds {
		_, first := a.signIn(t, "username")
		for range 3 {
			if status, body := b.get(t, "/me", first.AccessToken); status != 200 {
				t.Fatalf("/me answered %d %s", status, body)
			}
		}
		_, second := a.signIn(t, "username")
		if status, body := b.get(t, "/me", second.AccessToken); status != 200 {
			t.Fatalf("a token of the other process: got %d %s, want 200", status, body)
		}
		if status, _ := b.get(t, "/me", first.AccessToken); status != 401 {
			t.Fatalf("a token that the other process replaced: got %d, want 401", status)
		}
	}
}

// Guesses are throttled unless the flag turns the throttle off.
func TestThrottlesGuessesUnlessOff(t *testing.T) {
	t.Parallel()
	for flag, throttled := range map[string]bool{"-throttle=on": true, "-throttle=off": false} {
		t.Run(flag, func(t *testing.T) {
			t.Parallel()
			p := start(t, "-addr", "127.0.0.1:0", "-store", "memory:", flag)
			got := 0
			for i := range 7 {
				response, err := http.PostForm(p.host+"/Token", url.Values{"grant_type": {"password"}, "username": {"reader"}, "password": {fmt.Sprint("guess ", i)}})
				if err != nil {
					t.Fatal(err)
				}
				response.Body.Close()
				if response.StatusCode == http.StatusTooManyRequests && response.Header.Get("Retry-After") != "" {
					got++
				}
			}
			if (got > 0) != throttled {
				t.Errorf("%d of 7 guesses were throttled", got)
			}
		})
	}
}

// The documented call, to the letter.
func TestDocumentedCall(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("curl"); err != nil {
		throwaway.Need(t, "curl", errors.New("needs curl; to get it: apt-get install curl"))
	}
	p := start(t, "-addr", "127.0.0.1:0", "-store", "memory:")
	curl := exec.Command("/bin/sh", "-c", `curl --location --request GET "$HOST/Token" \
  --header 'Content-Type: application/json' \
  --data-urlencode 'grant_type=password' \
  --data-urlencode 'username=username' \
  --data-urlencode 'password=password'`)
	curl.Env = append(os.Environ(), "HOST="+p.host)
	out, err := curl.Output()
	if err != nil {
		t.Fatal(err)
	}
	want := regexp.MustCompile(`^\{"access_token":"[A-Za-z0-9_-]+","token_type":"bearer","expires_in":1209599,"userName":"username",` +
		`"userId":"[^"]+","role":"Administrator",".issued":"[^"]+ GMT",".expires":"[^"]+ GMT"\}$`)
	if !want.Match(out) {
		t.Errorf("answered %s", out)
	}
}

func TestRefusesToStart(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		program string
		args    []string
		says    string
	}{
		"trial accounts on a public address": {"quickstart", []string{"-addr", "0.0.0.0:0", "-store", "memory:"}, "loopback"},
		"PostgreSQL in the quickstart":       {"quickstart", []string{"-store", "postgres://service:hunter2@localhost/x", "-addr", "127.0.0.1:0"}, "go run ./examples/quickstart/anystore"},
		"no URL":                             {"anystore", []string{"-addr", "127.0.0.1:0", "-store", "postgres"}, "-store postgres needs a URL, such as postgres://user:password@localhost/database"},
		"MySQL without a URL":                {"anystore", []string{"-addr", "127.0.0.1:0", "-store", "mysql:x"}, "-store mysql needs a URL"},
		"an extra argument":                  {"quickstart", []string{"-addr", "127.0.0.1:0", "-store", "memory:", "cache"}, `unexpected argument "cache"`},
		"unknown store":                      {"quickstart", []string{"-addr", "127.0.0.1:0", "-store", "mongodb://x"}, `-store must begin with one of memory:, sqlite:, not with "mongodb:"`},
		"no path":                            {"quickstart", []string{"-addr", "127.0.0.1:0", "-store", "sqlite:"}, "path"},
		"PostgreSQL is down":                 {"anystore", []string{"-addr", "127.0.0.1:0", "-store", "postgres://service:hunter2@127.0.0.1:1/x"}, "anystore:"},
		"cache on SQLite":                    {"quickstart", []string{"-addr", "127.0.0.1:0", "-store", "sqlite:" + filepath.Join(t.TempDir(), "x.db"), "-cache"}, "Watcher"},
		"cache on MySQL":                     {"anystore", []string{"-addr", "127.0.0.1:0", "-store", "mysql://service:hunter2@127.0.0.1:1/x", "-cache"}, "anystore:"},
		"Redis is down":                      {"anystore", []string{"-addr", "127.0.0.1:0", "-store", "redis://service:hunter2@127.0.0.1:1"}, "anystore:"},
		"invalid Redis URL":                  {"anystore", []string{"-addr", "127.0.0.1:0", "-store", "redis://a:hunter2%zz@x"}, "not a valid "},
		"invalid MySQL URL":                  {"anystore", []string{"-addr", "127.0.0.1:0", "-store", "mysql://a:hunter2%zz@x"}, "not a valid "},
		"no throttle on a public address":    {"quickstart", []string{"-addr", "0.0.0.0:0", "-store", "memory:", "-throttle=off"}, "loopback"},
		"unknown value of -throttle":         {"quickstart", []string{"-addr", "127.0.0.1:0", "-store", "memory:", "-throttle=some"}, "on or off"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := startProgram(t, test.program, test.args...)
			var out string
			select {
			case err := <-p.ended:
				p.ended <- err
				if out = p.output.String(); err == nil {
					t.Error("it ended without an error")
				}
			case <-time.After(time.Minute):
				t.Fatal("it is still running, want an error")
			}
			if !strings.Contains(out, test.says) || strings.Contains(out, "hunter2") {
				t.Errorf("got output %s, want it to contain %q and no password", out, test.says)
			}
		})
	}
}

// The trial accounts of an earlier start keep the program from listening on a
// public address. A port in use is an error that says what to do.
func TestRefusesAddress(t *testing.T) {
	t.Parallel()
	store := "sqlite:" + filepath.Join(t.TempDir(), "x.db")
	first := start(t, "-addr", "127.0.0.1:0", "-store", store)
	if status, _ := first.signIn(t, "username"); status != 200 {
		t.Fatalf("answered %d", status)
	}
	for says, args := range map[string][]string{
		"trial account":                     {"-addr", "0.0.0.0:0", "-store", store},
		"choose another address with -addr": {"-addr", strings.TrimPrefix(first.host, "http://"), "-store", "memory:"},
	} {
		p := start(t, args...)
		select {
		case err := <-p.ended:
			p.ended <- err
			if out := p.output.String(); err == nil || !strings.Contains(out, says) {
				t.Errorf("got output %s, want it to contain %q", out, says)
			}
		case <-time.After(time.Minute):
			t.Fatalf("%v: it is still running, want an error", args)
		}
	}
}
