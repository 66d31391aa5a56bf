package main

import (
	"net/http"
	"regexp"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// frozen is a clock for tests that must not take longer than the grace.
func frozen() func() time.Time {
	now := time.Now()
	return func() time.Time { return now }
}

func TestRefreshOfAnApp(t *testing.T) {
	onEach(t, append(databases, "memory", "redis"), func(t *testing.T, storeURL string) {
		s := startSite(t, config{store: storeURL, now: frozen()})
		body := s.client(t).want(200, "POST", "/Token", credentials("username", trialPassword, "phone"))
		if !regexp.MustCompile(`"expires_in":(900|8\d\d),"refresh_token":"trt_[\w-]+",`).MatchString(body) {
			t.Errorf("POST /Token: got %s", body)
		}
		phone := s.client(t).with(body)
		again := phone.refreshed()
		if again.token == phone.token || again.refresh == phone.refresh {
			t.Error("a refresh returned the same tokens")
		}
		phone.want(401, "GET", "/api/me", nil)
		again.want(200, "GET", "/api/me", nil)
		if lost := phone.refreshed(); lost.token != again.token || lost.refresh != again.refresh {
			t.Error("the repetition of a refresh, after a lost answer, returned other tokens")
		}

		// A route for access tokens refuses a refresh token, and a refresh refuses an access token.
		for _, path := range []string{"/api/me", "/api/devices", "/events", "/ws"} {
			(&client{t: t, url: s.url, token: again.refresh}).want(401, "GET", path, nil)
		}
		(&client{t: t, url: s.url, refresh: again.token}).refusesRefresh()
		s.client(t).want(400, "POST", "/Token", s.client(t).refreshing())
		again.refreshed().want(204, "DELETE", "/session", nil)
		again.refusesRefresh()
	})
}

func TestRefreshOfABrowser(t *testing.T) {
	onEach(t, append(databases, "memory", "redis"), func(t *testing.T, storeURL string) {
		s := startSite(t, config{store: storeURL, now: frozen()})
		browser := s.client(t).signInWithCookie("username", "browser")
		if age, stays := browser.cookies[0].MaxAge, browser.cookies[1].MaxAge; age != 15*60 || stays != 30*24*60*60 {
			t.Errorf("the cookies have the ages %d s and %d s", age, stays)
		}
		again := browser.refreshed()
		browser.want(401, "GET", "/api/me", nil)
		again.want(200, "GET", "/api/me", nil)
		lost := browser.refreshed()
		for i := range again.cookies {
			if lost.cookies[i].Value != again.cookies[i].Value {
				t.Errorf("after a lost answer, the cookie %s has another value", again.cookies[i].Name)
			}
		}

		// Where others could read along, the cookies are only for HTTPS.
		response, body := again.send("POST", "/session", credentials("username", trialPassword, "x"), "X-Forwarded-Proto", "https")
		cookies := response.Cookies()
		if response.StatusCode != 204 || len(cookies) != 2 || cookies[0].Name != "__Host-session" || cookies[1].Name != "__Secure-stay" ||
			!cookies[0].Secure || !cookies[1].Secure || cookies[1].Path != "/session" || !cookies[1].HttpOnly || cookies[1].SameSite != http.SameSiteStrictMode {
			t.Errorf("POST /session behind a proxy: got %d %s and the cookies %v", response.StatusCode, body, cookies)
		}

		for name, header := range map[string][]string{
			"Sec-Fetch-Site": {"Sec-Fetch-Site", "cross-site"},
			"same site":      {"Sec-Fetch-Site", "same-site"},
			"Origin":         {"Origin", "https://evil.example"},
		} {
			for _, method := range []string{"POST", "DELETE"} {
				response, _ := again.send(method, "/session", again.refreshing(), header...)
				if response.StatusCode != 403 || len(response.Cookies()) != 0 {
					t.Errorf("%s /session with %s: got %d and the cookies %v, want 403", method, name, response.StatusCode, response.Cookies())
				}
			}
		}
		again.want(200, "GET", "/api/me", nil)

		// No cookie, one without a refresh token, and the access token in it.
		(&client{t: t, url: s.url, cookies: again.cookies[:1]}).refusesRefresh()
		for _, value := range []string{"x", again.cookies[0].Value} {
			(&client{t: t, url: s.url, cookies: []*http.Cookie{{Name: "stay", Path: "/session", Value: value}}}).refusesRefresh()
		}
		again.refreshed().want(200, "GET", "/api/me", nil)
	})
}

// A browser with a few tabs whose requests get 401 at the same time.
func TestConcurrentRefreshesSetTheSameCookies(t *testing.T) {
	onEach(t, databases, func(t *testing.T, storeURL string) {
		s := startSite(t, config{store: storeURL, now: frozen()})
		browser := s.client(t).signInWithCookie("username", "browser")
		responses := make([]*http.Response, 4)
		var wg sync.WaitGroup
		for i := range responses {
			wg.Go(func() { responses[i], _ = browser.send("POST", "/session", browser.refreshing()) })
		}
		wg.Wait()
		first := browser.withCookies(responses[0], "")
		for _, response := range responses[1:] {
			for i, cookie := range browser.withCookies(response, "").cookies {
				if cookie.Value != first.cookies[i].Value {
					t.Errorf("the cookie %s has two values", cookie.Name)
				}
			}
		}
		first.want(200, "GET", "/api/me", nil)
	})
}

// After the grace, a refresh token that was used before proves that there is a copy.
func TestReuseEndsTheDevice(t *testing.T) {
	t.Parallel()
	var later atomic.Int64 // a time.Duration
	began := time.Now()
	s := startSite(t, config{store: "memory:", now: func() time.Time { return began.Add(time.Duration(later.Load())) }})
	phone, laptop := s.client(t).signIn("username", "phone"), s.client(t).signIn("username", "laptop")
	again := phone.refreshed()
	for range 3 {
		phone.refreshed()
	}
	phone.refusesRefresh() // was repeated often enough
	again.want(200, "GET", "/api/me", nil)
	later.Store(int64(11 * time.Second))
	phone.refusesRefresh()
	again.want(401, "GET", "/api/me", nil)
	again.refusesRefresh()
	laptop.refreshed().want(200, "GET", "/api/me", nil)
}

// The access token of a device has expired, as after a night. It is still signed in.
func TestDeviceOutlivesItsAccessToken(t *testing.T) {
	onEach(t, databases, func(t *testing.T, storeURL string) {
		s := startSite(t, config{store: storeURL})
		laptop, phone := s.client(t).signInWithCookie("username", "laptop"), s.client(t).signIn("username", "phone")
		signedIn := laptop.devices()
		s.expire(t, "user-1")
		laptop.want(401, "GET", "/api/me", nil)
		laptop = laptop.refreshed()
		got := laptop.devices()
		for name, before := range signedIn {
			if d := got[name]; len(got) != 2 || d.ID != before.ID || d.Issued != before.Issued || d.Current != before.Current {
				t.Errorf("after a night, the devices are %+v, and were %+v", got, signedIn)
			}
		}
		phone.want(401, "GET", "/api/me", nil)
		phone.refreshed().want(200, "GET", "/api/me", nil)

		// It can be ended.
		phone = s.client(t).signIn("username", "phone")
		s.expire(t, "user-1")
		laptop = laptop.refreshed()
		laptop.want(204, "DELETE", "/api/devices/"+got["The phone"].ID, nil)
		phone.refusesRefresh()
		phone = s.client(t).signIn("username", "phone")
		s.expire(t, "user-1")
		laptop = laptop.refreshed()
		laptop.want(204, "DELETE", "/api/devices", nil)
		phone.refusesRefresh()

		// It can sign out, even if the cookie with the access token is gone.
		for missing := range 2 {
			s.expire(t, "user-1")
			(&client{t: t, url: s.url, cookies: laptop.cookies[missing:]}).want(204, "DELETE", "/session", nil)
			laptop.refusesRefresh()
			laptop = s.client(t).signInWithCookie("username", "laptop")
		}
	})
}

func TestDisabledUserCannotRefresh(t *testing.T) {
	onEach(t, databases, func(t *testing.T, storeURL string) {
		s := startSite(t, config{store: storeURL})
		phone, laptop := s.client(t).signIn("reader", "phone"), s.client(t).signInWithCookie("reader", "laptop")
		for _, disabled := range []bool{true, false} { // enabling the user does not bring the devices back
			if err := s.store.table.SetDisabled(t.Context(), "user-2", disabled); err != nil {
				t.Fatal(err)
			}
			phone.refusesRefresh()
			laptop.refusesRefresh()
		}
		s.client(t).signIn("reader", "phone").refreshed()
	})
}

// A client may refresh at any process. The key of the example is random for each of
// them, so another one refuses to repeat a refresh, and ends nothing.
func TestRefreshAtTwoProcesses(t *testing.T) {
	onEach(t, append(databases, "redis"), func(t *testing.T, storeURL string) {
		now := frozen()
		one, two := startSite(t, config{store: storeURL, now: now}), startSite(t, config{store: storeURL, now: now})
		for _, client := range []*client{one.client(t).signIn("username", "phone"), one.client(t).signInWithCookie("username", "laptop")} {
			used := client.at(two)
			client = used.refreshed().at(one)
			client.want(200, "GET", "/api/me", nil)
			used.at(one).refusesRefresh()
			client = client.refreshed()
			client.at(two).want(200, "GET", "/api/me", nil)
		}
	})
}

// Streams go on when their device is refreshed, at any process. They end with the
// device.
func TestStreamsSurviveRefreshes(t *testing.T) {
	onEach(t, append(databases, "redis", "mysql", "memory"), func(t *testing.T, storeURL string) {
		one := startSite(t, config{store: storeURL, cache: storeURL == "memory:"})
		two := one
		if storeURL != "memory:" {
			two = startSite(t, config{store: storeURL})
		}
		phone, laptop := one.client(t).signIn("username", "phone"), one.client(t).signIn("username", "laptop")
		events, sockets := []<-chan string{phone.events(), phone.at(two).events()}, []<-chan string{phone.socket(), phone.at(two).socket()}
		ends := laptop.events() // has been looked at after the refreshes
		phone = phone.refreshed()
		for range 2 {
			phone = phone.at(two).refreshed()
		}
		laptop.want(204, "DELETE", "/session", nil)
		wantEnd(t, ends, `end {"reason":"ended"}`)
		for i := range events {
			wantOpen(t, events[i])
			wantOpen(t, sockets[i])
		}
		phone.at(one).want(204, "DELETE", "/session", nil)
		for i := range events {
			wantEnd(t, events[i], `end {"reason":"ended"}`)
			wantEnd(t, sockets[i], "4401")
		}
	})
}

// A stream does not keep a device signed in: it ends when the access token that is
// current then expires.
func TestStreamEndsWhenTheCurrentTokenExpires(t *testing.T) {
	t.Parallel()
	s := startSite(t, config{store: storeURLs["sqlite"](t)})
	phone := s.client(t).signIn("username", "phone")
	events, socket := phone.events(), phone.socket()
	phone = phone.refreshed()
	s.expire(t, "user-1")
	wantEnd(t, events, `end {"reason":"expired"}`)
	wantEnd(t, socket, "4401")
	phone = phone.refreshed()
	wantOpen(t, phone.events())
}
