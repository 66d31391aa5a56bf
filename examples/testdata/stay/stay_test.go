package stay

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/bearerkit/bearerkit/storage/memory"
	"github.com/bearerkit/bearerkit/tokenauth"
	"github.com/bearerkit/bearerkit/tokenauth/tokenauthtest"
)

// A token lives on while a client uses it, up to the maximum. With the check box it
// has a longer lifetime. Extend keeps the access token.
func TestStaySignedIn(t *testing.T) {
	users := new(tokenauthtest.Users)
	users.Add(tokenauth.Principal{UserID: "17", UserName: "alice"}, "correct horse")
	gin.SetMode(gin.ReleaseMode)
	synctest.Test(t, func(t *testing.T) {
		auth, err := newAuth(new(memory.Store), users)
		if err != nil {
			t.Fatal(err)
		}
		go auth.Run(t.Context())
		r := gin.New()
		mount(r, auth)
		type answer struct {
			Token   string
			Expires time.Time
		}
		call := func(status int, path, token, body string) (a answer) {
			t.Helper()
			request := httptest.NewRequest("POST", path, strings.NewReader(body))
			request.Header.Set("Authorization", "Bearer "+token)
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
		in := func(d time.Duration) time.Time { return time.Now().Truncate(time.Second).Add(d) }
		const credentials = `{"name":"alice","password":"correct horse"`

		call(http.StatusBadRequest, "/sign-in", "", `{"name":"alice","password":"wrong"}`)
		call(http.StatusBadRequest, "/sign-in", "", "no JSON")
		if long := call(http.StatusOK, "/sign-in", "", credentials+`,"stay":true}`); !long.Expires.Equal(in(30 * day)) {
			t.Errorf("with the check box, the token expires at %v, want %v", long.Expires, in(30*day))
		}
		token := call(http.StatusOK, "/sign-in", "", credentials+"}")
		if !token.Expires.Equal(in(day)) {
			t.Errorf("the token expires at %v, want %v", token.Expires, in(day))
		}
		end := in(90 * day)
		time.Sleep(20 * time.Hour)
		if extended := call(http.StatusOK, "/api/extend", token.Token, ""); !extended.Expires.Equal(in(day)) {
			t.Errorf("the extended token expires at %v, want %v", extended.Expires, in(day))
		}
		for time.Now().Before(end.Add(-23 * time.Hour)) { // a client that only uses its token
			time.Sleep(20 * time.Hour)
			if _, err := auth.Validate(t.Context(), token.Token); err != nil {
				t.Fatalf("the token in use, %v before the maximum: %v", time.Until(end), err)
			}
		}
		time.Sleep(time.Until(end))
		call(http.StatusUnauthorized, "/api/extend", token.Token, "")
	})
}
