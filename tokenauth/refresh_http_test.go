package tokenauth_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bearerkit/bearerkit/storage/memory"
	"github.com/bearerkit/bearerkit/tokenauth"
)

// A tokenAnswer is what a client reads of an answer of the token endpoint.
type tokenAnswer struct {
	status       int
	body         string
	AccessToken  string `json:"access_token"`
	RefreshToken string `json:"refresh_token"`
	ExpiresIn    int64  `json:"expires_in"`
	Error        string `json:"error"`
	Description  string `json:"error_description"`
}

func answerOf(t testing.TB, w *httptest.ResponseRecorder) (a tokenAnswer) {
	t.Helper()
	if err := json.Unmarshal(w.Body.Bytes(), &a); err != nil {
		t.Fatalf("answered %d %s: %v", w.Code, w.Body, err)
	}
	a.status, a.body = w.Code, w.Body.String()
	return a
}

func refreshGrant(refreshToken string) string {
	return "grant_type=refresh_token&refresh_token=" + refreshToken
}

// refreshOverHTTP refreshes at the token endpoint. Basic is as in post.
func refreshOverHTTP(t testing.TB, auth *tokenauth.Service, basic, form string) tokenAnswer {
	t.Helper()
	return answerOf(t, post(auth, basic, form))
}

// refusesGrant checks that an answer is the constant answer to a refresh token that is
// not valid.
func refusesGrant(t testing.TB, name string, a tokenAnswer) {
	t.Helper()
	if want := `{"error":"invalid_grant","error_description":"The refresh token is not valid."}`; a.status != http.StatusBadRequest || a.body != want {
		t.Errorf("%s: answered %d %s, want 400 %s", name, a.status, a.body, want)
	}
}

// A refresh is answered like a sign-in, by POST and by the GET that labels its body as
// JSON. The refresh token is behind expires_in, where ASP.NET Katana has it.
func TestRefreshIsAnsweredLikeASignIn(t *testing.T) {
	t.Parallel()
	now := time.Date(2020, 9, 13, 9, 35, 33, 0, time.UTC)
	auth := refreshing(t, new(memory.Store), tokenauth.Options{Now: func() time.Time { return now }, ResponseAttributes: []string{"tenant"}})
	w := post(auth, "", passwordGrant)
	for _, method := range []string{"sign-in", "POST", "GET", "POST"} {
		a := answerOf(t, w)
		if method != "sign-in" {
			now = now.Add(10 * time.Minute)
			r := httptest.NewRequest(method, "/Token", strings.NewReader(refreshGrant(a.RefreshToken)))
			if r.Header.Set("Content-Type", "application/x-www-form-urlencoded"); method == "GET" {
				r.Header.Set("Content-Type", "application/json")
			}
			w = httptest.NewRecorder()
			auth.TokenHandler().ServeHTTP(w, r)
			a = answerOf(t, w)
		}
		want := fmt.Sprintf(`{"access_token":"%s","token_type":"bearer","expires_in":899,"refresh_token":"%s","userName":"alice","userId":"17","role":"Reader,Staff",".issued":"%s",".expires":"%s","tenant":"north"}`,
			a.AccessToken, a.RefreshToken, now.Format(http.TimeFormat), now.Add(15*time.Minute).Format(http.TimeFormat))
		if a.status != http.StatusOK || a.body != want || !strings.HasPrefix(a.RefreshToken, "trt_") || len(a.RefreshToken) != 124 {
			t.Errorf("%s: answered %d %s, want 200 %s", method, a.status, a.body, want)
		}
		if h := w.Header(); h.Get("Content-Type") != "application/json;charset=UTF-8" || h.Get("Cache-Control") != "no-store" || h.Get("Pragma") != "no-cache" {
			t.Errorf("%s: the headers are %v", method, h)
		}
		expect(t, auth, a.AccessToken, "valid")
	}
}

// A repetition may come half a minute after the refresh, so its expires_in counts that
// time. The other members are the same.
func TestExpiresInOfARepetition(t *testing.T) {
	t.Parallel()
	now := time.Date(2020, 9, 13, 9, 35, 33, 700e6, time.UTC)
	auth := refreshing(t, new(memory.Store), tokenauth.Options{Now: func() time.Time { return now }})
	first := answerOf(t, post(auth, "", passwordGrant))
	second := refreshOverHTTP(t, auth, "", refreshGrant(first.RefreshToken))
	if second.ExpiresIn != 899 {
		t.Errorf("a refresh: expires_in is %d, want 899", second.ExpiresIn)
	}
	for _, test := range []struct {
		after time.Duration
		want  int64
	}{{0, 899}, {10 * time.Second, 889}, {-5 * time.Second, 899}} { // the last by a clock that is behind
		at := now
		now = now.Add(test.after)
		again := refreshOverHTTP(t, auth, "", refreshGrant(first.RefreshToken))
		now = at
		want := strings.Replace(second.body, `"expires_in":899`, fmt.Sprintf(`"expires_in":%d`, test.want), 1)
		if test.after < -2*time.Second {
			refusesGrant(t, "a clock that was set back", again)
		} else if again.status != http.StatusOK || again.body != want {
			t.Errorf("repeated after %v: answered %d %s, want 200 %s", test.after, again.status, again.body, want)
		}
	}
}

// A counted storage counts the calls that a refresh makes.
type counted struct {
	scripted
	finds, writes atomic.Int32
}

func (c *counted) FindRefresh(ctx context.Context, slots []tokenauth.Slot) ([]tokenauth.Found, error) {
	c.finds.Add(1)
	if err := c.step(ctx, "FindRefresh"); err != nil {
		return nil, err
	}
	return c.Store.FindRefresh(ctx, slots)
}

func (c *counted) Refresh(ctx context.Context, was, t tokenauth.Token) (bool, error) {
	c.writes.Add(1)
	if err := c.step(ctx, "Refresh"); err != nil {
		return false, err
	}
	return c.Store.Refresh(ctx, was, t)
}

func (c *counted) calls() (finds, writes int32) { return c.finds.Swap(0), c.writes.Swap(0) }

// A string that is not a refresh token is refused before the storage is asked. The throttle
// does not count it, because a refresh token cannot be guessed.
func TestGarbageIsRefusedBeforeTheStorageIsAsked(t *testing.T) {
	t.Parallel()
	store := new(counted)
	auth := refreshing(t, store, tokenauth.Options{})
	first := answerOf(t, post(auth, "", passwordGrant))
	other := refreshing(t, new(memory.Store), tokenauth.Options{Refresh: &tokenauth.RefreshOptions{Prefix: "zzz_"}})
	foreign := answerOf(t, post(other, "", passwordGrant)).RefreshToken
	store.onCall(func(_ context.Context, method string) error {
		t.Errorf("the storage was called: %s", method)
		return nil
	})
	for name, garbage := range map[string]string{
		"a word":             "rubbish",
		"the prefix":         "trt_",
		"an access token":    first.AccessToken,
		"a changed token":    flipped(first.RefreshToken),
		"another prefix":     foreign,
		"only the body":      strings.TrimPrefix(foreign, "zzz_"),
		"a space behind":     first.RefreshToken + "+",
		"a line break":       first.RefreshToken + "%0A",
		"two refresh tokens": first.RefreshToken + "," + first.RefreshToken,
		"a long string":      strings.Repeat("x", 8000),
	} {
		for range 30 {
			a := refreshOverHTTP(t, auth, "", refreshGrant(garbage))
			if name == "a line break" {
				if a.status != http.StatusBadRequest {
					t.Errorf("%s: answered %d %s", name, a.status, a.body)
				}
				continue
			}
			refusesGrant(t, name, a)
		}
	}
	store.onCall(func(context.Context, string) error { return nil })
	if finds, writes := store.calls(); finds != 0 || writes != 0 {
		t.Errorf("the storage was called %d and %d times, want 0", finds, writes)
	}
	if a := answerOf(t, post(auth, "", passwordGrant)); a.status != http.StatusOK {
		t.Errorf("a sign-in afterwards: answered %d %s", a.status, a.body)
	}
}

// A refresh makes one read and one write.
func TestCallsOfTheStorageInARefresh(t *testing.T) {
	t.Parallel()
	store := new(counted)
	auth := refreshing(t, store, tokenauth.Options{})
	first := answerOf(t, post(auth, "", passwordGrant))
	store.onCall(func(_ context.Context, method string) error {
		if method != "FindRefresh" && method != "Refresh" {
			t.Errorf("a refresh called %s", method)
		}
		return nil
	})
	for range 2 { // the second time is a repetition
		if a := refreshOverHTTP(t, auth, "", refreshGrant(first.RefreshToken)); a.status != http.StatusOK {
			t.Fatalf("answered %d %s", a.status, a.body)
		}
		if finds, writes := store.calls(); finds != 1 || writes != 1 {
			t.Errorf("a refresh made %d reads and %d writes, want 1 and 1", finds, writes)
		}
	}
}

func TestMalformedRefreshRequests(t *testing.T) {
	t.Parallel()
	const inQuery = "Credentials belong in the body, never in the query."
	auth := refreshing(t, new(memory.Store), tokenauth.Options{})
	good := answerOf(t, post(auth, "", passwordGrant)).RefreshToken
	for name, test := range map[string]struct{ query, body, code, description string }{
		"missing":               {"", "grant_type=refresh_token", "invalid_request", "The parameter refresh_token is missing."},
		"empty":                 {"", refreshGrant(""), "invalid_request", "The parameter refresh_token is missing."},
		"twice":                 {"", refreshGrant(good) + "&refresh_token=" + good, "invalid_request", "A parameter is given twice."},
		"twice in another case": {"", refreshGrant(good) + "&Refresh_Token=", "invalid_request", "A parameter is given twice."},
		"in the query":          {"?refresh_token=" + good, "grant_type=refresh_token", "invalid_request", inQuery},
		"in both":               {"?REFRESH%5ftoken=x", refreshGrant(good), "invalid_request", inQuery},
		"the grant twice":       {"", refreshGrant(good) + "&grant_type=password", "invalid_request", "A parameter is given twice."},
		"without a grant":       {"", "refresh_token=" + good, "invalid_request", "The parameter grant_type is missing."},
		"another grant":         {"", "grant_type=client_credentials", "unsupported_grant_type", "The grant type must be password or refresh_token."},
		"the grant in capitals": {"", "grant_type=Refresh_Token&refresh_token=" + good, "unsupported_grant_type", "The grant type must be password or refresh_token."},
		"control characters":    {"", refreshGrant(good + "%00"), "invalid_request", "The parameters have control characters."},
		"JSON":                  {"", `{"grant_type":"refresh_token","refresh_token":"` + good + `"}`, "invalid_request", "Send the parameters urlencoded in the body: grant_type=password&username=...&password=..."},
	} {
		r := httptest.NewRequest("POST", "/Token"+test.query, strings.NewReader(test.body))
		w := httptest.NewRecorder()
		auth.TokenHandler().ServeHTTP(w, r)
		if a := answerOf(t, w); a.status != http.StatusBadRequest || a.Error != test.code || a.Description != test.description {
			t.Errorf("%s: answered %d %s, want 400 %s %q", name, a.status, a.body, test.code, test.description)
		}
	}
	// None of them used the refresh token. A user name and a password beside it, and Basic
	// authentication without a registry, are ignored.
	if a := refreshOverHTTP(t, auth, "someone:else", refreshGrant(good)+"&username=x&password=y&scope=z"); a.status != http.StatusOK {
		t.Errorf("answered %d %s, want 200", a.status, a.body)
	}
}

// Without the option, the endpoints answer byte for byte as if refresh tokens did not
// exist, and refresh_token is a parameter like any unknown one.
func TestWithoutTheOptionThereAreNoRefreshTokens(t *testing.T) {
	t.Parallel()
	now := time.Date(2020, 9, 13, 9, 35, 33, 0, time.UTC)
	store := new(counted)
	clock := func() time.Time { return now }
	on := refreshing(t, store, tokenauth.Options{Now: clock})
	auth := newService(t, store, new(reloading), &tokenauth.Options{Now: clock})
	refreshToken := answerOf(t, post(on, "", passwordGrant)).RefreshToken
	store.calls()

	const unsupported = `{"error":"unsupported_grant_type","error_description":"The grant type must be password."}`
	if a := refreshOverHTTP(t, auth, "", refreshGrant(refreshToken)); a.status != http.StatusBadRequest || a.body != unsupported {
		t.Errorf("a refresh: answered %d %s, want 400 %s", a.status, a.body, unsupported)
	}
	r := httptest.NewRequest("POST", "/Token?refresh_token=x", strings.NewReader(passwordGrant+"&refresh_token=x&refresh_token=y"))
	w := httptest.NewRecorder()
	auth.TokenHandler().ServeHTTP(w, r)
	a := answerOf(t, w)
	want := `{"access_token":"` + a.AccessToken + `","token_type":"bearer","expires_in":1209599,"userName":"alice","userId":"17","role":"Reader,Staff",".issued":"Sun, 13 Sep 2020 09:35:33 GMT",".expires":"Sun, 27 Sep 2020 09:35:33 GMT"}`
	if a.status != http.StatusOK || a.body != want {
		t.Errorf("a sign-in: answered %d %s, want 200 %s", a.status, a.body, want)
	}
	w = httptest.NewRecorder()
	endpoint(t, auth, "/revoke").ServeHTTP(w, httptest.NewRequest("POST", "/revoke", strings.NewReader("token="+refreshToken)))
	if w.Code != http.StatusOK || w.Body.String() != "{}" {
		t.Errorf("a revocation: answered %d %s, want 200 {}", w.Code, w.Body)
	}
	expect(t, auth, a.AccessToken, "valid")
	if finds, writes := store.calls(); finds != 0 || writes != 0 {
		t.Errorf("the storage was asked for refresh tokens %d and %d times, want 0", finds, writes)
	}
	if got := metadataOf(t, auth); !strings.Contains(got, `"grant_types_supported":["password"]`) {
		t.Errorf("the metadata is %s", got)
	}
	if got := metadataOf(t, on); !strings.Contains(got, `"grant_types_supported":["password","refresh_token"]`) {
		t.Errorf("with the option, the metadata is %s", got)
	}
}

func metadataOf(t *testing.T, auth *tokenauth.Service) string {
	t.Helper()
	const path = "/.well-known/oauth-authorization-server"
	handlers, _, err := auth.Handlers("", tokenauth.Endpoints{Issuer: "https://api.example.com"})
	if err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	handlers[path].ServeHTTP(w, httptest.NewRequest("GET", path, nil))
	return w.Body.String()
}

// A refresh token gives access to nothing but the token endpoint.
func TestAccessTokensAndRefreshTokensAreNotExchangeable(t *testing.T) {
	t.Parallel()
	auth := refreshing(t, new(memory.Store), tokenauth.Options{})
	a := answerOf(t, post(auth, "", passwordGrant))
	if w := bearerOf(auth, a.RefreshToken); w.Code != http.StatusUnauthorized || !strings.Contains(w.Body.String(), "The access token is invalid.") {
		t.Errorf("a refresh token on a protected route: answered %d %s, want 401", w.Code, w.Body)
	}
	refusesGrant(t, "an access token as refresh token", refreshOverHTTP(t, auth, "", refreshGrant(a.AccessToken)))
	if w := bearerOf(auth, a.AccessToken); w.Code != http.StatusOK {
		t.Errorf("the access token: answered %d %s, want 200", w.Code, w.Body)
	}
}

// bearerOf sends a token to a protected route.
func bearerOf(auth *tokenauth.Service, token string) *httptest.ResponseRecorder {
	r := httptest.NewRequest("GET", "/me", nil)
	r.Header.Set("Authorization", "Bearer "+token)
	w := httptest.NewRecorder()
	auth.RequireBearer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})).ServeHTTP(w, r)
	return w
}

// The holder of a token that was refreshed is not told of a sign-in that never happened.
func TestRefreshedTokenWasReplacedByANewerToken(t *testing.T) {
	t.Parallel()
	const text = "The access token was replaced by a newer token."
	auth := refreshing(t, new(memory.Store), tokenauth.Options{})
	a := answerOf(t, post(auth, "", passwordGrant))
	refreshOverHTTP(t, auth, "", refreshGrant(a.RefreshToken))
	w := bearerOf(auth, a.AccessToken)
	if !strings.Contains(w.Body.String(), text) || !strings.Contains(w.Header().Get("WWW-Authenticate"), `error_description="`+text+`"`) || w.Code != http.StatusUnauthorized {
		t.Errorf("answered %d %v %s, want 401 %s", w.Code, w.Header(), w.Body, text)
	}
}

// refreshClients has the confidential clients "web" and "api", and the public client
// "app" with a lifetime of its own.
type refreshClients struct{}

func (refreshClients) FindClient(_ context.Context, id string) (tokenauth.Client, error) {
	switch id {
	case "web", "api":
		return tokenauth.Client{ID: id, Secrets: []tokenauth.Digest{registeredDigest}, IntrospectsOwn: id == "web", IntrospectsAll: id == "api"}, nil
	case "app":
		return tokenauth.Client{ID: id, Lifetime: time.Hour}, nil
	}
	return tokenauth.Client{}, tokenauth.ErrNotFound
}

func TestRefreshWithARegistry(t *testing.T) {
	t.Parallel()
	secret := registeredSecret.Reveal()
	auth := refreshing(t, new(memory.Store), tokenauth.Options{Clients: refreshClients{}})
	web := answerOf(t, post(auth, "web:"+secret, passwordGrant))
	app := answerOf(t, post(auth, "", passwordGrant+"&client_id=app"))
	for name, test := range map[string]struct {
		basic, form string
		status      int
		code        string
	}{
		"another client's token":          {"api:" + secret, refreshGrant(web.RefreshToken), 400, "invalid_grant"},
		"a public client's token":         {"web:" + secret, refreshGrant(app.RefreshToken), 400, "invalid_grant"},
		"a public client with another's":  {"", refreshGrant(web.RefreshToken) + "&client_id=app", 400, "invalid_grant"},
		"no client":                       {"", refreshGrant(web.RefreshToken), 400, "invalid_client"},
		"an unknown client":               {"", refreshGrant(web.RefreshToken) + "&client_id=nobody", 400, "invalid_client"},
		"an unknown client, by Basic":     {"nobody:x", refreshGrant(web.RefreshToken), 401, "invalid_client"},
		"a wrong secret":                  {"", refreshGrant(web.RefreshToken) + "&client_id=web&client_secret=x", 400, "invalid_client"},
		"a wrong secret, by Basic":        {"web:x", refreshGrant(web.RefreshToken), 401, "invalid_client"},
		"no secret":                       {"", refreshGrant(web.RefreshToken) + "&client_id=web", 400, "invalid_client"},
		"Basic and the body":              {"web:" + secret, refreshGrant(web.RefreshToken) + "&client_id=app", 400, "invalid_request"},
		"a public client with a secret":   {"app:x", refreshGrant(app.RefreshToken), 401, "invalid_client"},
		"garbage of an unknown client":    {"", refreshGrant("x") + "&client_id=nobody", 400, "invalid_client"},
		"garbage of a client":             {"web:" + secret, refreshGrant("x"), 400, "invalid_grant"},
		"a user name in place of a token": {"web:" + secret, "grant_type=refresh_token&username=alice&password=x", 400, "invalid_request"},
	} {
		w := post(auth, test.basic, test.form)
		if a := answerOf(t, w); a.status != test.status || a.Error != test.code || (w.Header().Get("WWW-Authenticate") != "") != (test.status == 401) {
			t.Errorf("%s: answered %d %s, challenge %q; want %d %s", name, a.status, a.body, w.Header().Get("WWW-Authenticate"), test.status, test.code)
		}
	}
	// Issue did not name a client, so no client can refresh the token.
	if a := answerOf(t, post(auth, "web:"+secret, refreshGrant(mustIssue(t, auth, alice()).RefreshToken.Reveal()))); a.Error != "invalid_grant" {
		t.Errorf("the refresh token of no client: answered %d %s, want invalid_grant", a.status, a.body)
	}
	// None of them ended anything, or used a refresh token.
	for i, form := range []string{refreshGrant(web.RefreshToken), ""} {
		if i == 1 {
			form = refreshGrant(web.RefreshToken) + "&client_id=web&client_secret=" + secret
		}
		basic := ""
		if i == 0 {
			basic = "web:" + secret
		}
		if web = refreshOverHTTP(t, auth, basic, form); web.status != http.StatusOK || web.ExpiresIn != 899 {
			t.Errorf("the refresh of a confidential client: answered %d %s", web.status, web.body)
		}
	}
	if app = refreshOverHTTP(t, auth, "", refreshGrant(app.RefreshToken)+"&client_id=app"); app.status != http.StatusOK || app.ExpiresIn != 3599 {
		t.Errorf("the refresh of a public client: answered %d %s, want a lifetime of an hour", app.status, app.body)
	}
}

// sendToken sends a form with a token to an endpoint, and returns the answer.
func sendToken(t *testing.T, auth *tokenauth.Service, path, basic, form string) string {
	t.Helper()
	r := httptest.NewRequest("POST", path, strings.NewReader(form))
	if user, pass, ok := strings.Cut(basic, ":"); ok {
		r.SetBasicAuth(user, pass)
	}
	w := httptest.NewRecorder()
	endpoint(t, auth, path).ServeHTTP(w, r)
	return fmt.Sprintf("%d %s", w.Code, w.Body)
}

// Revoking a refresh token, current or used, ends its sign-in (RFC 7009 §2.1). A token that
// is unknown or belongs to another client ends nothing.
func TestRevocationOfRefreshTokens(t *testing.T) {
	t.Parallel()
	secret := registeredSecret.Reveal()
	const anothers = `400 {"error":"unauthorized_client","error_description":"The token was issued to another client."}`
	for _, registry := range []tokenauth.ClientRegistry{nil, refreshClients{}} {
		w := new(eventRecorder)
		auth := refreshing(t, new(memory.Store), tokenauth.Options{Clients: registry, Observers: []func(context.Context, tokenauth.Event){w.Observe}})
		elsewhere := refreshing(t, new(memory.Store), tokenauth.Options{Clients: registry})
		basic, who := "", "17 alice"
		if registry != nil {
			basic, who = "web:"+secret, "17 alice web"
		}
		for _, hint := range []string{"", "&token_type_hint=refresh_token", "&token_type_hint=access_token", "&token_type_hint=other"} {
			for name, test := range map[string]struct {
				token func(used, current tokenAnswer) string
				ends  bool
			}{
				"current":    {func(_, current tokenAnswer) string { return current.RefreshToken }, true},
				"used":       {func(used, _ tokenAnswer) string { return used.RefreshToken }, true},
				"a flipped":  {func(_, current tokenAnswer) string { return flipped(current.RefreshToken) }, false},
				"a made-up":  {func(_, _ tokenAnswer) string { return answerOf(t, post(elsewhere, basic, passwordGrant)).RefreshToken }, false},
				"an earlier": {func(_, _ tokenAnswer) string { return "" }, false}, // of a sign-in that was replaced
			} {
				earlier := answerOf(t, post(auth, basic, passwordGrant))
				used := answerOf(t, post(auth, basic, passwordGrant))
				current := refreshOverHTTP(t, auth, basic, refreshGrant(used.RefreshToken))
				token := test.token(used, current)
				if token == "" {
					token = earlier.RefreshToken
				}
				w.drain()
				if registry != nil {
					if got := sendToken(t, auth, "/revoke", "api:"+secret, "token="+token+hint); test.ends && got != anothers || !test.ends && got != "200 {}" {
						t.Errorf("%s refresh token of another client: answered %s", name, got)
					}
					if test.ends {
						w.expect(t, "refused client")
					}
					expect(t, auth, current.AccessToken, "valid")
					w.drain()
				}
				for range 2 {
					if got := sendToken(t, auth, "/revoke", basic, "token="+token+hint); got != "200 {}" {
						t.Errorf("%s refresh token: answered %s, want 200 {}", name, got)
					}
				}
				if test.ends {
					w.expect(t, "revoked "+who)
					expect(t, auth, current.AccessToken, "invalid")
					refusesGrant(t, "after the revocation", refreshOverHTTP(t, auth, basic, refreshGrant(current.RefreshToken)))
				} else {
					w.expect(t)
					expect(t, auth, current.AccessToken, "valid")
				}
			}
		}
	}
}

// A resource server introspects what a request presents as access token. So a refresh
// token is active only if the request asks for one, and only the current one.
func TestIntrospectionOfRefreshTokens(t *testing.T) {
	t.Parallel()
	secret := registeredSecret.Reveal()
	now := time.Date(2020, 9, 13, 9, 35, 33, 0, time.UTC)
	auth := refreshing(t, new(memory.Store), tokenauth.Options{Clients: refreshClients{}, Now: func() time.Time { return now }})
	used := answerOf(t, post(auth, "web:"+secret, passwordGrant))
	now = now.Add(time.Minute)
	current := refreshOverHTTP(t, auth, "web:"+secret, refreshGrant(used.RefreshToken))
	public := answerOf(t, post(auth, "", passwordGrant+"&client_id=app"))
	elsewhere := refreshing(t, new(memory.Store), tokenauth.Options{Clients: refreshClients{}})
	madeUp := answerOf(t, post(elsewhere, "web:"+secret, passwordGrant))

	const inactive = `200 {"active":false}`
	const hint = "&token_type_hint=refresh_token"
	active := func(clientID string) string {
		return fmt.Sprintf(`200 {"active":true,"client_id":"%s","username":"alice","exp":%d,"iat":%d,"sub":"17"}`, clientID, now.Add(30*24*time.Hour).Unix(), now.Unix())
	}
	access := fmt.Sprintf(`200 {"active":true,"client_id":"web","username":"alice","token_type":"bearer","exp":%d,"iat":%d,"sub":"17","role":"Reader,Staff"}`, now.Add(15*time.Minute).Unix(), now.Unix())
	for name, test := range map[string]struct{ client, form, want string }{
		"current, without a hint":     {"web", current.RefreshToken, inactive},
		"current, with another hint":  {"web", current.RefreshToken + "&token_type_hint=access_token", inactive},
		"current":                     {"web", current.RefreshToken + hint, active("web")},
		"current, by a resource":      {"api", current.RefreshToken + hint, active("web")},
		"of a public client":          {"api", public.RefreshToken + hint, active("app")},
		"of another client":           {"web", public.RefreshToken + hint, inactive},
		"used":                        {"web", used.RefreshToken + hint, inactive},
		"made up":                     {"web", madeUp.RefreshToken + hint, inactive},
		"flipped":                     {"web", flipped(current.RefreshToken) + hint, inactive},
		"an access token":             {"web", current.AccessToken, access},
		"an access token with a hint": {"web", current.AccessToken + hint, access}, // a hint, no more (RFC 7662 §2.1)
		"a replaced access token":     {"web", used.AccessToken, inactive},
	} {
		if got := sendToken(t, auth, "/introspect", test.client+":"+secret, "token="+test.form); got != test.want {
			t.Errorf("%s: answered %s, want %s", name, got, test.want)
		}
	}
	now = now.Add(30 * 24 * time.Hour)
	if got := sendToken(t, auth, "/introspect", "web:"+secret, "token="+current.RefreshToken+hint); got != inactive {
		t.Errorf("expired: answered %s, want %s", got, inactive)
	}
	// Introspection does not use a refresh token up.
	now = now.Add(-time.Second)
	if a := refreshOverHTTP(t, auth, "web:"+secret, refreshGrant(current.RefreshToken)); a.status != http.StatusOK {
		t.Errorf("a refresh afterwards: answered %d %s", a.status, a.body)
	}
}

// Each result of a refresh has an event and a level. Refusals that any client can
// cause with each request are logged at debug level.
func TestEventsAndLogRecordsOfRefreshes(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	w := new(eventRecorder)
	now := time.Date(2020, 9, 13, 9, 35, 33, 0, time.UTC)
	users := new(reloading)
	store := new(counted)
	o := &tokenauth.Options{
		Lifetime: 15 * time.Minute, Clients: refreshClients{}, Refresh: &tokenauth.RefreshOptions{Key: sharedKey},
		Logger:    slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Observers: []func(context.Context, tokenauth.Event){w.Observe},
		Now:       func() time.Time { return now },
	}
	auth := newService(t, store, users, o)
	otherKey := *o
	otherKey.Refresh = &tokenauth.RefreshOptions{}
	other := newService(t, store, users, &otherKey)
	secret := registeredSecret.Reveal()
	do := func(name string, auth *tokenauth.Service, basic, refreshToken, from string, wantLog []string, want ...string) tokenAnswer {
		t.Helper()
		log.Reset()
		w.drain()
		r := httptest.NewRequest("POST", "/Token", strings.NewReader(refreshGrant(refreshToken)))
		r.RemoteAddr = from + ":1234"
		user, pass, _ := strings.Cut(basic, ":")
		r.SetBasicAuth(user, pass)
		recorder := httptest.NewRecorder()
		auth.TokenHandler().ServeHTTP(recorder, r)
		w.mu.Lock()
		for _, e := range w.events {
			if e.RemoteAddr.String() != from {
				t.Errorf("%s: the event %v has the address %v, want %s", name, e.Kind, e.RemoteAddr, from)
			}
		}
		w.mu.Unlock()
		w.expect(t, want...)
		records := strings.Split(strings.TrimSpace(log.String()), "\n")
		for i, record := range wantLog {
			if len(records) != len(wantLog) || !strings.Contains(records[i], record) {
				t.Errorf("%s: logged %s, want %q", name, log.String(), wantLog)
				break
			}
		}
		a := answerOf(t, recorder)
		if strings.Contains(log.String(), refreshToken) || a.RefreshToken != "" && strings.Contains(log.String(), a.RefreshToken) || a.AccessToken != "" && strings.Contains(log.String(), a.AccessToken) {
			t.Errorf("%s: the log contains a token: %s", name, log.String())
		}
		return a
	}
	const here, there = "192.0.2.1", "203.0.113.7"
	web := "web:" + secret
	first := answerOf(t, post(auth, web, passwordGrant))
	second := do("a refresh", auth, web, first.RefreshToken, here,
		[]string{`level=INFO msg="tokenauth: token refreshed" event=refreshed user_id=17 user_name=alice client_id=web remote_addr=192.0.2.1`}, "refreshed 17 alice web")
	do("a repetition", auth, web, first.RefreshToken, here, []string{`level=INFO msg="tokenauth: token refreshed" event=refreshed reason=repeated user_id=17`}, "refreshed repeated 17 alice web")
	do("a repetition from elsewhere", auth, web, first.RefreshToken, there,
		[]string{`level=WARN msg="tokenauth: token refreshed" event=refreshed reason=repeated_elsewhere user_id=17 user_name=alice client_id=web remote_addr=203.0.113.7`}, "refreshed repeated_elsewhere 17 alice web")
	do("a repetition elsewhere with another key", other, web, first.RefreshToken, here, []string{
		`level=WARN msg="tokenauth: a refresh was repeated, but the first try was at a process with another Options.Refresh.Key, so it was refused: set the same Key on all replicas" user_id=17 client_id=web`,
		`level=DEBUG msg="tokenauth: refresh refused" event=refresh_refused reason=invalid`,
	}, "refresh_refused invalid 17 alice web")
	do("the third repetition", auth, web, first.RefreshToken, here, nil, "refreshed repeated 17 alice web")
	do("a repetition too many", auth, web, first.RefreshToken, here, []string{"level=DEBUG"}, "refresh_refused invalid 17 alice web")
	do("garbage", auth, web, "rubbish", here, []string{`level=DEBUG msg="tokenauth: refresh refused" event=refresh_refused reason=invalid remote_addr=192.0.2.1`}, "refresh_refused invalid")
	do("another client's token", auth, "api:"+secret, second.RefreshToken, here, []string{"level=WARN msg=\"tokenauth: refresh refused\" event=refresh_refused reason=client"}, "refresh_refused client")
	do("a wrong secret", auth, "web:x", second.RefreshToken, here, []string{"level=WARN msg=\"tokenauth: refresh refused\" event=refresh_refused reason=client"}, "refresh_refused client")
	users.set(nil, tokenauth.ErrRejected)
	do("a disabled user", auth, web, second.RefreshToken, here, []string{"level=DEBUG"}, "refresh_refused invalid 17 alice web")
	users.set(nil, errDirectory)
	do("a failed look-up", auth, web, second.RefreshToken, here, []string{`level=ERROR msg="tokenauth: request failed" event=unavailable`}, "unavailable 17 alice web")
	users.set(nil, nil)
	for _, method := range []string{"FindRefresh", "Refresh"} {
		store.onCall(func(_ context.Context, called string) error {
			if called == method {
				return errDirectory
			}
			return nil
		})
		a := do(method+" fails", auth, web, second.RefreshToken, here, []string{`level=ERROR`}, strings.TrimSpace("unavailable "+map[string]string{"Refresh": "17 alice web"}[method]))
		if a.status != http.StatusServiceUnavailable {
			t.Errorf("%s fails: answered %d %s, want 503", method, a.status, a.body)
		}
	}
	store.onCall(func(context.Context, string) error { return nil })
	now = now.Add(31 * time.Second)
	do("reuse", auth, web, first.RefreshToken, there, []string{
		`level=INFO msg="tokenauth: tokens revoked" event=revoked reason=reused user_id=17 user_name=alice client_id=web remote_addr=203.0.113.7`,
		`level=WARN msg="tokenauth: refresh refused" event=refresh_refused reason=reused user_id=17 user_name=alice client_id=web remote_addr=203.0.113.7`,
	}, "revoked reused 17 alice web", "refresh_refused reused 17 alice web")
	do("the owner afterwards", auth, web, second.RefreshToken, here, []string{"level=DEBUG"}, "refresh_refused invalid")
	third := answerOf(t, post(auth, web, passwordGrant))
	now = now.Add(30 * 24 * time.Hour)
	do("an expired refresh token", auth, web, third.RefreshToken, here, []string{"level=DEBUG msg=\"tokenauth: refresh refused\" event=refresh_refused reason=expired"}, "refresh_refused expired")
}
