package devices

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/gin-gonic/gin"

	"github.com/bearerkit/bearerkit/storage/memory"
	"github.com/bearerkit/bearerkit/tokenauth"
	"github.com/bearerkit/bearerkit/tokenauth/tokenauthtest"
)

// A user is signed in on three devices, sees them, ends one, and then all others.
func TestSignIns(t *testing.T) {
	users := new(tokenauthtest.Users)
	users.Add(tokenauth.Principal{UserID: "17", UserName: "alice"}, "correct horse")
	gin.SetMode(gin.ReleaseMode)
	r := gin.New()
	if _, err := mount(r, new(memory.Store), users); err != nil {
		t.Fatal(err)
	}
	call := func(status int, method, path, token string, body ...string) string {
		t.Helper()
		request := httptest.NewRequest(method, path, strings.NewReader(strings.Join(body, "")))
		if token != "" {
			request.Header.Set("Authorization", "Bearer "+token)
		}
		w := httptest.NewRecorder()
		if r.ServeHTTP(w, request); w.Code != status {
			t.Fatalf("%s %s: got %d %s, want %d", method, path, w.Code, w.Body, status)
		}
		return w.Body.String()
	}
	signIn := func(device, name string) string {
		t.Helper()
		var answer struct {
			AccessToken string `json:"access_token"`
		}
		form := url.Values{"grant_type": {"password"}, "username": {"alice"}, "password": {"correct horse"}, "device": {device}, "device_name": {name}}
		if err := json.Unmarshal([]byte(call(http.StatusOK, "POST", "/Token", "", form.Encode())), &answer); err != nil {
			t.Fatal(err)
		}
		return answer.AccessToken
	}
	list := func(token string) (names map[string]line) {
		t.Helper()
		var all []line
		if err := json.Unmarshal([]byte(call(http.StatusOK, "GET", "/api/sign-ins", token)), &all); err != nil {
			t.Fatal(err)
		}
		names = make(map[string]line)
		for _, s := range all {
			names[s.Name] = s
		}
		return names
	}

	phone, laptop, browser := signIn("1", "Ann's phone"), signIn("2", "<b>laptop</b>"), signIn("", "")
	all := list(phone)
	if len(all) != 3 || !all["Ann's phone"].Current || all["<b>laptop</b>"].Current || all[""].Current {
		t.Fatalf("the sign-ins are %+v, want three, and the phone as the current one", all)
	}
	for name, s := range all {
		if s.LastSeen.Before(s.Since) {
			t.Errorf("%q was last seen at %v, before the sign-in at %v", name, s.LastSeen, s.Since)
		}
	}
	laptopID := all["<b>laptop</b>"].ID
	call(http.StatusNoContent, "DELETE", "/api/sign-ins/"+laptopID, phone)
	call(http.StatusUnauthorized, "GET", "/api/sign-ins", laptop)
	call(http.StatusNotFound, "DELETE", "/api/sign-ins/"+laptopID, phone)
	call(http.StatusNotFound, "DELETE", "/api/sign-ins/nonsense", phone)
	call(http.StatusOK, "GET", "/api/sign-ins", browser)
	call(http.StatusNoContent, "DELETE", "/api/sign-ins", phone)
	call(http.StatusUnauthorized, "GET", "/api/sign-ins", browser)
	if all := list(phone); len(all) != 1 {
		t.Errorf("after signing out everywhere else, the sign-ins are %+v, want one", all)
	}
}

// A line is a line of the page.
type line = signIn
