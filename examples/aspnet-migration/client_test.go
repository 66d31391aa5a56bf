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

// An answer is the part of a response that the tests compare.
type answer struct {
	status            int
	contentType, body string
	challenge         string
}

// refused is the response of ASP.NET to a wrong password, byte for byte.
var refused = answer{
	status:      400,
	contentType: "application/json;charset=UTF-8",
	body:        `{"error":"invalid_grant","error_description":"The user name or password is incorrect."}`,
}

// signIn sends the request of HttpClient.PostAsync with a FormUrlEncodedContent:
// the parameters in this order, a Content-Type without a charset, and the header
// Expect that .NET Framework adds.
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

// get calls a route as HttpClient does, with the token in
// DefaultRequestHeaders.Authorization.
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

// A tokenResponse has the members that clients of ASP.NET Web API read.
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

// token decodes the response to a successful sign-in. It fails the test if the
// response does not have the form that clients of ASP.NET expect.
func (a answer) token(t *testing.T) (r tokenResponse) {
	t.Helper()
	if a.status != 200 || a.contentType != refused.contentType || !inOrder.MatchString(a.body) {
		t.Fatalf("sign-in: got %+v, want 200 with the members of ASP.NET in order", a)
	}
	if err := json.Unmarshal([]byte(a.body), &r); err != nil {
		t.Fatal(err)
	}
	// Clients call DateTimeOffset.ParseExact(…, "r").
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
		t.Errorf("got .issued %v, .expires %v, expires_in %d, want 14 days", issued, expires, r.ExpiresIn)
	}
	return r
}
