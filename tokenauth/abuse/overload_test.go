package abuse_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bearerkit/bearerkit/storage/gormstore"
	"github.com/bearerkit/bearerkit/storage/memory"
	"github.com/bearerkit/bearerkit/tokenauth"
	"github.com/bearerkit/bearerkit/tokenauth/password"
	"github.com/bearerkit/bearerkit/tokenauth/throttle"
)

// throttled is the refusal of a sign-in that must wait for that many seconds.
func throttled(seconds int) reply {
	return refusal(429, "temporarily_unavailable", "Too many failed sign-ins. Try again later.").with("Retry-After", strconv.Itoa(seconds))
}

// These are bodies of token requests with a wrong password.
const (
	wrongAdmin  = grantOf + "admin&password=x"
	wrongReader = grantOf + "reader&password=x"
)

var goodReader = grantOf + "reader&password=" + url.QueryEscape(otherPassword)

// behindProxy makes the host trust proxies, so that a test can choose the
// client's address.
func behindProxy(s *setup) {
	s.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("10.0.0.0/8")}
}

func from(address string) []string { return []string{"X-Forwarded-For", address} }

// outcome sends a token request. It returns the status, and the seconds of
// Retry-After if there are any.
func (h *abuseHost) outcome(t *testing.T, body string, headers ...string) string {
	t.Helper()
	a := h.do(t, "POST", "/Token", body, headers...)
	if after := a.Header.Get("Retry-After"); after != "" {
		return fmt.Sprintf("%d after %s", a.StatusCode, after)
	}
	return strconv.Itoa(a.StatusCode)
}

func (h *abuseHost) expectOutcome(t *testing.T, want, body string, headers ...string) {
	t.Helper()
	if got := h.outcome(t, body, headers...); got != want {
		t.Errorf("sign-in with body %s and headers %v: got %s, want %s", body, headers, got, want)
	}
}

// Chapter T of the catalogue: overload and the throttle.
var overload = []situation{
	{
		id: "T01", what: "the sixth failure of an account from one source",
		run: func(t *testing.T, h *abuseHost) {
			for range 5 {
				h.tries(t, rejected, "POST", "/Token", wrongAdmin)
			}
			for range 20 {
				h.tries(t, throttled(1), "POST", "/Token", wrongAdmin)
			}
			// The throttled attempts did not make the wait longer.
			h.wait(time.Second)
			h.tries(t, rejected, "POST", "/Token", wrongAdmin)
			h.tries(t, throttled(2), "POST", "/Token", wrongAdmin)
		},
	},
	{
		id: "T02", what: "the correct password while throttled",
		with: func(s *setup) { s.local = true }, // this is the default
		run: func(t *testing.T, h *abuseHost) {
			for range 5 {
				h.expectOutcome(t, "400", wrongAdmin)
			}
			right := h.tries(t, throttled(1), "POST", "/Token", goodGrant)
			wrong := h.tries(t, throttled(1), "POST", "/Token", wrongAdmin)
			right.Header.Del("Date")
			wrong.Header.Del("Date")
			if right.body != wrong.body || fmt.Sprint(right.Header) != fmt.Sprint(wrong.Header) {
				t.Errorf("the correct password got %v %s, a wrong one %v %s, want equal answers", right.Header, right.body, wrong.Header, wrong.body)
			}
			h.tries(t, throttled(1), "POST", "/Token", "grant_type=password", basic("admin", adminPassword)...)
			h.wait(time.Second)
			h.tries(t, issued, "POST", "/Token", goodGrant)
		},
	},
	{
		id: "T03", what: "a thousand concurrent wrong guesses",
		run: func(t *testing.T, h *abuseHost) {
			before := h.moment()
			got := h.atOnce(t, 1000, wrongAdmin)
			if got["400"] != 5 || got["429"] != 995 {
				t.Errorf("the statuses are %v, want 400 five times and 429 for the others", got)
			}
			if n := h.users.hashes.Load() - before.hashes; n != 5 {
				t.Errorf("%d passwords were hashed, want 5", n)
			}
			if failures := h.moment().failures(); failures != 5*5 {
				t.Errorf("the counters have %d failures in all, want 25", failures)
			}
		},
	},
	{
		id: "T04", what: "a thousand concurrent valid sign-ins",
		run: func(t *testing.T, h *abuseHost) {
			// Its own queue: sign-ins of other situations would take places.
			h.users.Authenticator = newPasswords(500)
			got := h.atOnce(t, 1000, goodGrant)
			if got["200"]+got["503"] != 1000 || got["200"] < 500 {
				t.Errorf("the statuses are %v, want only 200 and 503, and 200 for at least half of them", got)
			}
			if m := h.moment(); m.failures() != 0 || pendingIn(m.counters) != 0 {
				t.Errorf("the counters are %v, want no failed and no pending attempts", m.counters)
			}
			if stored := h.storage.called("Replace") - 1; stored != got["200"] {
				t.Errorf("%d tokens were stored for %d answers with status 200", stored, got["200"])
			}
		},
	},
	{
		id: "T05", what: "an attacker who uses many addresses of an IPv6 /64 and of a /48",
		with: func(s *setup) {
			behindProxy(s)
			s.Throttle.PerSource = 6 // and 60 for a /48
		},
		run: func(t *testing.T, h *abuseHost) {
			for i := range 5 {
				h.expectOutcome(t, "400", wrongAdmin, from(fmt.Sprintf("2001:db8:1:1:%x::%x", i, i+7))...)
			}
			h.expectOutcome(t, "429 after 1", goodGrant, from("2001:db8:1:1:ffff::")...)
			h.expectOutcome(t, "200", goodGrant, from("2001:db8:1:2::1")...)
			// The failures of all /64 networks in a /48 count together, for any
			// account.
			h.more(3)
			for i := range 60 - 5 {
				body := grantOf + fmt.Sprint("more", i%3) + "&password=x"
				h.expectOutcome(t, "400", body, from(fmt.Sprintf("2001:db8:1:%x::1", i+100))...)
			}
			h.expectOutcome(t, "429 after 1", goodReader, from("2001:db8:1:ffff::1")...)
			h.expectOutcome(t, "200", goodReader, from("2001:db8:2:ffff::1")...)
		},
	},
	{
		id: "T06", what: "notations of one address and peers without an address",
		with: behindProxy,
		run: func(t *testing.T, h *abuseHost) {
			for _, spellings := range [][]string{
				{"192.0.2.1", "::ffff:192.0.2.1", "::FFFF:C000:0201", "0:0:0:0:0:ffff:c000:201", "192.0.2.1:4711", "[::ffff:192.0.2.1]:80"},
				{"2001:db8::1", "2001:DB8:0:0:0:0:0:1", "2001:0db8::0001", "[2001:db8::2]:443", "2001:db8::%eth0", "2001:db8::1%1"},
			} {
				for i := range 5 {
					h.expectOutcome(t, "400", wrongAdmin, from(spellings[i])...)
				}
				for _, spelling := range spellings {
					h.expectOutcome(t, "429 after 1", goodGrant, from(spelling)...)
				}
			}
			peer := func(address, body string) int {
				r := httptest.NewRequest("POST", "/Token", strings.NewReader(body))
				r.RemoteAddr = address
				w := httptest.NewRecorder()
				h.handler.ServeHTTP(w, r)
				return w.Code
			}
			unknown := []string{"@", "", "/run/socket", "pipe", "999.1.1.1:80"}
			for _, address := range unknown {
				if status := peer(address, aNewGuess(wrongReader)); status != 400 {
					t.Errorf("wrong password from peer %q: got %d, want 400", address, status)
				}
			}
			for _, address := range unknown {
				if status := peer(address, goodReader); status != 429 {
					t.Errorf("valid sign-in from peer %q: got %d, want 429", address, status)
				}
			}
			if status := peer("192.0.2.77:1", goodReader); status != 200 {
				t.Errorf("valid sign-in from another address: got %d, want 200", status)
			}
		},
	},
	{
		id: "T07", what: "headers with another address, from an untrusted peer",
		run: func(t *testing.T, h *abuseHost) {
			// Gin's default configuration would trust these headers.
			names := []string{"X-Forwarded-For", "X-Real-IP", "Forwarded", "CF-Connecting-IP", "True-Client-IP", "X-Appengine-Remote-Addr", "Client-IP"}
			for i := range 30 {
				var headers []string
				for _, name := range names {
					headers = append(headers, name, fmt.Sprintf("198.51.100.%d", i))
				}
				want := rejected
				if i >= 5 {
					want = throttled(1)
				}
				h.tries(t, want, "POST", "/Token", wrongAdmin, headers...)
			}
		},
	},
	{
		id: "T08", what: "addresses that the client writes into the header of a trusted proxy",
		with: behindProxy,
		run: func(t *testing.T, h *abuseHost) {
			// Each header gives five failures to the same address, which then is
			// over its limit. The entries further left have no effect.
			for address, headers := range map[string]func(i int) []string{
				"203.0.113.1": func(i int) []string { return from(fmt.Sprintf("198.51.100.%d, 203.0.113.1", i)) },
				"203.0.113.2": func(i int) []string { return from(fmt.Sprintf("198.51.100.%d,203.0.113.2,10.1.2.3, 127.0.0.9", i)) },
				"203.0.113.3": func(i int) []string {
					return append(from(fmt.Sprintf("198.51.100.%d", i)), from(" 203.0.113.3 , 10.0.0.1")...)
				},
				"203.0.113.4": func(i int) []string { return append(from(fmt.Sprintf("x%d", i)), from("203.0.113.4")...) },
				// If an entry is not an address, the peer is the source.
				"127.0.0.1": func(i int) []string {
					return from([]string{"203.0.113.9, unknown", "203.0.113.8, ", "", "203.0.113.7, _hidden, 10.0.0.1", "203.0.113.6, 1.2.3"}[i])
				},
			} {
				for i := range 5 {
					h.expectOutcome(t, "400", wrongAdmin, headers(i)...)
				}
				for i := range 5 {
					h.expectOutcome(t, "429 after 1", wrongAdmin, headers(i)...)
				}
				h.expectOutcome(t, "429 after 1", wrongAdmin, from(address)...)
				h.expectOutcome(t, "200", goodGrant, from("192.0.2.1")...) // the success resets the counters of the account
			}
			// With too many entries, the peer is the source, too.
			h.expectOutcome(t, "429 after 1", wrongAdmin, from("203.0.113.6"+strings.Repeat(", 10.0.0.1", 50_000))...)
			// Without the header the peer is the source. Other headers have no
			// effect.
			h.expectOutcome(t, "429 after 1", goodGrant)
			h.expectOutcome(t, "429 after 1", goodGrant, "X-Real-IP", "192.0.2.2", "Forwarded", "for=192.0.2.2")
		},
	},
	{
		id: "T09", what: "spellings of a user name",
		with: func(s *setup) {
			s.normalize = func(name string) string {
				local, domain, _ := strings.Cut(name, "@")
				local, _, _ = strings.Cut(local, "+") // a rule of this host
				return new(gormstore.Users).NormalizeUserName(local + "@" + domain)
			}
		},
		run: func(t *testing.T, h *abuseHost) {
			const precomposed, decomposed = "%C3%BCmit@example.org", "u%CC%88mit@example.org"
			h.users.put(password.Account{UserID: "5", UserName: "\u00fcmit@example.org", PasswordHash: otherHash()})
			spellings := []string{precomposed, decomposed, "%C3%9CMIT@EXAMPLE.ORG", "U%CC%88mit@Example.org", "%C3%BCmit%2Bnews@example.org"}
			for _, spelling := range spellings {
				h.tries(t, rejected, "POST", "/Token", grantOf+spelling+"&password=x")
			}
			for _, spelling := range spellings {
				h.tries(t, throttled(1), "POST", "/Token", grantOf+spelling+"&password=x")
			}
			// No account has this name. It counts together with the four that fold
			// to it. Otherwise the number of tries would reveal that they are one
			// account.
			h.tries(t, rejected, "POST", "/Token", grantOf+"umit@example.org&password=x")
			h.tries(t, throttled(1), "POST", "/Token", grantOf+"umit@example.org&password=x")
			h.tries(t, rejected, "POST", "/Token", grantOf+"somebody@example.org&password=x")
		},
	},
	{
		// This tests the smallest limit. Package tokenauth tests how many counters
		// are kept.
		id: "T10", what: "an unlimited number of user names",
		alone: func(t *testing.T) {
			now := start
			auth, err := tokenauth.New(new(memory.Store), people{}, &tokenauth.Options{
				Now: func() time.Time { return now }, Logger: slog.New(slog.DiscardHandler),
				Throttle: tokenauth.ThrottleOptions{MaxCounters: 1000},
			})
			if err != nil {
				t.Fatal(err)
			}
			try := func(name, text string, from uint32) string {
				if text == "x" {
					text = fmt.Sprint("x", guesses.Add(1))
				}
				addr := netip.AddrFrom4([4]byte{byte(from >> 24), byte(from >> 16), byte(from >> 8), byte(from)})
				_, err := auth.SignIn(t.Context(), tokenauth.Credentials{UserName: name, Password: tokenauth.NewSecret(text), RemoteAddr: addr})
				if err == nil {
					return "in"
				}
				return strings.TrimPrefix(err.Error(), "tokenauth: ")
			}
			const home, tired = 0xc0000201, 0xc0000202
			if got := try("reader", "pass word+%", home); got != "in" {
				t.Fatal(got)
			}
			for range 5 {
				try("admin", "x", tired)
			}
			hashed := 0
			for i := range uint32(30_000) {
				if try(fmt.Sprint("user", i), "x", 0x0b000000+i) != "too many failed sign-ins" {
					hashed++
				}
			}
			// None of these accounts is over a limit, and none is throttled for the
			// others.
			if hashed != 30_000 {
				t.Errorf("%d of 30000 sign-ins of new accounts were checked, want all", hashed)
			}
			// A throttled account stays throttled, and a known source stays known.
			if got := try("admin", "pass word+%", tired); got != "too many failed sign-ins" {
				t.Errorf("sign-in of the throttled account after the flood: got %s, want too many failed sign-ins", got)
			}
			if got := try("reader", "pass word+%", home); got != "in" {
				t.Errorf("sign-in of a known user after the flood: got %s, want in", got)
			}
			refused := 0
			for range 1000 {
				if try("victim", "x", 0xac100001) == "too many failed sign-ins" {
					refused++
				}
			}
			if refused < 990 {
				t.Errorf("only %d of 1000 guesses were throttled, want at least 990", refused)
			}
			now = now.Add(time.Second)
			if got := try("admin", "pass word+%", tired); got != "in" {
				t.Errorf("sign-in after the wait: got %s, want in", got)
			}
		},
	},
	{
		id: "T11", what: "a botnet that tries to lock out an owner",
		with: behindProxy,
		run: func(t *testing.T, h *abuseHost) {
			const home = "192.0.2.1"
			h.expectOutcome(t, "200", goodReader, from(home)...)
			// A successful sign-in of the owner ends the row of failures. So the
			// owner must be away for a hundred failures.
			for i := range 100 {
				h.guess(t, wrongReader, fmt.Sprintf("203.0.113.%d", i))
			}
			for range 3 {
				// After a hundred failures, waiting does not help an unknown
				// source, although the answer has a Retry-After.
				h.expectOutcome(t, "429 after 3600", goodReader, from("198.51.100.1")...)
				h.wait(time.Hour)
			}
			h.expectOutcome(t, "200", goodReader, from(home)...)
			h.expectOutcome(t, "200", goodReader, from("198.51.100.1")...)
			// If the owner signs in from time to time, every source can sign in.
			for i := range 60 {
				h.outcome(t, wrongReader, from(fmt.Sprintf("203.0.112.%d", i))...)
				if i%10 == 9 {
					h.expectOutcome(t, "200", goodReader, from(home)...)
				}
			}
		},
	},
	{
		id: "T12", what: "101 failures in a row from as many addresses over ninety days",
		with: behindProxy,
		run: func(t *testing.T, h *abuseHost) {
			for i := range 100 {
				h.expectOutcome(t, "400", wrongReader, from(fmt.Sprintf("203.0.%d.1", i))...)
				h.wait(90 * 24 * time.Hour / 100)
			}
			before := h.users.hashes.Load()
			for i := range 10 {
				h.expectOutcome(t, "429 after 3600", wrongReader, from(fmt.Sprintf("198.51.100.%d", i))...)
				h.expectOutcome(t, "429 after 3600", goodReader, from(fmt.Sprintf("198.51.100.%d", i))...)
			}
			if n := h.users.hashes.Load() - before; n != 0 {
				t.Errorf("%d passwords were hashed, want 0", n)
			}
			if err := h.auth.Unthrottle(t.Context(), "2", "reader"); err != nil {
				t.Fatal(err)
			}
			h.expectOutcome(t, "200", goodReader, from("198.51.100.1")...)
		},
	},
	{
		id: "T13", what: "a success resets only the account's own failures",
		run: func(t *testing.T, h *abuseHost) {
			for range 4 {
				h.tries(t, rejected, "POST", "/Token", wrongAdmin)
				h.tries(t, rejected, "POST", "/Token", wrongReader)
			}
			if n := h.moment().failures(); n != 4*4+4*4+8 {
				t.Errorf("the counters have %d failures in all", n)
			}
			h.tries(t, issued, "POST", "/Token", goodGrant)
			if n := h.moment().failures(); n != 4*4+8 {
				t.Errorf("the counters have %d failures in all after a success", n)
			}
			h.tries(t, rejected, "POST", "/Token", wrongReader)
			h.tries(t, throttled(1), "POST", "/Token", goodReader)
			for range 5 {
				h.tries(t, rejected, "POST", "/Token", wrongAdmin)
			}
			h.tries(t, throttled(1), "POST", "/Token", goodGrant)
		},
	},
	{
		id: "T14", what: "an attacker who signs in to an own account in between",
		with: func(s *setup) { s.Throttle.PerSource = 12 },
		run: func(t *testing.T, h *abuseHost) {
			h.more(4)
			for i := range 12 {
				h.expectOutcome(t, "400", grantOf+fmt.Sprint("more", i%4)+"&password=x")
				h.expectOutcome(t, "200", goodReader)
			}
			h.tries(t, throttled(1), "POST", "/Token", goodGrant)
			h.tries(t, throttled(1), "POST", "/Token", grantOf+"nobody&password=x")
		},
	},
	{
		id: "T15", what: "a failing storage of the throttle counters",
		with: func(s *setup) {
			s.Throttle.Replicas = 2 // this process may count two of five failures
			s.Timeout = 50 * time.Millisecond
		},
		run: func(t *testing.T, h *abuseHost) {
			counters := func(fault func(context.Context, string) error) func(context.Context, string) error {
				return func(ctx context.Context, call string) error {
					if call != "UpdateCounters" {
						return nil
					}
					return fault(ctx, call)
				}
			}
			h.storage.meet(counters(fails))
			for range 2 {
				h.expectOutcome(t, "400", wrongAdmin)
			}
			h.storage.meet(counters(hangs)) // the same failure to the throttle
			for range 3 {
				h.tries(t, throttled(1), "POST", "/Token", wrongAdmin)
				h.tries(t, throttled(1), "POST", "/Token", goodGrant)
			}
			h.expectOutcome(t, "200", goodReader)
			if n := strings.Count(h.log.String(), "level=ERROR"); n != 1 || !strings.Contains(h.log.String(), "this process counts on its own") {
				t.Errorf("the log has %d errors, want 1 that names the fallback: %s", n, h.log)
			}
			h.storage.meet(nil)
			for range 5 {
				h.tries(t, rejected, "POST", "/Token", wrongAdmin)
			}
			h.tries(t, throttled(1), "POST", "/Token", goodGrant)
			h.storage.meet(counters(fails))
			h.tries(t, throttled(1), "POST", "/Token", goodGrant) // still throttled, as before the failure
			if n := strings.Count(h.log.String(), "level=ERROR"); n != 1 {
				t.Errorf("the log has %d errors within a minute, want 1: %s", n, h.log)
			}
			h.wait(time.Minute)
			h.expectOutcome(t, "200", goodReader)
			if n := strings.Count(h.log.String(), "level=ERROR"); n != 2 {
				t.Errorf("the log has %d errors after another minute, want 2: %s", n, h.log)
			}
		},
	},
	{
		id: "T16", what: "the clock runs backwards during a wait",
		run: func(t *testing.T, h *abuseHost) {
			for range 8 {
				h.tries(t, rejected, "POST", "/Token", wrongAdmin)
				h.wait(10 * time.Second)
			}
			h.wait(-80*time.Second + 72*time.Second)
			h.tries(t, throttled(6), "POST", "/Token", goodGrant)
			h.wait(-10 * time.Hour)
			h.tries(t, throttled(8), "POST", "/Token", goodGrant) // the complete wait of 8 s, and not 10 h
			h.wait(-365 * 24 * time.Hour)
			h.tries(t, throttled(8), "POST", "/Token", goodGrant)
			h.wait(365*24*time.Hour + 10*time.Hour + 6*time.Second)
			h.tries(t, issued, "POST", "/Token", goodGrant)
		},
	},
	{id: "T17", what: "500 concurrent sign-ins with passwords of 1 KB: memory is bounded, and validations succeed meanwhile", alone: crowd},
	{id: "T18", what: "a client disconnects while its password waits to be hashed: its place is free at once", alone: waiterLeaves},
	{id: "T19", what: "a panic while hashing frees its place for the next sign-in", alone: panicFreesThePlace},
	{
		id: "T20", what: "Retry-After is a whole number of seconds up to an hour, and does not depend on the account",
		with: func(s *setup) {
			behindProxy(s)
			s.Throttle.PerAccount = 6
		},
		run: func(t *testing.T, h *abuseHost) {
			heard := func(name string) (all []string) {
				for i := range 20 { // below the limit of a source
					// Two sources in turn, so that the limits of source and account
					// both apply.
					source := from(fmt.Sprintf("203.0.113.%d", i%2))
					body := grantOf + name + "&password=x"
					for {
						got := h.outcome(t, body, source...)
						all = append(all, got)
						if got == "400" {
							break
						}
						seconds, err := strconv.Atoi(strings.TrimPrefix(got, "429 after "))
						if err != nil || seconds < 1 || seconds > 3600 {
							t.Fatalf("got %q, want 429 with a Retry-After from 1 to 3600", got)
						}
						h.wait(time.Duration(seconds)*time.Second - 999*time.Millisecond)
						if early := h.outcome(t, body, source...); early != "429 after 1" {
							t.Fatalf("999 ms before the end of the wait: got %q, want 429 after 1", early)
						}
						h.wait(999 * time.Millisecond)
					}
				}
				return all
			}
			unknown := heard("nobody")
			h.wait(24 * time.Hour)
			if known := heard("reader"); fmt.Sprint(known) != fmt.Sprint(unknown) {
				t.Errorf("the outcomes for a known account are %v, and for an unknown one %v, want equal outcomes", known, unknown)
			}
			if longest := unknown[len(unknown)-2]; longest != "429 after 3600" {
				t.Errorf("the longest wait is %s, want 429 after 3600", longest)
			}
		},
	},
}

// more adds n accounts.
func (h *abuseHost) more(n int) {
	for i := range n {
		h.users.put(password.Account{UserID: fmt.Sprint("more", i), UserName: fmt.Sprint("more", i), PasswordHash: otherHash()})
	}
}

func pendingIn(counters map[throttle.Key]throttle.Counter) (n int64) {
	for _, c := range counters {
		n += c.Pending
	}
	return n
}

// guess sends a wrong password from the address. If it is throttled, it waits
// as long as Retry-After says, and sends it again.
func (h *abuseHost) guess(t *testing.T, body, address string) {
	t.Helper()
	got := h.outcome(t, body, from(address)...)
	if after, ok := strings.CutPrefix(got, "429 after "); ok {
		seconds, err := strconv.Atoi(after)
		if err != nil || seconds > 3600 {
			t.Fatalf("got %q, want 400 or 429 with a Retry-After of at most 3600", got)
		}
		h.wait(time.Duration(seconds) * time.Second)
		got = h.outcome(t, body, from(address)...)
	}
	if got != "400" {
		t.Fatalf("wrong password from %s: got %s, want 400", address, got)
	}
}

// atOnce sends n concurrent token requests and counts the statuses.
func (h *abuseHost) atOnce(t *testing.T, n int, body string) map[string]int {
	t.Helper()
	var mu sync.Mutex
	got := make(map[string]int)
	var wg sync.WaitGroup
	begin := make(chan struct{})
	for range n {
		wg.Go(func() {
			<-begin
			response, err := h.client.Post(h.url+"/Token", "application/x-www-form-urlencoded", strings.NewReader(aNewGuess(body)))
			outcome := fmt.Sprint(err)
			if err == nil {
				_, err = io.Copy(io.Discard, response.Body)
				response.Body.Close()
				if outcome = strconv.Itoa(response.StatusCode); err != nil {
					outcome = err.Error()
				}
			}
			mu.Lock()
			defer mu.Unlock()
			got[outcome]++
		})
	}
	close(begin)
	wg.Wait()
	return got
}
