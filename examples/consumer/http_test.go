package main

import (
	"encoding/json"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pquerna/otp/totp"
)

const wrongPassword = `{"error":"invalid_grant","error_description":"The user name or password is incorrect."}`

func TestDevices(t *testing.T) {
	onEach(t, databases, func(t *testing.T, storeURL string) {
		s := startSite(t, config{store: storeURL})
		phone := s.client(t).signIn("username", "phone")
		laptop := s.client(t).signInWithCookie("username", "laptop")
		other := s.client(t).signIn("reader", "phone")

		var me struct {
			ID, Name string
			Roles    []string
		}
		if err := json.Unmarshal([]byte(phone.want(200, "GET", "/api/me", nil)), &me); err != nil || me.Name != "username" || me.ID == "" || len(me.Roles) != 1 || me.Roles[0] != "Administrator" {
			t.Errorf("GET /api/me: got %+v, %v", me, err)
		}

		body := laptop.want(200, "GET", "/api/devices", nil)
		line := `\{"id":"[\w-]+","name":"The (phone|laptop)","issued":"[0-9T:.-]+Z","lastSeen":"[0-9T:.-]+Z","current":(true|false)\}`
		if !regexp.MustCompile(`^\[` + line + "," + line + `\]$`).MatchString(body) {
			t.Errorf("GET /api/devices: got %s", body)
		}
		mine, theirs := laptop.devices(), other.devices()
		if len(mine) != 2 || !mine["The laptop"].Current || mine["The phone"].Current || len(theirs) != 1 {
			t.Errorf("the devices are %+v, and of the other user %+v", mine, theirs)
		}
		if d := mine["The phone"]; time.Since(d.Issued).Abs() > time.Hour || time.Since(d.LastSeen).Abs() > 2*time.Hour {
			t.Errorf("the phone has the times %+v", d)
		}

		// A second sign-in on a device replaces the first. One without a device has a
		// place of its own.
		again := s.client(t).signIn("username", "phone")
		phone.want(401, "GET", "/api/me", nil)
		s.client(t).signIn("username", "").want(200, "GET", "/api/me", nil)
		if got := again.devices(); len(got) != 3 || got["The phone"].ID != mine["The phone"].ID {
			t.Errorf("the devices are %+v", got)
		}

		// Another user's device, a device of the user, and one that has ended already.
		// Only the user of a phone can end it, although both phones sent the same ID.
		laptop.want(404, "DELETE", "/api/devices/"+theirs["The phone"].ID, nil)
		again.want(200, "GET", "/api/me", nil)
		laptop.want(204, "DELETE", "/api/devices/"+mine["The phone"].ID, nil)
		again.want(401, "GET", "/api/me", nil)
		other.want(200, "GET", "/api/me", nil)
		for _, id := range []string{mine["The phone"].ID, theirs["The phone"].ID, "x", "%2F", ""} {
			laptop.want(404, "DELETE", "/api/devices/"+id, nil)
		}
		other.want(200, "GET", "/api/me", nil)

		phone = s.client(t).signIn("username", "phone")
		laptop.want(204, "DELETE", "/api/devices", nil)
		phone.want(401, "GET", "/api/me", nil)
		if got := laptop.devices(); len(got) != 1 || !got["The laptop"].Current {
			t.Errorf("after the others ended, the devices are %+v", got)
		}
		laptop.want(204, "DELETE", "/api/devices/"+mine["The laptop"].ID, nil)
		for _, path := range []string{"/api/me", "/api/devices", "/events", "/ws"} {
			laptop.want(401, "GET", path, nil)
			s.client(t).want(401, "GET", path, nil)
		}
	})
}

// A keyList is what GET /api/keys returns.
type keyList []key

func (c *client) keys() (list keyList) {
	c.t.Helper()
	if err := json.Unmarshal([]byte(c.want(200, "GET", "/api/keys", nil)), &list); err != nil {
		c.t.Fatal(err)
	}
	return list
}

// makeKey returns the ID of a new key, and the client that has the key.
func (c *client) makeKey(form url.Values) (id string, script *client) {
	c.t.Helper()
	var made struct{ ID, Name, Key string }
	body := c.want(201, "POST", "/api/keys", form)
	if err := json.Unmarshal([]byte(body), &made); err != nil || !strings.HasPrefix(made.Key, made.ID) || !strings.HasPrefix(made.ID, "consumer_") || made.Name != form.Get("name") {
		c.t.Fatalf("POST /api/keys: got %s, %v", body, err)
	}
	return made.ID, &client{t: c.t, url: c.url, token: made.Key}
}

func TestKeys(t *testing.T) {
	onEach(t, []string{"sqlite", "postgres", "mysql", "redis", "memory"}, func(t *testing.T, storeURL string) {
		s := startSite(t, config{store: storeURL})
		ann, browser, reader := s.client(t).signIn("username", "phone"), s.client(t).signInWithCookie("username", "browser"), s.client(t).signIn("reader", "")
		for name, form := range map[string]url.Values{
			"no name":         {"days": {"1"}},
			"empty name":      {"name": {""}},
			"long name":       {"name": {strings.Repeat("x", 101)}},
			"another's role":  {"name": {"x"}, "role": {"Reader"}},
			"no days":         {"name": {"x"}, "days": {"0"}},
			"negative days":   {"name": {"x"}, "days": {"-1"}},
			"too many days":   {"name": {"x"}, "days": {"3651"}},
			"days in letters": {"name": {"x"}, "days": {"week"}},
		} {
			if response, body := ann.send("POST", "/api/keys", form); response.StatusCode != 400 || !strings.Contains(body, `"invalid_request"`) {
				t.Errorf("%s: got %d %s, want 400", name, response.StatusCode, body)
			}
		}
		if list := ann.keys(); len(list) != 0 {
			t.Fatalf("the refused requests made the keys %+v", list)
		}

		id, script := ann.makeKey(url.Values{"name": {"<b>Nightly</b>"}, "role": {"Administrator"}, "days": {"30"}})
		other, forever := browser.makeKey(url.Values{"name": {"Backup"}})
		list := browser.keys()
		if len(list) != 2 {
			t.Fatalf("the keys are %+v, want two", list)
		}
		for _, k := range list {
			switch {
			case k.ID == id && k.Name == "<b>Nightly</b>" && k.Role == "Administrator" && k.Expires != nil && time.Until(*k.Expires).Round(time.Hour) == 30*24*time.Hour:
			case k.ID == other && k.Name == "Backup" && k.Role == "" && k.Expires == nil:
			default:
				t.Errorf("got the key %+v", k)
			}
		}

		// A key opens one route only.
		if body := script.want(200, "GET", "/api/reports", nil); !strings.Contains(body, `"key":"`+id+`"`) || !strings.Contains(body, `"roles":["Administrator"]`) {
			t.Errorf("the reports with a key: %s", body)
		}
		if body := ann.want(200, "GET", "/api/reports", nil); !strings.Contains(body, `"key":""`) {
			t.Errorf("the reports with a sign-in: %s", body)
		}
		for _, call := range []string{"GET /api/me", "GET /api/devices", "DELETE /api/devices", "GET /api/keys", "DELETE /api/keys/" + id, "GET /events", "GET /ws"} {
			method, path, _ := strings.Cut(call, " ")
			script.want(403, method, path, nil)
		}
		script.want(403, "POST", "/api/keys", url.Values{"name": {"x"}})
		script.want(403, "PATCH", "/api/keys/"+id, url.Values{"name": {"x"}})
		script.want(403, "POST", "/api/password", url.Values{"current": {trialPassword}, "new": {"x"}})
		cookie := &client{t: t, url: s.url, cookies: []*http.Cookie{{Name: "session", Value: script.token, Path: "/"}}}
		if response, _ := cookie.send("GET", "/api/reports", nil); response.StatusCode < 400 {
			t.Errorf("a key in the cookie: got %d", response.StatusCode)
		}

		// Renaming, also another user's key.
		ann.want(204, "PATCH", "/api/keys/"+id, url.Values{"name": {"Weekly"}})
		ann.want(400, "PATCH", "/api/keys/"+id, url.Values{"name": {strings.Repeat("x", 101)}})
		ann.want(400, "PATCH", "/api/keys/"+id, url.Values{"name": {""}})
		reader.want(404, "PATCH", "/api/keys/"+id, url.Values{"name": {"x"}})
		reader.want(404, "DELETE", "/api/keys/"+id, nil)
		if list := ann.keys(); len(list) != 2 || list[0].Name != "Weekly" && list[1].Name != "Weekly" {
			t.Errorf("after renaming, the keys are %+v", list)
		}

		// A new password, and the end of all devices.
		ann.want(204, "POST", "/api/password", url.Values{"current": {trialPassword}, "new": {"another"}})
		browser.want(401, "GET", "/api/me", nil)
		script.want(200, "GET", "/api/reports", nil)
		ann.want(204, "DELETE", "/session", nil)
		forever.want(200, "GET", "/api/reports", nil)

		ann = s.client(t).with(s.client(t).want(200, "POST", "/Token", url.Values{"grant_type": {"password"}, "username": {"username"}, "password": {"another"}}))
		ann.want(204, "DELETE", "/api/keys/"+id, nil)
		for _, unknown := range []string{id, "x", "%2F", "", script.token} {
			ann.want(404, "DELETE", "/api/keys/"+unknown, nil)
		}
		script.want(401, "GET", "/api/reports", nil)
		forever.want(200, "GET", "/api/reports", nil)

		for range 49 {
			ann.makeKey(url.Values{"name": {"one of many"}})
		}
		if body := ann.want(400, "POST", "/api/keys", url.Values{"name": {"one too many"}}); !strings.Contains(body, "too many API keys") {
			t.Errorf("the 51st key: got %s", body)
		}
	})
}

// A key's role ends with the user's, and the key with the user.
func TestKeysOfADisabledUser(t *testing.T) {
	onEach(t, databases, func(t *testing.T, storeURL string) {
		s := startSite(t, config{store: storeURL})
		_, script := s.client(t).signIn("username", "").makeKey(url.Values{"name": {"x"}})
		user := trialUsers[0].ID
		if err := s.store.table.SetRoles(t.Context(), user); err != nil {
			t.Fatal(err)
		}
		if body := script.want(200, "GET", "/api/reports", nil); strings.Contains(body, "Administrator") {
			t.Errorf("after the user lost the role: %s", body)
		}
		if err := s.store.table.SetDisabled(t.Context(), user, true); err != nil {
			t.Fatal(err)
		}
		script.want(401, "GET", "/api/reports", nil)
		if err := s.store.table.SetDisabled(t.Context(), user, false); err != nil {
			t.Fatal(err)
		}
		script.want(200, "GET", "/api/reports", nil)
	})
}

func TestSession(t *testing.T) {
	onEach(t, databases, func(t *testing.T, storeURL string) {
		s := startSite(t, config{store: storeURL})
		stranger := s.client(t)
		for name, header := range map[string][]string{
			"Sec-Fetch-Site": {"Sec-Fetch-Site", "cross-site"},
			"same site":      {"Sec-Fetch-Site", "same-site"},
			"Origin":         {"Origin", "https://evil.example"},
		} {
			response, _ := stranger.send("POST", "/session", credentials("username", trialPassword, "x"), header...)
			if response.StatusCode != 403 || len(response.Cookies()) != 0 {
				t.Errorf("POST /session with %s: got %d and the cookies %v, want 403", name, response.StatusCode, response.Cookies())
			}
		}
		for _, test := range []struct{ what, form, want string }{
			{"wrong password", "username=username&password=wrong", wrongPassword},
			{"unknown user", "username=nobody&password=wrong", wrongPassword},
			{"no password", "username=username", wrongPassword},
			{"mfa without a code", "username=mfa&password=password&device=x", `"error":"mfa_required"`},
			{"mfa with a wrong password", "username=mfa&password=wrong", wrongPassword},
			{"no user name", "password=password", `"error":"invalid_request"`},
			{"long device", "username=username&password=password&device=" + strings.Repeat("x", 65), `"error":"invalid_request"`},
			{"long name", "username=username&password=password&device=x&device_name=" + strings.Repeat("x", 101), `"error":"invalid_request"`},
		} {
			form, err := url.ParseQuery(test.form)
			if err != nil {
				t.Fatal(err)
			}
			response, body := stranger.send("POST", "/session", form)
			if response.StatusCode != 400 || !strings.Contains(body, test.want) || len(response.Cookies()) != 0 {
				t.Errorf("%s: got %d %s", test.what, response.StatusCode, body)
			}
		}
		stranger.want(400, "POST", "/session?username=username&password=password", nil)

		browser := stranger.signInWithCookie("username", "browser")
		browser.want(200, "GET", "/api/me", nil)
		browser.want(403, "DELETE", "/api/devices", nil, "Sec-Fetch-Site", "cross-site")
		browser.want(403, "DELETE", "/session", nil, "Sec-Fetch-Site", "cross-site")
		browser.want(200, "GET", "/api/me", nil, "Sec-Fetch-Site", "same-origin")
		response, body := browser.send("DELETE", "/session", nil, "Sec-Fetch-Site", "same-origin")
		cookies := response.Cookies()
		if response.StatusCode != 204 || len(cookies) != 2 || cookies[0].Name != "session" || cookies[1].Name != "stay" || cookies[0].MaxAge >= 0 || cookies[1].MaxAge >= 0 {
			t.Errorf("DELETE /session: got %d %s and the cookies %v", response.StatusCode, body, cookies)
		}
		browser.want(401, "GET", "/api/me", nil)
		browser.want(204, "DELETE", "/session", nil) // again
		app := stranger.signIn("username", "app")
		app.want(204, "DELETE", "/session", nil)
		app.want(401, "GET", "/api/me", nil)
	})
}

// code returns the code of the user mfa.
func code(t *testing.T, at time.Time) string {
	t.Helper()
	code, err := totp.GenerateCode(trialSecret, at)
	if err != nil {
		t.Fatal(err)
	}
	return code
}

// Of many sign-ins with one code, at two processes, one succeeds.
func TestCodeWorksOnce(t *testing.T) {
	onEach(t, databases, func(t *testing.T, storeURL string) {
		sites := []*site{startSite(t, config{store: storeURL}), startSite(t, config{store: storeURL})}
		form := credentials("mfa", trialPassword, "phone")
		if got := sites[0].client(t).want(400, "POST", "/Token", form); !strings.Contains(got, `"error":"mfa_required"`) {
			t.Errorf("without a code: got %s", got)
		}
		form.Set("otp", code(t, time.Now().Add(30*time.Second))) // of the next step, so that it does not expire meanwhile
		var wg sync.WaitGroup
		statuses := make(chan int, 6)
		for i := range cap(statuses) {
			wg.Go(func() {
				path := []string{"/Token", "/session"}[i/2%2]
				response, _ := sites[i%2].client(t).send("POST", path, form)
				statuses <- response.StatusCode
			})
		}
		wg.Wait()
		close(statuses)
		succeeded := 0
		for status := range statuses {
			switch status {
			case 200, 204:
				succeeded++
			case 400, 429: // many wrong codes must wait
			default:
				t.Errorf("a sign-in was answered with %d", status)
			}
		}
		if succeeded != 1 {
			t.Errorf("%d sign-ins succeeded with one code, want 1", succeeded)
		}
	})
}

func TestPasswordChange(t *testing.T) {
	onEach(t, append(databases, "memory", "redis"), func(t *testing.T, storeURL string) {
		s := startSite(t, config{store: storeURL})
		phone := s.client(t).signIn("username", "phone")
		laptop := s.client(t).signInWithCookie("username", "laptop")
		other := s.client(t).signIn("reader", "phone")
		ends, stays := phone.events(), laptop.socket()

		_, token := s.client(t).send("POST", "/Token", credentials("username", "wrong", ""))
		if got := laptop.want(400, "POST", "/api/password", url.Values{"current": {"wrong"}, "new": {"next"}}); got != token || got != wrongPassword {
			t.Errorf("a wrong current password: got %s, and /Token answers %s", got, token)
		}
		for name, new := range map[string]string{"empty": "", "long": strings.Repeat("x", 1025)} {
			if got := laptop.want(400, "POST", "/api/password", url.Values{"current": {trialPassword}, "new": {new}}); !strings.Contains(got, "invalid_request") {
				t.Errorf("the %s new password: got %s", name, got)
			}
		}
		laptop.want(400, "POST", "/api/password", nil)
		laptop.want(403, "POST", "/api/password", url.Values{"current": {trialPassword}, "new": {"next"}}, "Sec-Fetch-Site", "cross-site")
		phone.want(200, "GET", "/api/me", nil)

		laptop.want(204, "POST", "/api/password", url.Values{"current": {trialPassword}, "new": {"next"}})
		wantEnd(t, ends, `end {"reason":"ended"}`)
		phone.want(401, "GET", "/api/me", nil)
		laptop.want(200, "GET", "/api/me", nil)
		other.want(200, "GET", "/api/me", nil)
		phone.refusesRefresh()
		laptop.refreshed().want(200, "GET", "/api/me", nil)
		wantOpen(t, stays)
		s.client(t).want(400, "POST", "/Token", credentials("username", trialPassword, "phone"))
		s.client(t).want(200, "POST", "/Token", credentials("username", "next", "phone"))
	})
}

// A stolen token does not help to guess the password: wrong ones count as failed
// sign-ins.
func TestWrongCurrentPasswordsAreThrottled(t *testing.T) {
	t.Parallel()
	s := startSite(t, config{store: "memory:"})
	phone := s.client(t).signIn("username", "phone")
	for i := 0; ; i++ {
		response, body := phone.send("POST", "/api/password", url.Values{"current": {strings.Repeat("x", i)}, "new": {"next"}})
		if response.StatusCode == 429 && response.Header.Get("Retry-After") != "" {
			break
		}
		if response.StatusCode != 400 || i > 20 {
			t.Fatalf("wrong password %d: got %d %s, want 400 and soon 429", i, response.StatusCode, body)
		}
	}
	s.client(t).want(429, "POST", "/Token", credentials("username", trialPassword, ""))
}

// The user mfa changes the password without a code, because the sign-in had one.
func TestPasswordChangeNeedsNoCode(t *testing.T) {
	t.Parallel()
	s := startSite(t, config{store: storeURLs["sqlite"](t)})
	form := credentials("mfa", trialPassword, "phone")
	form.Set("otp", code(t, time.Now()))
	response, body := s.client(t).send("POST", "/session", form)
	phone := s.client(t).withCookies(response, body).refreshed() // nor does a refresh
	phone.want(204, "POST", "/api/password", url.Values{"current": {trialPassword}, "new": {"next"}})
	phone.refreshed().want(200, "GET", "/api/me", nil)
}

func TestOtherOrigin(t *testing.T) {
	t.Parallel()
	const own, foreign = "https://app.example", "https://evil.example"
	s := startSite(t, config{store: "memory:", origin: own})
	for _, test := range []struct {
		path, origin string
		allowed      bool
	}{
		{"/Token", own, true},
		{"/token", own, true},
		{"/api/me", own, true},
		{"/api/devices/x", own, true},
		{"/session", own, false},
		{"/events", own, false},
		{"/", own, false},
		{"/Token", foreign, false},
		{"/api/me", foreign, false},
		{"/api/me", "null", false},
	} {
		response, _ := s.client(t).send("OPTIONS", test.path, nil, "Origin", test.origin,
			"Access-Control-Request-Method", "DELETE", "Access-Control-Request-Headers", "authorization,content-type")
		h := response.Header
		allowed := response.StatusCode == 204 && h.Get("Access-Control-Allow-Origin") == own &&
			strings.Contains(h.Get("Access-Control-Allow-Methods"), "DELETE") && h.Get("Access-Control-Allow-Headers") == "Authorization, Content-Type"
		if allowed != test.allowed || h.Get("Access-Control-Allow-Credentials") != "" || !test.allowed && h.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("the preflight of %s by %s: got %d %v", test.path, test.origin, response.StatusCode, h)
		}
	}
	phone := s.client(t).signIn("username", "phone")
	response, _ := phone.send("GET", "/api/me", nil, "Origin", own)
	if h := response.Header; response.StatusCode != 200 || h.Get("Access-Control-Allow-Origin") != own || !strings.Contains(strings.Join(h.Values("Vary"), ","), "Origin") {
		t.Errorf("GET /api/me: got %d %v", response.StatusCode, h)
	}
	response, _ = s.client(t).send("POST", "/Token", credentials("username", trialPassword, ""), "Origin", own)
	if h := response.Header; response.StatusCode != 200 || h.Get("Access-Control-Allow-Origin") != own {
		t.Errorf("POST /Token: got %d %v", response.StatusCode, h)
	}
	response, _ = s.client(t).send("POST", "/session", credentials("username", trialPassword, ""), "Origin", own)
	if response.StatusCode != http.StatusForbidden {
		t.Errorf("POST /session: got %d, want 403", response.StatusCode)
	}
}
