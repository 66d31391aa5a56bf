package refresh

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/bearerkit/bearerkit/storage/memory"
	"github.com/bearerkit/bearerkit/tokenauth"
	"github.com/bearerkit/bearerkit/tokenauth/tokenauthtest"
)

// A client stays signed in by refreshing at both routes, until the end of its sign-in. A
// repetition at another replica returns the same pair.
func TestStayWithoutThePassword(t *testing.T) {
	users := new(tokenauthtest.Users)
	users.Add(tokenauth.Principal{UserID: "17", UserName: "alice"}, "correct horse")
	gin.SetMode(gin.ReleaseMode)
	synctest.Test(t, func(t *testing.T) {
		store := new(memory.Store)
		replica := func() (*tokenauth.Service, *gin.Engine) {
			auth, err := newAuth(store, users, tokenauth.NewSecret("at least 32 bytes, the same on all replicas"))
			if err != nil {
				t.Fatal(err)
			}
			r := gin.New()
			mount(r, auth)
			return auth, r
		}
		auth, r := replica()
		_, other := replica()
		type answer struct {
			AccessToken  string `json:"access_token"`
			RefreshToken string `json:"refresh_token"`
			Access       string
			Refresh      string
		}
		post := func(r http.Handler, status int, path string, form url.Values) (a answer) {
			t.Helper()
			request := httptest.NewRequest("POST", path, strings.NewReader(form.Encode()))
			request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			w := httptest.NewRecorder()
			if r.ServeHTTP(w, request); w.Code != status {
				t.Fatalf("POST %s: got %d %s, want %d", path, w.Code, w.Body, status)
			}
			if status == http.StatusOK {
				if err := json.Unmarshal(w.Body.Bytes(), &a); err != nil {
					t.Fatal(err)
				}
			}
			return a
		}
		refresh := func(refreshToken string) url.Values {
			return url.Values{"grant_type": {"refresh_token"}, "refresh_token": {refreshToken}}
		}
		signedIn := time.Now()
		current := post(r, http.StatusOK, "/Token", url.Values{"grant_type": {"password"}, "username": {"alice"}, "password": {"correct horse"}})
		for time.Since(signedIn) < 60*24*time.Hour {
			time.Sleep(20 * 24 * time.Hour)
			next := post(r, http.StatusOK, "/Token", refresh(current.RefreshToken))
			if again := post(other, http.StatusOK, "/Token", refresh(current.RefreshToken)); again.AccessToken != next.AccessToken || again.RefreshToken != next.RefreshToken {
				t.Error("a repetition at another replica returned another pair")
			}
			current = next
		}
		own := post(r, http.StatusOK, "/api/refresh", url.Values{"refresh": {current.RefreshToken}})
		if _, err := auth.Validate(t.Context(), own.Access); err != nil {
			t.Error(err)
		}
		post(r, http.StatusBadRequest, "/api/refresh", url.Values{"refresh": {"nonsense"}})
		time.Sleep(time.Until(signedIn.Add(90 * 24 * time.Hour)))
		post(r, http.StatusBadRequest, "/Token", refresh(own.Refresh))
	})
}
