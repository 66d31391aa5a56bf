package prommetrics_test

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/bearerkit/bearerkit/storage/memory"
	"github.com/bearerkit/bearerkit/tokenauth"
	"github.com/bearerkit/bearerkit/tokenauth/place"
	"github.com/bearerkit/bearerkit/tokenauth/prommetrics"
	"github.com/bearerkit/bearerkit/tokenauth/tokenauthtest"
)

var alice = tokenauth.Principal{UserID: "17-alice-id", UserName: "alice", Roles: []string{"Reader"}}

// A host is a Service with clients, a live check and a fallback, so that it can
// report every event.
type host struct {
	t      *testing.T
	auth   *tokenauth.Service
	clock  tokenauthtest.Clock
	secret tokenauth.Secret // of the client "web"
	ill    bool             // whether the live check fails
	guard  http.Handler
}

// crowded returns ErrBusy for the user "crowd", panics for the user "ghost", and
// rejects the user "newcomer" with a reason.
type crowded struct{ *tokenauthtest.Users }

func (c crowded) Authenticate(ctx context.Context, credentials tokenauth.Credentials) (tokenauth.Principal, error) {
	if credentials.UserName == "crowd" {
		return tokenauth.Principal{}, tokenauth.ErrBusy
	}
	if credentials.UserName == "ghost" {
		panic("a bug in the host's code")
	}
	if credentials.UserName == "newcomer" {
		credentials.PasswordMatched()
		return tokenauth.Principal{}, &tokenauth.Rejection{Code: "unconfirmed", Description: "Confirm your address."}
	}
	return c.Users.Authenticate(ctx, credentials)
}

type clients map[string]tokenauth.Client

func (c clients) FindClient(_ context.Context, clientID string) (tokenauth.Client, error) {
	if client, ok := c[clientID]; ok {
		return client, nil
	}
	return tokenauth.Client{}, tokenauth.ErrNotFound
}

func newHost(t *testing.T, m *prommetrics.Metrics) *host {
	t.Helper()
	h := &host{t: t}
	users := new(tokenauthtest.Users)
	users.Add(alice, "correct horse")
	secret := tokenauth.NewSecret(rand.Text())
	digest := tokenauth.Digest(sha256.Sum256([]byte(secret.Reveal())))
	h.secret = secret
	var err error
	h.auth, err = tokenauth.New(new(memory.Store), crowded{users}, &tokenauth.Options{
		Clients: clients{
			"web":    {ID: "web", Secrets: []tokenauth.Digest{digest}, IntrospectsOwn: true},
			"mobile": {ID: "mobile"},
		},
		LiveCheck: func(context.Context, tokenauth.Token) error {
			if h.ill {
				return errors.New("connection refused")
			}
			return nil
		},
		Fallback: func(r *http.Request) (tokenauth.Principal, error) {
			if _, err := r.Cookie("session"); err != nil {
				return tokenauth.Principal{}, tokenauth.ErrRejected
			}
			return alice, nil
		},
		Places:    []place.Place{place.Scheme("Bearer"), place.Cookie{Name: "token"}},
		Devices:   &tokenauth.DeviceOptions{Parameter: "device", Max: 1},
		Refresh:   new(tokenauth.RefreshOptions),
		Keys:      new(tokenauth.KeyOptions),
		Observers: []func(context.Context, tokenauth.Event){m.Observe},
		Logger:    slog.New(slog.DiscardHandler),
		Now:       h.clock.Now,
	})
	if err != nil {
		t.Fatal(err)
	}
	h.guard = h.auth.RequireBearer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	return h
}

// issue returns an access token that was issued to the client.
func (h *host) issue(clientID string) string {
	h.t.Helper()
	grant, err := h.auth.Issue(h.t.Context(), alice, &tokenauth.IssueOptions{ClientID: clientID})
	if err != nil {
		h.t.Fatal(err)
	}
	return grant.AccessToken.Reveal()
}

func (h *host) signIn(status int, userName, password, clientID string) {
	h.t.Helper()
	h.post(h.auth.TokenHandler(), status, url.Values{
		"grant_type": {"password"}, "username": {userName}, "password": {password}, "client_id": {clientID}, "client_secret": {h.secret.Reveal()},
	})
}

// refresh sends a refresh token from an address.
func (h *host) refresh(status int, refreshToken tokenauth.Secret, clientID, from string) {
	h.t.Helper()
	form := url.Values{
		"grant_type": {"refresh_token"}, "refresh_token": {refreshToken.Reveal()}, "client_id": {clientID}, "client_secret": {h.secret.Reveal()},
	}
	r := httptest.NewRequest("POST", "/", strings.NewReader(form.Encode()))
	r.RemoteAddr = from
	h.serve(h.auth.TokenHandler(), status, r)
}

// give posts the token to the endpoint, as the client "web".
func (h *host) give(endpoint http.Handler, status int, accessToken string) {
	h.t.Helper()
	h.post(endpoint, status, url.Values{"token": {accessToken}, "client_id": {"web"}, "client_secret": {h.secret.Reveal()}})
}

func (h *host) post(endpoint http.Handler, status int, form url.Values) {
	h.t.Helper()
	h.serve(endpoint, status, httptest.NewRequest("POST", "/", strings.NewReader(form.Encode())))
}

func (h *host) get(guard http.Handler, status int, authorization ...string) {
	h.t.Helper()
	r := httptest.NewRequest("GET", "/", nil)
	r.Header["Authorization"] = authorization
	h.serve(guard, status, r)
}

func (h *host) serve(handler http.Handler, status int, r *http.Request) {
	h.t.Helper()
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, r)
	if w.Code != status {
		h.t.Errorf("got status %d with body %s, want %d", w.Code, w.Body, status)
	}
}

// A Service can report every pair of kind and reason that Metrics has from the
// start, and reports no other pair.
func TestEveryEventOfAServiceIsCounted(t *testing.T) {
	t.Parallel()
	m := prommetrics.New()
	registry := register(t, m)
	known := slices.Sorted(maps.Keys(events(t, registry)))
	h := newHost(t, m)
	happens := func(sort string, what func()) {
		t.Helper()
		before := events(t, registry)[sort]
		what()
		if events(t, registry)[sort] <= before {
			t.Errorf("the event %q was not counted", sort)
		}
	}

	happens("issued ", func() { h.signIn(200, "alice", "correct horse", "web") })
	happens("sign_in_refused ", func() { h.signIn(400, "newcomer", "x", "web") })
	happens("sign_in_refused malformed", func() { h.post(h.auth.TokenHandler(), 400, nil) })
	happens("sign_in_refused client", func() { h.signIn(400, "alice", "correct horse", "unknown") })
	happens("sign_in_refused credentials", func() { h.signIn(400, "bob", "wrong", "web") })
	happens("sign_in_refused throttled", func() {
		for i := range 4 {
			h.signIn(400, "bob", fmt.Sprint("wrong", i), "web")
		}
		h.signIn(429, "bob", "wrong", "web")
	})
	happens("unavailable busy", func() { h.signIn(503, "crowd", "x", "web") })

	happens("unavailable internal", func() { h.signIn(500, "ghost", "x", "web") })

	replaced := h.issue("web")
	good := h.issue("web")
	happens("validated ", func() { h.get(h.guard, 200, "Bearer "+good) })
	happens("validated fallback", func() {
		r := httptest.NewRequest("GET", "/", nil)
		r.AddCookie(&http.Cookie{Name: "session", Value: "x"})
		h.serve(h.guard, 200, r)
	})
	keys, err := tokenauth.NewKeys(h.auth)
	if err != nil {
		t.Fatal(err)
	}
	owner, err := h.auth.Validate(t.Context(), good)
	if err != nil {
		t.Fatal(err)
	}
	var key tokenauth.Secret
	var made tokenauth.Key
	happens("issued key", func() {
		if key, made, err = keys.Create(t.Context(), owner, tokenauth.Key{Name: "script"}); err != nil {
			t.Fatal(err)
		}
	})
	admits := tokenauth.Requirement{Keys: true}.Guard(h.auth)(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	happens("validated key", func() { h.get(admits, 200, "Bearer "+key.Reveal()) })
	happens("refused key", func() { h.get(h.guard, 403, "Bearer "+key.Reveal()) })
	happens("revoked key", func() {
		if err := keys.Revoke(t.Context(), owner.Principal.UserID, made.ID); err != nil {
			t.Error(err)
		}
	})
	happens("refused malformed", func() { h.get(h.guard, 400, "Bearer "+good, "Bearer "+good) })
	happens("refused no_credentials", func() { h.get(h.guard, 401) })
	happens("refused invalid", func() { h.get(h.guard, 401, "Bearer nonsense") })
	happens("refused replaced", func() { h.get(h.guard, 401, "Bearer "+replaced) })
	happens("refused role", func() { h.get(h.auth.RequireRole("Administrator")(h.guard), 403, "Bearer "+good) })
	happens("refused client", func() { h.get(h.auth.RequireClient("mobile")(h.guard), 403, "Bearer "+good) })
	happens("refused cross_site", func() {
		r := httptest.NewRequest("POST", "/", nil)
		r.Header = http.Header{"Cookie": {"__Host-token=" + good}, "Sec-Fetch-Site": {"cross-site"}}
		h.serve(h.guard, 403, r)
	})
	happens("unavailable canceled", func() {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		r := httptest.NewRequest("GET", "/", nil).WithContext(ctx)
		r.Header.Set("Authorization", "Bearer "+good)
		h.serve(h.guard, 503, r)
	})
	happens("unavailable ", func() {
		h.ill = true
		h.get(h.guard, 503, "Bearer "+good)
		h.ill = false
	})

	handlers, _, err := h.auth.Handlers("", tokenauth.Endpoints{Revocation: "/revoke", Introspection: "/introspect"})
	if err != nil {
		t.Fatal(err)
	}
	introspection := handlers["/introspect"]
	happens("introspected ", func() { h.give(introspection, 200, good) })
	happens("introspected invalid", func() { h.give(introspection, 200, "nonsense") })
	happens("introspected replaced", func() { h.give(introspection, 200, replaced) })
	happens("introspected client", func() { h.give(introspection, 200, h.issue("mobile")) })
	h.clock.Advance(15 * 24 * time.Hour)
	happens("introspected expired", func() { h.give(introspection, 200, good) })
	happens("refused expired", func() { h.get(h.guard, 401, "Bearer "+good) })

	happens("revoked ", func() { h.give(handlers["/revoke"], 200, good) })
	happens("revoked devices", func() {
		h.issue("web")
		h.clock.Advance(time.Second) // the device is the newer sign-in
		if _, err := h.auth.Issue(t.Context(), alice, &tokenauth.IssueOptions{ClientID: "web", Device: "phone"}); err != nil {
			t.Error(err)
		}
	})
	issued, err := h.auth.Issue(t.Context(), alice, &tokenauth.IssueOptions{ClientID: "web"})
	if err != nil {
		t.Fatal(err)
	}
	const here, elsewhere = "192.0.2.1:1", "203.0.113.7:1"
	happens("refreshed ", func() { h.refresh(200, issued.RefreshToken, "web", here) })
	happens("refreshed repeated", func() { h.refresh(200, issued.RefreshToken, "web", here) })
	happens("refreshed repeated_elsewhere", func() { h.refresh(200, issued.RefreshToken, "web", elsewhere) })
	happens("refresh_refused invalid", func() { h.refresh(400, tokenauth.NewSecret("nonsense"), "web", here) })
	happens("refresh_refused client", func() { h.refresh(400, issued.RefreshToken, "unknown", here) })
	h.clock.Advance(time.Minute)
	happens("revoked reused", func() { h.refresh(400, issued.RefreshToken, "web", here) })
	if issued, err = h.auth.Issue(t.Context(), alice, &tokenauth.IssueOptions{ClientID: "web"}); err != nil {
		t.Fatal(err)
	}
	happens("refresh_refused reused", func() {
		h.refresh(200, issued.RefreshToken, "web", here)
		h.clock.Advance(time.Minute)
		h.refresh(400, issued.RefreshToken, "web", here)
	})
	if issued, err = h.auth.Issue(t.Context(), alice, &tokenauth.IssueOptions{ClientID: "web"}); err != nil {
		t.Fatal(err)
	}
	h.clock.Advance(30 * 24 * time.Hour)
	happens("refresh_refused expired", func() { h.refresh(400, issued.RefreshToken, "web", here) })
	happens("revoked user", func() {
		if err := h.auth.RevokeUser(t.Context(), "17"); err != nil {
			t.Error(err)
		}
	})
	happens("revoked client", func() {
		if err := h.auth.RevokeClient(t.Context(), "mobile"); err != nil {
			t.Error(err)
		}
	})
	happens("revoked all", func() {
		if err := h.auth.RevokeAll(t.Context()); err != nil {
			t.Error(err)
		}
	})

	counts := events(t, registry)
	if sorts := slices.Sorted(maps.Keys(counts)); !slices.Equal(sorts, known) {
		t.Errorf("the metrics had the events\n%q\nat the start, and now have\n%q", known, sorts)
	}
	for sort, n := range counts {
		if n == 0 {
			t.Errorf("the test did not cause the event %q", sort)
		}
	}
}

// The exported metrics contain no part of a user, a client, a device, an address or a token.
func TestMetricsContainNoPersonalData(t *testing.T) {
	t.Parallel()
	m := prommetrics.New()
	h := newHost(t, m)
	good := h.issue("web")
	h.get(h.guard, 200, "Bearer "+good)
	h.signIn(400, "mallory", "hunter2", "web")
	_, err := h.auth.SignIn(t.Context(), tokenauth.Credentials{
		UserName: "alice", Password: tokenauth.NewSecret("correct horse"), ClientID: "web", ClientSecret: h.secret,
		Device: "ID-of-a-phone", DeviceName: "Ann's phone", RemoteAddr: netip.MustParseAddr("203.0.113.7"),
	})
	if err != nil {
		t.Fatal(err)
	}

	text := scrape(t, register(t, m, m.Cache(h.auth)))
	for _, want := range []string{
		`tokenauth_events_total{kind="validated",reason=""} 1`,
		`tokenauth_events_total{kind="issued",reason=""} 2`,
		`tokenauth_event_duration_seconds_count{kind="issued"} 2`,
		`tokenauth_event_duration_seconds_count{kind="sign_in_refused"} 1`,
	} {
		if !strings.Contains(text, want+"\n") {
			t.Errorf("the metrics lack the line %s", want)
		}
	}
	for _, secret := range []string{"alice", "17-", "mallory", "hunter2", "correct", "web", "phone", "203.0.113", "tat_", good[20:40]} {
		if strings.Contains(text, secret) {
			t.Errorf("the metrics contain %q", secret)
		}
	}
	if strings.Contains(text, "tokenauth_cache_") {
		t.Error("the metrics have tokenauth_cache_…, but the Service has no cache")
	}
}

func scrape(t *testing.T, g prometheus.Gatherer) string {
	t.Helper()
	w := httptest.NewRecorder()
	promhttp.HandlerFor(g, promhttp.HandlerOpts{}).ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	body, err := io.ReadAll(w.Result().Body)
	if err != nil || w.Code != http.StatusOK {
		t.Fatal(w.Code, err)
	}
	return string(body)
}

// A host with two Services can give the metrics of each a label of its own.
func TestLabelsSeparateTwoServices(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewPedanticRegistry()
	for i, realm := range []string{"staff", "customers"} {
		m := prommetrics.New()
		h := newHost(t, m)
		prometheus.WrapRegistererWith(prometheus.Labels{"realm": realm}, registry).MustRegister(m, m.Cache(h.auth))
		for range i + 1 {
			h.issue("web")
		}
	}
	text := scrape(t, registry)
	for realm, n := range map[string]int{"staff": 1, "customers": 2} {
		if want := fmt.Sprintf("tokenauth_events_total{kind=\"issued\",realm=%q,reason=\"\"} %d\n", realm, n); !strings.Contains(text, want) {
			t.Errorf("the metrics lack the line %s", want)
		}
	}
}
