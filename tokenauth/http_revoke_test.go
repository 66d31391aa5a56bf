package tokenauth_test

import (
	"context"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/bearerkit/bearerkit/tokenauth"
)

// openClients is a registry in which each ID is a public client.
type openClients struct{}

func (openClients) FindClient(_ context.Context, id string) (tokenauth.Client, error) {
	return tokenauth.Client{ID: id}, nil
}

// Any client can try to revoke a token that does not exist. Only a revocation
// that ended a token is logged and observed, by the endpoint as by the method.
func TestOnlyRevocationsThatHappenAreReported(t *testing.T) {
	t.Parallel()
	for _, registry := range []tokenauth.ClientRegistry{nil, openClients{}} {
		logger, log := logInto()
		w, calls := new(eventRecorder), map[string]int{}
		storage := &scripted{before: func(_ context.Context, method string) error { calls[method]++; return nil }}
		now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
		options := &tokenauth.Options{
			Logger: logger, Clients: registry, Now: func() time.Time { return now },
			Observers: []func(context.Context, tokenauth.Event){w.Observe},
		}
		auth := newService(t, storage, &staff{}, options)
		web := ""
		if registry != nil {
			web = "web"
		}
		ways := map[string]func(accessToken string){
			"/revoke": func(accessToken string) {
				r := httptest.NewRequest("POST", "/revoke", strings.NewReader("client_id=web&token="+accessToken))
				recorder := httptest.NewRecorder()
				if endpoint(t, auth, "/revoke").ServeHTTP(recorder, r); recorder.Code != 200 {
					t.Errorf("answered %d %s, want 200", recorder.Code, recorder.Body)
				}
			},
			"Revoke": func(accessToken string) {
				if err := auth.Revoke(t.Context(), accessToken); err != nil {
					t.Error(err)
				}
			},
		}
		for way, revoke := range ways {
			// Tokens of a Service with another storage: one for a user who also
			// has a token here, and one for a user who has none.
			elsewhere := newService(t, new(scripted), &staff{}, nil)
			madeUp := []string{issue(t, elsewhere, alice(), web), issue(t, elsewhere, bob(), web)}
			older := issue(t, auth, alice(), web)
			accessToken := issue(t, auth, alice(), web)
			w.drain()
			log.Reset()
			clear(calls)
			for range 150 {
				for _, other := range append(madeUp, older, flipped(accessToken), "rubbish") {
					revoke(other)
				}
			}
			w.expect(t)
			if log.Len() > 0 || calls["Revoke"] != 3*150 || calls["Find"] != 3*150 {
				t.Errorf("%s of tokens that are not valid: the calls of the storage are %v, logged %s", way, calls, log)
			}
			expect(t, auth, accessToken, "valid")
			w.drain()

			revoke(accessToken)
			expect(t, auth, accessToken, "invalid")
			if got, want := fmt.Sprint(w.drain()), fmt.Sprint([]string{strings.TrimSpace("revoked 17 alice " + web), "refused invalid"}); got != want {
				t.Errorf("%s: observed %s, want %s", way, got, want)
			}
			if got := log.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, "tokens revoked") || !strings.Contains(got, "user_id=17 user_name=alice") || strings.Contains(got, "suppressed") {
				t.Errorf("%s: logged %s", way, got)
			}
			revoke(accessToken) // a second time
			w.expect(t)

			// Revoking an expired token that is still stored removes it.
			accessToken = issue(t, auth, alice(), web)
			now = now.Add(15 * 24 * time.Hour)
			w.drain()
			revoke(accessToken)
			revoke(accessToken)
			w.expect(t, strings.TrimSpace("revoked 17 alice "+web))
		}

		listed, err := auth.Issue(t.Context(), alice(), &tokenauth.IssueOptions{ClientID: web})
		if err != nil {
			t.Fatal(err)
		}
		w.drain()
		for range 2 {
			if err := auth.RevokeToken(t.Context(), listed.Token); err != nil {
				t.Error(err)
			}
		}
		w.expect(t, strings.TrimSpace("revoked 17 alice "+web))
	}
}

// flipped returns the access token with a changed secret, so that its checksum
// is wrong.
func flipped(accessToken string) string {
	i := len(accessToken) - 20
	if accessToken[i] == 'A' {
		return accessToken[:i] + "B" + accessToken[i+1:]
	}
	return accessToken[:i] + "A" + accessToken[i+1:]
}

// Revoke removes a stored token that cannot be read if its digest matches.
// Whether it did is not known, so no event is observed.
func TestRevokeRemovesCorruptTokens(t *testing.T) {
	t.Parallel()
	logger, log := logInto()
	w := new(eventRecorder)
	storage := new(scripted)
	auth := newService(t, storage, &staff{}, &tokenauth.Options{Logger: logger, Observers: []func(context.Context, tokenauth.Event){w.Observe}})
	accessToken := issue(t, auth, alice(), "")
	w.drain()
	storage.before = func(_ context.Context, method string) error {
		if method == "Find" {
			return fmt.Errorf("row of alice: %w", tokenauth.ErrCorrupt)
		}
		return nil
	}
	if err := auth.Revoke(t.Context(), accessToken); err != nil {
		t.Error(err)
	}
	w.expect(t)
	if storage.holds() || !strings.Contains(log.String(), "a stored token is corrupt") {
		t.Errorf("still stored: %v, logged %s", storage.holds(), log)
	}
}

// An app that signs out may close its connection before the response.
func TestRevocationOfAClientThatLeftIsFinished(t *testing.T) {
	t.Parallel()
	for _, leaves := range []string{"before", "Find", "Revoke"} {
		storage := new(scripted)
		auth := newService(t, storage, new(staff), nil)
		accessToken := issue(t, auth, alice(), "")
		ctx, cancel := context.WithCancel(t.Context())
		if leaves == "before" {
			cancel()
		}
		storage.before = func(_ context.Context, method string) error {
			if method == leaves {
				cancel()
			}
			return nil
		}
		r := httptest.NewRequestWithContext(ctx, "POST", "/revoke", strings.NewReader("token="+accessToken))
		endpoint(t, auth, "/revoke").ServeHTTP(httptest.NewRecorder(), r)
		cancel()
		if storage.holds() {
			t.Errorf("the client disconnected at %q: the token is still stored", leaves)
		}
	}
}
