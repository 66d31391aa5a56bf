package failover

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
)

// An answer is the result of a request, as the client saw it.
type answer struct {
	status       int // 0 for no answer
	began, ended time.Time
	text         string // the access token of a sign-in
	err          string // why the answer is wrong for any request; "" if it is not
}

// figures sum up the answers of all clients.
type figures struct {
	mu          sync.Mutex
	right       int // 200, or a right 401
	unavailable int // 503 with Retry-After
	slowest     time.Duration
	wrong       []string
	lost        int                  // tokens that the engine lost or revived; see books.judge
	lastTrouble map[string]time.Time // of the last 503, by kind of request
	confirmed   int                  // changes since the fault began
}

func (f *figures) violate(format string, args ...any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.wrong = append(f.wrong, fmt.Sprintf(format, args...))
}

// count counts an answer to a request of the kind.
func (f *figures) count(kind string, a answer) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.slowest = max(f.slowest, a.ended.Sub(a.began))
	switch {
	case a.err != "":
		f.wrong = append(f.wrong, kind+": "+a.err)
	case a.status == http.StatusServiceUnavailable:
		f.unavailable++
		f.lastTrouble[kind] = a.ended
	default:
		f.right++
		if kind != validates {
			f.confirmed++
		}
	}
}

// The kinds of requests.
const (
	signsIn   = "sign-in"
	validates = "validation"
	revokes   = "revocation"
)

var client = &http.Client{Timeout: 15 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 64}}

func send(method, target, bearer string, form url.Values) (a answer) {
	r, err := http.NewRequest(method, target, strings.NewReader(form.Encode()))
	if err != nil {
		return answer{err: err.Error()}
	}
	if bearer != "" {
		r.Header.Set("Authorization", "Bearer "+bearer)
	}
	if form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	a.began = time.Now()
	response, err := client.Do(r)
	if err != nil {
		a.ended, a.err = time.Now(), err.Error()
		return a
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	a.ended, a.status = time.Now(), response.StatusCode
	var issued struct {
		AccessToken string `json:"access_token"`
	}
	switch {
	case err != nil:
		a.err = err.Error()
	case a.status == http.StatusServiceUnavailable && response.Header.Get("Retry-After") == "":
		a.err = "503 without Retry-After"
	case form.Has("grant_type") && a.status == http.StatusOK:
		if json.Unmarshal(body, &issued) != nil || issued.AccessToken == "" {
			a.err = "200 without an access token"
		}
		a.text = issued.AccessToken
	case a.status != http.StatusOK && a.status != http.StatusServiceUnavailable && (form != nil || a.status != http.StatusUnauthorized):
		a.err = fmt.Sprintf("status %d: %s", a.status, body)
	}
	return a
}

func signIn(r *replica, name string) answer {
	return send("POST", r.url+"/Token", "", url.Values{"grant_type": {"password"}, "username": {name}, "password": {name}})
}

func revoke(r *replica, text string) answer {
	return send("POST", r.url+"/revoke", "", url.Values{"token": {text}})
}

func validate(r *replica, text string) answer { return send("GET", r.url+"/me", text, nil) }
