package crash

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/bearerkit/bearerkit/examples/torture/internal/child"
	"github.com/bearerkit/bearerkit/examples/torture/internal/plant"
)

// A service is a child process that runs [Child], as its parent sees it.
type service struct {
	process *exec.Cmd
	stdin   io.Closer
	stdout  io.ReadCloser
	url     string
	client  *http.Client
}

// spawn starts the process. It does not wait until the service listens.
func spawn(tb testing.TB, store string, p *plant.Plant) *service {
	variables := []string{storeVariable + "=" + store}
	if p != nil {
		variables = append(variables, plantVariable+"="+p.Name)
	}
	process, err := child.Command("crash", variables...)
	if err != nil {
		tb.Fatal(err)
	}
	s := &service{process: process}
	if s.stdin, err = s.process.StdinPipe(); err != nil {
		tb.Fatal(err)
	}
	if s.stdout, err = s.process.StdoutPipe(); err != nil {
		tb.Fatal(err)
	}
	if err := s.process.Start(); err != nil {
		tb.Fatal(err)
	}
	return s
}

// await returns when the service listens.
func (s *service) await(tb testing.TB) {
	line, err := bufio.NewReader(s.stdout).ReadString('\n')
	if err != nil {
		s.kill()
		tb.Fatalf("crash: the service did not start: %v", err)
	}
	s.url = strings.TrimSpace(line)
	s.client = &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 2 * userCount}}
}

// kill sends SIGKILL and returns when the process has ended. A second call does
// nothing.
func (s *service) kill() {
	if s.process.ProcessState != nil {
		return
	}
	s.process.Process.Kill()
	s.process.Wait()
	s.stdin.Close()
	if s.client != nil {
		s.client.CloseIdleConnections()
	}
}

// cutOff stands for the status of a missing or incomplete answer.
const cutOff = 0

// doubtful reports whether the client cannot know if its request was done.
func doubtful(status int) bool {
	return status == cutOff || status == http.StatusServiceUnavailable
}

func (s *service) do(method, path string, form url.Values, header ...string) (status int, body []byte) {
	var content io.Reader
	if form != nil {
		content = strings.NewReader(form.Encode())
	}
	r, err := http.NewRequest(method, s.url+path, content)
	if err != nil {
		panic(err) // the URL is invalid, a bug of this program
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	answer, err := s.client.Do(r)
	if err != nil {
		return cutOff, nil
	}
	defer answer.Body.Close()
	if body, err = io.ReadAll(answer.Body); err != nil {
		return cutOff, nil
	}
	return answer.StatusCode, body
}

// A pair is an access token and its refresh token.
type pair struct{ access, refresh string }

// signIn requests a pair on a device, or on none, with the mark in the header. It returns
// 418 for a 200 without a pair.
func (s *service) signIn(user, client, device, mark string) (status int, p pair) {
	form := url.Values{"grant_type": {"password"}, "username": {user}, "password": {user}, "client_id": {client}}
	if device != "" {
		form.Set("device", device)
	}
	return s.token(form, markHeader, mark)
}

// refresh exchanges a refresh token for a pair. It returns 418 for a 200 without a pair.
// A late service waits before it answers.
func (s *service) refresh(client, refreshToken string, late bool) (status int, p pair) {
	var header []string
	if late {
		header = []string{lateHeader, "1"}
	}
	return s.token(url.Values{"grant_type": {"refresh_token"}, "refresh_token": {refreshToken}, "client_id": {client}}, header...)
}

func (s *service) token(form url.Values, header ...string) (status int, p pair) {
	status, body := s.do(http.MethodPost, "/Token", form, header...)
	if status != http.StatusOK {
		return status, p
	}
	var grant struct {
		AccessToken  string `json:"access_token"`
		RefreshToken string `json:"refresh_token"`
	}
	if err := json.Unmarshal(body, &grant); err != nil || grant.AccessToken == "" || grant.RefreshToken == "" {
		return http.StatusTeapot, p // a 200 without a pair
	}
	return status, pair{grant.AccessToken, grant.RefreshToken}
}

// validate returns the status of a request with the token. It returns 418 for a 200
// that names another user.
func (s *service) validate(user, token string) (status int) {
	status, body := s.do(http.MethodGet, "/me", nil, "Authorization", "Bearer "+token)
	if status == http.StatusOK && string(body) != user {
		return http.StatusTeapot
	}
	return status
}

func (s *service) revoke(client, token string) (status int) {
	status, _ = s.do(http.MethodPost, "/revoke", url.Values{"token": {token}, "client_id": {client}})
	return status
}

func (s *service) revokeUser(user string) (status int) {
	status, _ = s.do(http.MethodDelete, fmt.Sprintf("/users/%s/tokens", url.PathEscape(user)), nil)
	return status
}
