package main

import (
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"
)

// An answer is what a client gets to see.
type answer struct {
	status            int
	contentType, body string
	challenge         string
}

// refused is what ASP.NET says of a wrong password, to the byte.
var refused = answer{
	status:      400,
	contentType: "application/json;charset=UTF-8",
	body:        `{"error":"invalid_grant","error_description":"The user name or password is incorrect."}`,
}

// signIn sends what HttpClient.PostAsync does with a FormUrlEncodedContent of
// these: the parameters in order, a Content-Type without charset, and, on .NET
// Framework, the wish to be told to continue.
func (s *site) signIn(t *testing.T, userName, password string) answer {
	t.Helper()
	body := "grant_type=password&username=" + url.QueryEscape(userName) + "&password=" + url.QueryEscape(password)
	r, err := http.NewRequest("POST", s.url+"/Token", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header = http.Header{
		"Content-Type": {"application/x-www-form-urlencoded"},
		"Expect":       {"100-continue"},
		"User-Agent":   nil,
	}
	return send(t, r)
}

// get calls an action as HttpClient does with DefaultRequestHeaders.Authorization.
func (s *site) get(t *testing.T, path, accessToken string) answer {
	t.Helper()
	r, err := http.NewRequest("GET", s.url+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header = http.Header{"Accept": {"application/json"}, "User-Agent": nil}
	if accessToken != "" {
		r.Header.Set("Authorization", "Bearer "+accessToken)
	}
	return send(t, r)
}

func send(t *testing.T, r *http.Request) answer {
	t.Helper()
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{response.StatusCode, response.Header.Get("Content-Type"), string(body), response.Header.Get("WWW-Authenticate")}
}

// A tokenResponse is the class that clients of a Web API deserialize into.
type tokenResponse struct {
	AccessToken string `json:"access_token"`
	TokenType   string `json:"token_type"`
	ExpiresIn   int    `json:"expires_in"`
	UserName    string `json:"userName"`
	UserID      string `json:"userId"`
	Role        string `json:"role"`
	Issued      string `json:".issued"`
	Expires     string `json:".expires"`
}

var inOrder = regexp.MustCompile(`^\{"access_token":"[^"]+","token_type":"bearer","expires_in":[0-9]+,"userName":"[^"]*","userId":"[^"]+","role":"[^"]*",".issued":"[^"]+",".expires":"[^"]+"\}$`)

// token reads the answer to a good sign-in, and finds it to be what ASP.NET's
// clients expect.
func (a answer) token(t *testing.T) (r tokenResponse) {
	t.Helper()
	if a.status != 200 || a.contentType != refused.contentType || !inOrder.MatchString(a.body) {
		t.Fatalf("signing in answered %+v", a)
	}
	if err := json.Unmarshal([]byte(a.body), &r); err != nil {
		t.Fatal(err)
	}
	// DateTimeOffset.ParseExact(…, "r")
	issued, err := time.Parse(http.TimeFormat, r.Issued)
	if err != nil {
		t.Fatal(err)
	}
	expires, err := time.Parse(http.TimeFormat, r.Expires)
	if err != nil {
		t.Fatal(err)
	}
	const fortnight = 14 * 24 * time.Hour
	if expires.Sub(issued) != fortnight || r.ExpiresIn < 1209500 || r.ExpiresIn > 1209599 {
		t.Errorf("issued %v, expires %v, in %d seconds", issued, expires, r.ExpiresIn)
	}
	return r
}
