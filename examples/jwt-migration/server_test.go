package jwtmigration_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bearerkit/bearerkit/examples/internal/process"
)

// folder holds the built programs, "before" and "after".
var folder string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		var err error
		if folder, err = os.MkdirTemp("", "jwt-migration"); err != nil {
			panic(err)
		}
		defer os.RemoveAll(folder)
		if err := process.Build(folder, "./before", "./after"); err != nil {
			panic(err)
		}
		return m.Run()
	}())
}

const trialPassword = "correct horse battery staple"

// A server is a running process of one version of the service.
type server struct {
	*process.Process
	data string
}

// start starts a version of the service on a data folder, and waits until it
// listens. When the test ends, the log must have no secrets in it.
func start(t *testing.T, version, data string, args ...string) *server {
	t.Helper()
	p, err := process.Start(filepath.Join(folder, version), append([]string{"-port", "0", "-data", data}, args...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		out, _ := p.Stop(os.Kill)
		if strings.Contains(out, "panic") {
			t.Error(out)
		}
		for _, secret := range []string{"tat_", "eyJ", "$2a$", trialPassword} {
			if strings.Contains(out, secret) {
				t.Errorf("the log contains the secret %s", secret)
			}
		}
	})
	return &server{p, data}
}

// both runs a test on each version of the service.
func both(t *testing.T, test func(t *testing.T, s *server)) {
	t.Parallel()
	for _, version := range []string{"before", "after"} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			test(t, start(t, version, t.TempDir()))
		})
	}
}

// An answer is the response to a request.
type answer struct {
	*http.Response
	body string
}

// call sends a request. An empty token means no Authorization header.
func (s *server) call(t *testing.T, token, method, path, contentType, body string) answer {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, "http://"+s.Addr+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", contentType)
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{response, string(text)}
}

// expect calls a route and compares the response. If want is "", the body may be
// anything.
func (s *server) expect(t *testing.T, token, method, path, body string, status int, want string) answer {
	t.Helper()
	a := s.call(t, token, method, path, "application/json", body)
	if a.StatusCode != status || want != "" && a.body != want {
		t.Errorf("%s %s: got %d %s, want %d %s", method, path, a.StatusCode, a.body, status, want)
	}
	return a
}

// A session is the whole response of /login and /api/refresh.
type session struct {
	Token   string    `json:"token"`
	Expires time.Time `json:"expires"`
	User    struct {
		ID   string `json:"id"`
		Name string `json:"name"`
		Role string `json:"role"`
	} `json:"user"`
}

func (a answer) session(t *testing.T) (got session) {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(a.body))
	d.DisallowUnknownFields()
	if err := d.Decode(&got); err != nil {
		t.Fatal(err)
	}
	if a.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("got Cache-Control %q, want no-store", a.Header.Get("Cache-Control"))
	}
	return got
}

func (s *server) login(t *testing.T, name string) session {
	t.Helper()
	return s.expect(t, "", "POST", "/login", `{"username":"`+name+`","password":"`+trialPassword+`"}`, 200, "").session(t)
}

// signIn signs in at /Token, as new clients do, and returns the access token.
func (s *server) signIn(t *testing.T, name string) string {
	t.Helper()
	form := url.Values{"grant_type": {"password"}, "username": {name}, "password": {trialPassword}}
	a := s.call(t, "", "POST", "/Token", "application/x-www-form-urlencoded", form.Encode())
	var grant struct {
		AccessToken string `json:"access_token"`
	}
	if err := json.Unmarshal([]byte(a.body), &grant); err != nil || a.StatusCode != 200 {
		t.Fatalf("POST /Token: got %d %s, want 200 and JSON", a.StatusCode, a.body)
	}
	return grant.AccessToken
}
