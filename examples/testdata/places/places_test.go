package places

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/gin-gonic/gin"

	"github.com/bearerkit/bearerkit/storage/memory"
	"github.com/bearerkit/bearerkit/tokenauth"
	"github.com/bearerkit/bearerkit/tokenauth/tokenauthtest"
)

// A browser has the token in a cookie, and an app has one in a header. They do not
// end each other's sign-in. Pages of other sites cannot use the cookie.
func TestBrowserAndApp(t *testing.T) {
	users := new(tokenauthtest.Users)
	users.Add(tokenauth.Principal{UserID: "17", UserName: "alice"}, "correct horse")
	auth, err := newAuth(new(memory.Store), users)
	if err != nil {
		t.Fatal(err)
	}
	gin.SetMode(gin.ReleaseMode)
	r := gin.New()
	mount(r, auth)
	for _, server := range []struct {
		*httptest.Server
		cookie string
	}{
		{httptest.NewServer(r), "session"},
		{httptest.NewTLSServer(r), "__Host-session"},
	} {
		t.Cleanup(server.Close)
		base, err := url.Parse(server.URL)
		if err != nil {
			t.Fatal(err)
		}
		jar, err := cookiejar.New(nil)
		if err != nil {
			t.Fatal(err)
		}
		browser, app := *server.Client(), *server.Client()
		browser.Jar = jar
		do := func(client *http.Client, status int, method, path, form string, header http.Header) string {
			t.Helper()
			r, err := http.NewRequest(method, server.URL+path, strings.NewReader(form))
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			for key, values := range header {
				r.Header[key] = values
			}
			response, err := client.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			defer response.Body.Close()
			body, err := io.ReadAll(response.Body)
			if err != nil {
				t.Fatal(err)
			}
			if response.StatusCode != status {
				t.Errorf("%s %s: answered %d %s, want %d", method, path, response.StatusCode, body, status)
			}
			return string(body)
		}
		own := http.Header{"Origin": {server.URL}, "Sec-Fetch-Site": {"same-origin"}}
		other := http.Header{"Origin": {base.Scheme + "://evil.example"}, "Sec-Fetch-Site": {"cross-site"}}
		const credentials = "name=alice&password=correct+horse"
		const me = `{"name":"alice"}`

		do(&browser, 401, "GET", "/api/me", "", own)
		do(&browser, 400, "POST", "/sign-in", "name=alice&password=wrong", own)
		do(&browser, 403, "POST", "/sign-in", credentials, other)
		if cookies := jar.Cookies(base); len(cookies) != 0 {
			t.Errorf("before the sign-in the browser has the cookies %v", cookies)
		}
		do(&browser, 204, "POST", "/sign-in", credentials, own)
		if cookies := jar.Cookies(base); len(cookies) != 1 || cookies[0].Name != server.cookie {
			t.Errorf("the browser has the cookies %v, want %s", cookies, server.cookie)
		}

		var issued struct {
			AccessToken string `json:"access_token"`
		}
		body := do(&app, 200, "POST", "/Token", "grant_type=password&username=alice&password=correct+horse", nil)
		if err := json.Unmarshal([]byte(body), &issued); err != nil {
			t.Fatal(err)
		}
		bearer := http.Header{"Authorization": {"Bearer " + issued.AccessToken}}
		for client, header := range map[*http.Client]http.Header{&browser: own, &app: bearer} {
			if got := do(client, 200, "GET", "/api/me", "", header); got != me {
				t.Errorf("/api/me is %s", got)
			}
			do(client, 201, "POST", "/api/messages", "", header)
		}
		do(&browser, 403, "POST", "/api/messages", "", other)
		do(&browser, 403, "POST", "/sign-out", "", other)
		do(&app, 403, "POST", "/sign-out", "", other) // with SameSite the browser leaves out the cookie

		token := jar.Cookies(base)[0].Value
		do(&browser, 204, "POST", "/sign-out", "", own)
		if cookies := jar.Cookies(base); len(cookies) != 0 {
			t.Errorf("after the sign-out the browser has the cookies %v", cookies)
		}
		do(&browser, 401, "GET", "/api/me", "", http.Header{"Cookie": {server.cookie + "=" + token}})
		do(&browser, 204, "POST", "/sign-out", "", own) // again
		do(&app, 200, "GET", "/api/me", "", bearer)
	}
}
