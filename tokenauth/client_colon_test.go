package tokenauth_test

import (
	"crypto/sha256"
	"net/http"
	"strings"
	"testing"

	"github.com/bearerkit/bearerkit/storage/memory"
	"github.com/bearerkit/bearerkit/tokenauth"
)

// A client ID with a colon works in the body, and form-encoded in Basic
// authentication. Raw Basic authentication splits at the colon, so the log
// warns once.
func TestWarnsOnceIfClientIDHasAColon(t *testing.T) {
	t.Parallel()
	logger, log := logInto()
	client := oneClient{ID: "urn:app", Secrets: []tokenauth.Digest{sha256.Sum256([]byte("s3cret"))}, IntrospectsAll: true}
	auth := newService(t, new(memory.Store), &staff{}, &tokenauth.Options{Clients: client, Logger: logger})
	const warning = "a client ID has a colon"
	if w := post(auth, "urn:app:s3cret", passwordGrant); w.Code != http.StatusUnauthorized || strings.Contains(log.String(), warning) {
		t.Errorf("raw Basic: answered %d %s, logged %s; want 401 and no warning", w.Code, w.Body, log)
	}
	for range 2 {
		for basic, body := range map[string]string{"": "&client_id=urn%3Aapp&client_secret=s3cret", "urn%3Aapp:s3cret": ""} {
			if w := post(auth, basic, passwordGrant+body); w.Code != http.StatusOK {
				t.Errorf("Basic %q and body %q: answered %d %s, want 200", basic, body, w.Code, w.Body)
			}
		}
	}
	if n := strings.Count(log.String(), warning); n != 1 || !strings.Contains(log.String(), "level=WARN") || !strings.Contains(log.String(), "client_id=urn:app") {
		t.Errorf("%d warnings, want 1: %s", n, log)
	}
}
