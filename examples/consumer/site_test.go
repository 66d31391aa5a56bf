package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/gin-gonic/gin"
	sqldriver "github.com/go-sql-driver/mysql"

	"github.com/bearerkit/bearerkit/internal/throwaway"
)

func TestMain(m *testing.M) {
	gin.SetMode(gin.ReleaseMode)
	slog.SetDefault(slog.New(slog.DiscardHandler)) // the security log
	code := throwaway.Main(m)
	if browser.stop != nil {
		browser.stop()
	}
	os.Exit(code)
}

// storeURLs return the value of -store for a new, empty store.
var storeURLs = map[string]func(*testing.T) string{
	"sqlite":   func(t *testing.T) string { return "sqlite:" + filepath.Join(t.TempDir(), "consumer.db") },
	"postgres": func(t *testing.T) string { return throwaway.Postgres(t) },
	"redis":    func(t *testing.T) string { return throwaway.Redis(t) },
	"memory":   func(t *testing.T) string { return "memory:" },
	"mysql": func(t *testing.T) string {
		dsn, err := sqldriver.ParseDSN(throwaway.MariaDB(t))
		if err != nil {
			t.Fatal(err)
		}
		u := url.URL{Scheme: "mysql", User: url.UserPassword(dsn.User, dsn.Passwd), Host: dsn.Addr, Path: "/" + dsn.DBName}
		if dsn.Net == "unix" {
			u.Host, u.RawQuery = "localhost", url.Values{"socket": {dsn.Addr}}.Encode()
		}
		return u.String()
	},
}

// onEach runs a test on several stores.
func onEach(t *testing.T, stores []string, test func(t *testing.T, storeURL string)) {
	t.Parallel()
	for _, name := range stores {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, storeURLs[name](t))
		})
	}
}

var databases = []string{"sqlite", "postgres"}

// A site is a process of the service.
type site struct {
	url     string
	service *service
	store   *store
}

func startSite(t *testing.T, c config) *site {
	t.Helper()
	store, err := openStore(t.Context(), c.store)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(store.close)
	s, err := newService(store, c)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(s.routes())
	if _, err := createTrialUsers(t.Context(), store, server.Listener.Addr()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		s.auth.Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		server.Close()
		<-ended
		s.sockets.Wait()
	})
	return &site{server.URL, s, store}
}

// expire lets the access tokens of a user expire.
func (s *site) expire(t *testing.T, userID string) {
	t.Helper()
	past := time.Now().Add(-time.Minute).Unix()
	if err := s.store.db.Exec("UPDATE tokenauth_tokens SET expires_at = ? WHERE user_id = ?", past, userID).Error; err != nil {
		t.Fatal(err)
	}
}

// A client is an app or a browser without a page.
type client struct {
	t       *testing.T
	url     string
	token   string         // sent as Bearer
	refresh string         // the refresh token of an app
	cookies []*http.Cookie // of a browser
}

func (s *site) client(t *testing.T) *client { return &client{t: t, url: s.url} }

// at returns the same client at another process.
func (c *client) at(s *site) *client {
	return &client{c.t, s.url, c.token, c.refresh, c.cookies}
}

func (c *client) request(method, path string, form url.Values, header ...string) *http.Request {
	c.t.Helper()
	r, err := http.NewRequestWithContext(c.t.Context(), method, c.url+path, strings.NewReader(form.Encode()))
	if err != nil {
		c.t.Fatal(err)
	}
	if form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	if c.token != "" {
		r.Header.Set("Authorization", "Bearer "+c.token)
	}
	for _, cookie := range c.cookies {
		if strings.HasPrefix(r.URL.Path, cookie.Path) {
			r.AddCookie(cookie)
		}
	}
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	return r
}

// send returns the response, whose body is read, and the body.
func (c *client) send(method, path string, form url.Values, header ...string) (*http.Response, string) {
	c.t.Helper()
	response, err := http.DefaultClient.Do(c.request(method, path, form, header...))
	if err != nil {
		c.t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	return response, string(body)
}

// want sends a request, whose response must have the status. It returns the body.
func (c *client) want(status int, method, path string, form url.Values, header ...string) string {
	c.t.Helper()
	response, body := c.send(method, path, form, header...)
	if response.StatusCode != status {
		c.t.Fatalf("%s %s: got %d %s, want %d", method, path, response.StatusCode, body, status)
	}
	return body
}

// credentials are the parameters of a sign-in on a device.
func credentials(user, password, device string) url.Values {
	v := url.Values{"grant_type": {"password"}, "username": {user}, "password": {password}}
	if device != "" {
		v.Set("device", device)
		v.Set("device_name", "The "+device)
	}
	return v
}

// signIn signs in at /Token.
func (c *client) signIn(user, device string) *client {
	c.t.Helper()
	return c.with(c.want(http.StatusOK, "POST", "/Token", credentials(user, trialPassword, device)))
}

// with returns the client that got the answer of /Token.
func (c *client) with(body string) *client {
	c.t.Helper()
	var answer struct {
		AccessToken  string `json:"access_token"`
		RefreshToken string `json:"refresh_token"`
	}
	if err := json.Unmarshal([]byte(body), &answer); err != nil || answer.AccessToken == "" || answer.RefreshToken == "" {
		c.t.Fatalf("POST /Token: got %s, %v", body, err)
	}
	return &client{t: c.t, url: c.url, token: answer.AccessToken, refresh: answer.RefreshToken}
}

// signInWithCookie signs in at /session.
func (c *client) signInWithCookie(user, device string) *client {
	c.t.Helper()
	return c.withCookies(c.send("POST", "/session", credentials(user, trialPassword, device)))
}

// withCookies returns the client that got the answer of /session.
func (c *client) withCookies(response *http.Response, body string) *client {
	c.t.Helper()
	var got []string
	for _, cookie := range response.Cookies() {
		got = append(got, fmt.Sprint(cookie.Name, cookie.Path, cookie.HttpOnly, cookie.Secure, cookie.SameSite))
	}
	want := []string{fmt.Sprint("session", "/", true, false, http.SameSiteLaxMode), fmt.Sprint("stay", "/session", true, false, http.SameSiteStrictMode)}
	if response.StatusCode != http.StatusNoContent || !slices.Equal(got, want) {
		c.t.Fatalf("POST /session: got %d %s, and the cookies %q, want %q", response.StatusCode, body, got, want)
	}
	return &client{t: c.t, url: c.url, cookies: response.Cookies()}
}

// refreshed refreshes at /session if the client has cookies, and otherwise at /Token.
func (c *client) refreshed() *client {
	c.t.Helper()
	if c.cookies != nil {
		return c.withCookies(c.send("POST", "/session", c.refreshing()))
	}
	return c.with(c.want(http.StatusOK, "POST", "/Token", c.refreshing()))
}

// refusesRefresh checks that the client cannot refresh, and keeps its cookies.
func (c *client) refusesRefresh() {
	c.t.Helper()
	path := "/Token"
	if c.cookies != nil {
		path = "/session"
	}
	response, body := c.send("POST", path, c.refreshing())
	if response.StatusCode != http.StatusBadRequest || body != refusedRefresh || len(response.Cookies()) != 0 {
		c.t.Errorf("POST %s: got %d %s and the cookies %v, want a refusal", path, response.StatusCode, body, response.Cookies())
	}
}

const refusedRefresh = `{"error":"invalid_grant","error_description":"The refresh token is not valid."}`

// refreshing returns the parameters of a refresh.
func (c *client) refreshing() url.Values {
	v := url.Values{"grant_type": {"refresh_token"}}
	if c.refresh != "" {
		v.Set("refresh_token", c.refresh)
	}
	return v
}

// devices returns the client's devices by name.
func (c *client) devices() map[string]device {
	c.t.Helper()
	var list []device
	body := c.want(http.StatusOK, "GET", "/api/devices", nil)
	if err := json.Unmarshal([]byte(body), &list); err != nil {
		c.t.Fatal(err)
	}
	byName := make(map[string]device)
	for _, d := range list {
		byName[d.Name] = d
	}
	return byName
}

// wait is how long a test waits for something that should happen soon.
const wait = time.Minute

// events opens /events. It returns after the first event, with a channel that gets
// the data of the last event.
func (c *client) events() <-chan string {
	c.t.Helper()
	response, err := http.DefaultClient.Do(c.request("GET", "/events", nil))
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { response.Body.Close() })
	lines := bufio.NewScanner(response.Body)
	var first struct{ Time time.Time }
	if !lines.Scan() || lines.Text() != "event: message" || !lines.Scan() || json.Unmarshal([]byte(strings.TrimPrefix(lines.Text(), "data: ")), &first) != nil || first.Time.IsZero() {
		c.t.Fatalf("GET /events: got %d and the line %q", response.StatusCode, lines.Text())
	}
	end := make(chan string, 1)
	go func() {
		last := ""
		for lines.Scan() {
			if event, ok := strings.CutPrefix(lines.Text(), "event: "); ok && lines.Scan() {
				last = event + " " + strings.TrimPrefix(lines.Text(), "data: ")
			}
		}
		end <- last
	}()
	return end
}

// socket opens /ws. It returns after the first message, with a channel that gets
// the close status and the reason.
func (c *client) socket() <-chan string {
	c.t.Helper()
	conn, _, err := websocket.Dial(c.t.Context(), c.url+"/ws", &websocket.DialOptions{HTTPHeader: c.request("GET", "/ws", nil).Header})
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { conn.CloseNow() })
	if _, text, err := conn.Read(c.t.Context()); err != nil || !strings.HasPrefix(string(text), `{"time":"`) {
		c.t.Fatalf("/ws: got %s, %v", text, err)
	}
	end := make(chan string, 1)
	go func() {
		for {
			if _, _, err := conn.Read(context.Background()); err != nil {
				end <- fmt.Sprint(int(websocket.CloseStatus(err)))
				return
			}
		}
	}()
	return end
}

// wantEnd checks how a stream ends.
func wantEnd(t *testing.T, stream <-chan string, want string) {
	t.Helper()
	select {
	case got := <-stream:
		if got != want {
			t.Errorf("the stream ended with %q, want %q", got, want)
		}
	case <-time.After(wait):
		t.Errorf("the stream did not end; want %q", want)
	}
}

// wantOpen checks that a stream has not ended.
func wantOpen(t *testing.T, stream <-chan string) {
	t.Helper()
	select {
	case got := <-stream:
		t.Errorf("the stream ended with %q, want it to stay open", got)
	default:
	}
}
