package tokenauth_test

import (
	"context"
	"crypto/sha256"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/bearerkit/bearerkit/storage/memory"
	"github.com/bearerkit/bearerkit/tokenauth"
)

// oneClient is a registry with a single client.
type oneClient tokenauth.Client

func (c oneClient) FindClient(_ context.Context, id string) (tokenauth.Client, error) {
	if id != c.ID {
		return tokenauth.Client{}, tokenauth.ErrNotFound
	}
	return tokenauth.Client(c), nil
}

// A secret that a configuration left empty must not let anyone authenticate as
// the client: neither without a secret nor with an empty one.
func TestEmptyClientSecretIsRefused(t *testing.T) {
	t.Parallel()
	client := oneClient{ID: "api", Secrets: []tokenauth.Digest{sha256.Sum256(nil), {}}, IntrospectsAll: true}
	auth := newService(t, new(memory.Store), &staff{}, &tokenauth.Options{Clients: client})
	accessToken := issue(t, auth, alice(), "api")
	for _, body := range []string{"&client_id=api", "&client_id=api&client_secret=", ""} {
		for path, h := range map[string]http.Handler{"/introspect": endpoint(t, auth, "/introspect"), "/revoke": endpoint(t, auth, "/revoke")} {
			r := httptest.NewRequest("POST", path, strings.NewReader("token="+accessToken+body))
			if body == "" {
				r.SetBasicAuth("api", "")
			}
			recorder := httptest.NewRecorder()
			h.ServeHTTP(recorder, r)
			want := http.StatusBadRequest
			if body == "" {
				want = http.StatusUnauthorized
			}
			if recorder.Code != want || !strings.Contains(recorder.Body.String(), "invalid_client") {
				t.Errorf("%s%s: answered %d %s, want %d invalid_client", path, body, recorder.Code, recorder.Body, want)
			}
		}
	}
	expect(t, auth, accessToken, "valid")
}
