package abuse_test

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bearerkit/bearerkit/storage/memory"
	"github.com/bearerkit/bearerkit/tokenauth"
)

// A reloadable is a directory whose users can be looked up again.
type reloadable struct{ directory }

func (reloadable) Reload(_ context.Context, p tokenauth.Principal) (tokenauth.Principal, error) {
	return p, nil
}

// A refreshHost is a host with refresh tokens, and with a clock that the test moves.
type refreshHost struct {
	*abuseHost
	mu  sync.Mutex
	now time.Time
}

// A pair is the tokens of an answer.
type pair struct {
	AccessToken  string `json:"access_token"`
	RefreshToken string `json:"refresh_token"`
}

func (on engine) refreshHost(t *testing.T, s tokenauth.Storage) *refreshHost {
	t.Helper()
	h := &refreshHost{now: start}
	h.abuseHost = on.host(t, s, reloadable{}, tokenauth.Options{
		Lifetime: 15 * time.Minute, Refresh: new(tokenauth.RefreshOptions),
		Now: func() time.Time { h.mu.Lock(); defer h.mu.Unlock(); return h.now },
	})
	return h
}

func (h *refreshHost) later(d time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.now = h.now.Add(d)
}

func (h *refreshHost) signInPair(t *testing.T) (p pair) {
	t.Helper()
	a := h.do(t, "POST", "/Token", grantFor("alice", otherPassword))
	if err := json.Unmarshal([]byte(a.body), &p); err != nil || p.RefreshToken == "" {
		t.Fatalf("a sign-in: answered %d %s", a.StatusCode, a.body)
	}
	return p
}

// refresh returns the new pair, or reports false for the constant refusal.
func (h *refreshHost) refresh(t *testing.T, refreshToken string) (p pair, ok bool) {
	t.Helper()
	a := h.do(t, "POST", "/Token", "grant_type=refresh_token&refresh_token="+refreshToken)
	a.expectNoStore(t)
	if a.StatusCode == http.StatusBadRequest && a.body == `{"error":"invalid_grant","error_description":"The refresh token is not valid."}` {
		return p, false
	}
	if err := json.Unmarshal([]byte(a.body), &p); err != nil || a.StatusCode != http.StatusOK || p.RefreshToken == "" {
		t.Errorf("a refresh: answered %d %s", a.StatusCode, a.body)
	}
	return p, true
}

// over checks that the sign-in of a pair has ended.
func (h *refreshHost) over(t *testing.T, p pair) {
	t.Helper()
	h.refuses(t, invalidToken, p.AccessToken)
	if _, ok := h.refresh(t, p.RefreshToken); ok {
		t.Error("the refresh token is accepted after its sign-in ended")
	}
}

// Chapter R of the catalogue: refresh tokens.
var refreshTokens = []situation{
	{
		id: "R01", what: "a copy of a used refresh token, after the grace",
		alone: onEngines(func(t *testing.T, on engine) {
			h := on.refreshHost(t, new(memory.Store))
			stolen := h.signInPair(t)
			current := stolen
			for range 10 {
				current, _ = h.refresh(t, current.RefreshToken)
				h.later(10 * time.Minute)
			}
			h.welcomes(t, current.AccessToken, "before the copy is used")
			if _, ok := h.refresh(t, stolen.RefreshToken); ok {
				t.Error("a copy that is ten refreshes old was accepted")
			}
			h.over(t, current)
			if !strings.Contains(h.log.String(), "reason=reused") {
				t.Errorf("the log does not show the reuse: %s", h.log)
			}
		}),
	},
	{
		id: "R02", what: "a thief who refreshes first, and the owner's next refresh",
		alone: onEngines(func(t *testing.T, on engine) {
			h := on.refreshHost(t, new(memory.Store))
			owner := h.signInPair(t)
			thief, ok := h.refresh(t, owner.RefreshToken)
			if !ok {
				t.Fatal("the stolen refresh token was refused")
			}
			h.later(10 * time.Minute)
			thief, _ = h.refresh(t, thief.RefreshToken)
			h.later(time.Minute)
			if _, ok := h.refresh(t, owner.RefreshToken); ok {
				t.Error("the owner's refresh token was accepted, although the thief had used it")
			}
			h.over(t, thief)
		}),
	},
	{
		id: "R03", what: "a made-up refresh token with the right slot",
		alone: onEngines(func(t *testing.T, on engine) {
			h := on.refreshHost(t, new(memory.Store))
			elsewhere := on.refreshHost(t, new(memory.Store))
			current, _ := h.refresh(t, h.signInPair(t).RefreshToken)
			h.later(10 * time.Minute)
			for range 20 {
				if _, ok := h.refresh(t, elsewhere.signInPair(t).RefreshToken); ok {
					t.Fatal("the refresh token of another service was accepted")
				}
			}
			h.welcomes(t, current.AccessToken, "after made-up refresh tokens")
			if _, ok := h.refresh(t, current.RefreshToken); !ok {
				t.Error("made-up refresh tokens ended the sign-in")
			}
		}),
	},
	{
		id: "R04", what: "a hundred refreshes with one refresh token at once",
		alone: onEngines(func(t *testing.T, on engine) {
			h := on.refreshHost(t, new(memory.Store))
			first := h.signInPair(t)
			var mu sync.Mutex
			pairs := make(map[pair]int)
			refused := 0
			var wg sync.WaitGroup
			for range 100 {
				wg.Go(func() {
					p, ok := h.refresh(t, first.RefreshToken)
					mu.Lock()
					defer mu.Unlock()
					if ok {
						pairs[p]++
					} else {
						refused++
					}
				})
			}
			wg.Wait()
			if len(pairs) != 1 || refused != 96 {
				t.Fatalf("got %d pairs and %d refusals, want one pair, four times, and 96", len(pairs), refused)
			}
			for p := range pairs {
				h.welcomes(t, p.AccessToken, "after many refreshes at once")
				if _, ok := h.refresh(t, p.RefreshToken); !ok {
					t.Error("many refreshes at once ended the sign-in")
				}
			}
			h.signInPair(t) // the throttle counts no refresh
		}),
	},
	{
		id: "R05", what: "a refresh token as access token, and the other way round",
		alone: onEngines(func(t *testing.T, on engine) {
			h := on.refreshHost(t, new(memory.Store))
			p := h.signInPair(t)
			h.refuses(t, invalidToken, p.RefreshToken)
			if _, ok := h.refresh(t, p.AccessToken); ok {
				t.Error("an access token was accepted as a refresh token")
			}
			h.welcomes(t, p.AccessToken, "afterwards")
		}),
	},
	{
		id: "R06", what: "a refresh token in the query, in the log and in the storage",
		alone: onEngines(func(t *testing.T, on engine) {
			store := new(memory.Store)
			h := on.refreshHost(t, store)
			first := h.signInPair(t)
			if a := h.do(t, "POST", "/Token?refresh_token="+first.RefreshToken, "grant_type=refresh_token"); a.StatusCode != http.StatusBadRequest || !strings.Contains(a.body, "invalid_request") {
				t.Errorf("in the query: answered %d %s, want 400 invalid_request", a.StatusCode, a.body)
			}
			second, _ := h.refresh(t, first.RefreshToken)
			h.refresh(t, first.RefreshToken)
			tokens, err := h.auth.Tokens(t.Context(), "id of alice")
			if err != nil || len(tokens) != 1 {
				t.Fatalf("Tokens: %+v, %v", tokens, err)
			}
			stored, err := tokens[0].MarshalBinary()
			if err != nil {
				t.Fatal(err)
			}
			for _, token := range []string{first.AccessToken, first.RefreshToken, second.AccessToken, second.RefreshToken} {
				if secret := token[len(token)-30:]; strings.Contains(h.log.String(), secret) || strings.Contains(string(stored), secret) {
					t.Error("the log or the storage has a token")
				}
			}
		}),
	},
}
