package tokenauth_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bearerkit/bearerkit/storage/memory"
	"github.com/bearerkit/bearerkit/tokenauth"
	"github.com/bearerkit/bearerkit/tokenauth/password"
	"github.com/bearerkit/bearerkit/tokenauth/place"
)

// A failure after the pair was stored does not end the sign-in: the client tries again,
// and gets the pair.
func TestFailureAfterTheWriteOfARefreshEndsNothing(t *testing.T) {
	t.Parallel()
	fails := true
	failing := func() error {
		if fails {
			return errors.New("database is down")
		}
		return nil
	}
	for name, test := range map[string]struct {
		look    func(context.Context, tokenauth.Principal) error
		clients func() error
	}{
		"the user":   {func(context.Context, tokenauth.Principal) error { return failing() }, nil},
		"the client": {nil, failing},
	} {
		users := &reloading{staff: staff{look: test.look}}
		o := refreshOptions()
		finds := 0
		if test.clients != nil {
			o.Clients = clientFunc(func(id string) (tokenauth.Client, error) {
				if finds++; finds == 2 { // the second look of a refresh
					return tokenauth.Client{}, test.clients()
				}
				return tokenauth.Client{ID: id}, nil
			})
		}
		auth := newService(t, new(memory.Store), users, &o)
		credentials := tokenauth.Credentials{ClientID: "web"}
		issued, err := auth.Issue(t.Context(), alice(), &tokenauth.IssueOptions{ClientID: "web"})
		if err != nil {
			t.Fatal(err)
		}
		fails, finds, credentials.RefreshToken = true, 0, issued.RefreshToken
		if _, err := auth.Refresh(t.Context(), credentials); !errors.Is(err, tokenauth.ErrUnavailable) {
			t.Errorf("%s: error %v, want ErrUnavailable", name, err)
		}
		fails = false
		again, err := auth.Refresh(t.Context(), credentials)
		if err != nil {
			t.Errorf("%s: the client tried again: error %v", name, err)
			continue
		}
		if !isValid(t, auth, again) {
			t.Errorf("%s: the access token is not valid", name)
		}
		credentials.RefreshToken = again.RefreshToken
		if _, err := auth.Refresh(t.Context(), credentials); err != nil {
			t.Errorf("%s: the next refresh: %v", name, err)
		}
	}
}

// A thief who refreshes all the time does not hide that the victim's token was used.
func TestFrequentRefreshesHideNoReuse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		auth := refreshing(t, new(memory.Store), tokenauth.Options{})
		first := mustIssue(t, auth, alice())
		current := first
		for range 14 {
			current = mustRefresh(t, auth, current.RefreshToken)
			time.Sleep(5 * time.Second)
		}
		refusesRefresh(t, auth, first.RefreshToken, current, false)
	})
}

// clientFunc is a ClientRegistry.
type clientFunc func(id string) (tokenauth.Client, error)

func (f clientFunc) FindClient(_ context.Context, id string) (tokenauth.Client, error) { return f(id) }

// A repetition looks the user up, too: the refresh that it repeats may have failed before
// it did.
func TestRepetitionLooksTheUserUp(t *testing.T) {
	t.Parallel()
	users := &reloading{staff: staff{look: func(context.Context, tokenauth.Principal) error { return errors.New("database is down") }}}
	auth := newService(t, new(memory.Store), users, &tokenauth.Options{Refresh: new(tokenauth.RefreshOptions)})
	first := mustIssue(t, auth, alice())
	if _, err := refresh(t, auth, first.RefreshToken); !errors.Is(err, tokenauth.ErrUnavailable) {
		t.Fatalf("error %v, want ErrUnavailable", err)
	}
	users.set(nil, errors.New("database is down"))
	if _, err := refresh(t, auth, first.RefreshToken); !errors.Is(err, tokenauth.ErrUnavailable) {
		t.Errorf("the look-up failed: error %v, want ErrUnavailable", err)
	}
	users.set(nil, tokenauth.ErrRejected) // the user was disabled
	if _, err := refresh(t, auth, first.RefreshToken); !errors.Is(err, tokenauth.ErrInvalidToken) {
		t.Errorf("the user was disabled: error %v, want ErrInvalidToken", err)
	}
	users.set(nil, nil)
	users.look = nil
	mustRefresh(t, auth, first.RefreshToken) // a refusal ended nothing
	users.look = func(context.Context, tokenauth.Principal) error { return tokenauth.ErrRejected }
	if _, err := refresh(t, auth, first.RefreshToken); !errors.Is(err, tokenauth.ErrInvalidToken) {
		t.Errorf("the user was disabled meanwhile: error %v, want ErrInvalidToken", err)
	}
	users.look = nil
	if _, err := refresh(t, auth, first.RefreshToken); !errors.Is(err, tokenauth.ErrInvalidToken) {
		t.Errorf("the sign-in of a user who was disabled meanwhile: error %v, want ErrInvalidToken", err)
	}
}

// Roles that change between a refresh and its repetition do not sign the user out.
func TestRolesMayChangeBeforeARepetition(t *testing.T) {
	t.Parallel()
	account := password.Account{UserID: "17", UserName: "alice", PasswordHash: "unusable", Roles: []string{"Admin"}}
	users, err := password.New(func(context.Context, string) (password.Account, error) { return account, nil }, nil)
	if err != nil {
		t.Fatal(err)
	}
	auth := newService(t, new(memory.Store), users, &tokenauth.Options{Refresh: new(tokenauth.RefreshOptions)})
	first := mustIssue(t, auth, account.Principal())
	second := mustRefresh(t, auth, first.RefreshToken)
	account.Roles = []string{"Reader"}
	if again := mustRefresh(t, auth, first.RefreshToken); !samePair(again, second) || again.Token.Principal.Roles[0] != "Admin" {
		t.Errorf("the repetition returned another pair, or the roles %q, want those of the refresh", again.Token.Principal.Roles)
	}
	if third := mustRefresh(t, auth, second.RefreshToken); third.Token.Principal.Roles[0] != "Reader" {
		t.Errorf("the next refresh returned the roles %q, want the current ones", third.Token.Principal.Roles)
	}
}

// A stamping authenticator accepts a principal only with alice's current stamp.
type stamping struct {
	staff
	stamp  string
	before func(method string) // called before Reload and Recheck
}

func (s *stamping) Reload(ctx context.Context, p tokenauth.Principal) (tokenauth.Principal, error) {
	s.before("Reload")
	now := alice()
	now.Stamp = s.stamp
	if p.Stamp != s.stamp {
		return tokenauth.Principal{}, tokenauth.ErrRejected
	}
	return now, nil
}

func (s *stamping) Recheck(ctx context.Context, p tokenauth.Principal) error {
	s.before("Recheck")
	if p.Stamp != s.stamp {
		return tokenauth.ErrRejected
	}
	return nil
}

// A change of the user that keeps the token, such as a new password, keeps it also while
// it is refreshed. The change gives the stored token another stamp.
func TestRefreshDuringAChangeThatKeepsTheToken(t *testing.T) {
	t.Parallel()
	for _, method := range []string{"Reload", "Recheck"} {
		for _, repeats := range []bool{false, true} {
			store := new(memory.Store)
			users := &stamping{stamp: "1", before: func(string) {}}
			auth := newService(t, store, users, &tokenauth.Options{Refresh: new(tokenauth.RefreshOptions)})
			p := alice()
			p.Stamp = "1"
			first := mustIssue(t, auth, p)
			var second tokenauth.IssuedToken
			if repeats {
				second = mustRefresh(t, auth, first.RefreshToken)
			}
			changed := false
			users.before = func(called string) {
				if changed || called != method {
					return
				}
				changed, users.stamp = true, "2"
				was, err := store.Find(t.Context(), first.Token.Slot)
				if err != nil {
					t.Fatal(err)
				}
				kept := was
				kept.Principal.Stamp = "2"
				if ok, err := store.Refresh(t.Context(), was, kept); !ok || err != nil {
					t.Fatalf("the token was not kept: error %v", err)
				}
			}
			got, err := refresh(t, auth, first.RefreshToken)
			switch {
			case err != nil:
				t.Errorf("a change before %s, repeated %v: error %v", method, repeats, err)
			case !isValid(t, auth, got), repeats && !samePair(got, second):
				t.Errorf("a change before %s, repeated %v: the pair is not valid, or another one", method, repeats)
			}
			if !changed {
				t.Errorf("%s was not called", method)
			}
		}
	}
}

// A user may be rejected because the token that was read has an earlier stamp than the
// stored one. If the storage cannot tell, the sign-in goes on.
func TestRejectionWhileTheStorageFailsEndsNoSignIn(t *testing.T) {
	t.Parallel()
	for _, method := range []string{"Reload", "Recheck"} {
		store := new(counted)
		users := &stamping{stamp: "1", before: func(string) {}}
		auth := newService(t, store, users, &tokenauth.Options{Refresh: new(tokenauth.RefreshOptions)})
		p := alice()
		p.Stamp = "1"
		first := mustIssue(t, auth, p)
		down := false
		store.before = func(_ context.Context, method string) error {
			if down && method == "FindRefresh" {
				return errors.New("the storage is down")
			}
			return nil
		}
		users.before = func(called string) {
			if called == method {
				users.stamp, down = "2", true
			}
		}
		if _, err := refresh(t, auth, first.RefreshToken); !errors.Is(err, tokenauth.ErrUnavailable) {
			t.Errorf("rejected by %s while the storage fails: error %v, want ErrUnavailable", method, err)
		}
		users.before, users.stamp, down = func(string) {}, "1", false
		if _, err := refresh(t, auth, first.RefreshToken); err != nil {
			t.Errorf("rejected by %s while the storage failed: later error %v", method, err)
		}
	}
}

// If the host shortens MaxLifetime, a sign-in that is older gets no more tokens. They
// would have expired when they were issued.
func TestShorterMaxLifetimeEndsOlderSignIns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := new(memory.Store)
		auth := refreshing(t, store, refreshOptions())
		older := mustIssue(t, auth, alice())
		time.Sleep(time.Hour)
		newer, err := auth.Issue(t.Context(), alice(), &tokenauth.IssueOptions{ClientID: "another"})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		o := refreshOptions()
		o.Refresh.Lifetime, o.Refresh.MaxLifetime = time.Hour, 2*time.Hour
		auth = refreshing(t, store, o)
		if _, err := refresh(t, auth, older.RefreshToken); !errors.Is(err, tokenauth.ErrInvalidToken) {
			t.Errorf("the sign-in as old as MaxLifetime: error %v, want ErrInvalidToken", err)
		}
		if again := mustRefresh(t, auth, newer.RefreshToken); !isValid(t, auth, again) {
			t.Error("the newer sign-in got a token that is not valid")
		}
	})
}

// A refresh that overtakes the end of its sign-in does not keep the sign-in alive.
func TestSignInEndsAlthoughARefreshOvertakesItsEnd(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(ctx context.Context, auth *tokenauth.Service, keep, ended tokenauth.Token) error{
		"RevokeDevice": func(ctx context.Context, auth *tokenauth.Service, _, ended tokenauth.Token) error {
			return auth.RevokeDevice(ctx, "17", ended.SlotID())
		},
		"RevokeToken": func(ctx context.Context, auth *tokenauth.Service, _, ended tokenauth.Token) error {
			return auth.RevokeToken(ctx, ended)
		},
		"RevokeUser with a token to keep": func(ctx context.Context, auth *tokenauth.Service, keep, _ tokenauth.Token) error {
			return auth.RevokeUser(ctx, "17", keep)
		},
		"the bound on devices": func(ctx context.Context, auth *tokenauth.Service, _, _ tokenauth.Token) error {
			_, err := auth.Issue(ctx, alice(), &tokenauth.IssueOptions{Device: "tablet"})
			return err
		},
	} {
		for _, refreshes := range []int{1, 3} {
			store := new(scripted)
			o := refreshOptions()
			o.Devices = &tokenauth.DeviceOptions{Max: 2}
			auth := refreshing(t, store, o)
			ended, err := auth.Issue(t.Context(), alice(), &tokenauth.IssueOptions{Device: "phone"})
			if err != nil {
				t.Fatal(err)
			}
			keep := mustIssue(t, auth, alice())
			was, left := ended.Token, refreshes
			store.before = func(_ context.Context, method string) error {
				if method == "Revoke" && left > 0 {
					left--
					ended = mustRefresh(t, auth, ended.RefreshToken)
				}
				return nil
			}
			if err := end(t.Context(), auth, keep.Token, was); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			if left > 0 {
				t.Errorf("%s: %d refreshes were not made", name, left)
			}
			store.before = nil
			if isValid(t, auth, ended) {
				t.Errorf("%s: the sign-in goes on, because %d refreshes overtook its end", name, refreshes)
			}
			if _, err := refresh(t, auth, ended.RefreshToken); !errors.Is(err, tokenauth.ErrInvalidToken) {
				t.Errorf("%s: the refresh token still works: error %v", name, err)
			}
			if !isValid(t, auth, keep) {
				t.Errorf("%s: another sign-in ended", name)
			}
		}
	}
}

// A sign-in that replaces the token meanwhile is not the sign-in to end.
func TestRevokeTokenKeepsALaterSignIn(t *testing.T) {
	t.Parallel()
	store := new(scripted)
	auth := refreshing(t, store, tokenauth.Options{})
	earlier := mustRefresh(t, auth, mustIssue(t, auth, alice()).RefreshToken)
	var later tokenauth.IssuedToken
	store.before = func(_ context.Context, method string) error {
		if method == "Revoke" {
			later = mustIssue(t, auth, alice())
		}
		return nil
	}
	if err := auth.RevokeToken(t.Context(), earlier.Token); err != nil {
		t.Fatal(err)
	}
	if store.before = nil; !isValid(t, auth, later) {
		t.Error("a later sign-in ended")
	}
}

// A client's access tokens may be valid for longer than refresh tokens. Then the refresh
// token is valid as long, so that it can end the sign-in.
func TestRefreshTokenOutlivesTheAccessToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const day = 24 * time.Hour
		o := tokenauth.Options{Lifetime: time.Hour, Refresh: &tokenauth.RefreshOptions{Lifetime: day, MaxLifetime: 90 * day}}
		o.Clients = clientFunc(func(id string) (tokenauth.Client, error) {
			return tokenauth.Client{ID: id, Lifetime: 60 * day}, nil
		})
		auth := refreshing(t, new(memory.Store), o)
		signIn := func() tokenauth.Credentials {
			issued, err := auth.SignIn(t.Context(), tokenauth.Credentials{UserName: "alice", Password: tokenauth.NewSecret("wonderland"), ClientID: "tv"})
			if err != nil {
				t.Fatal(err)
			}
			return tokenauth.Credentials{ClientID: "tv", RefreshToken: issued.RefreshToken}
		}
		first := signIn()
		time.Sleep(40 * day)
		issued, err := auth.Refresh(t.Context(), first)
		if err != nil {
			t.Fatalf("a refresh after 40 days: %v", err)
		}
		if got := issued.Token.ExpiresAt.Sub(issued.Token.Refresh.SignedInAt); got != 90*day || !issued.Token.Refresh.ExpiresAt.Equal(issued.Token.ExpiresAt) {
			t.Errorf("the access token expires %v after the sign-in, the refresh token at %v; want both after 90 days", got, issued.Token.Refresh.ExpiresAt)
		}
		time.Sleep(40 * day)
		if !isValid(t, auth, issued) {
			t.Fatal("the access token is not valid")
		}
		if err := auth.Revoke(t.Context(), first.RefreshToken.Reveal()); err != nil || isValid(t, auth, issued) {
			t.Errorf("the refresh token was revoked, error %v, but the access token is still valid", err)
		}
	})
}

// The lifetime that a registry has for a client is checked at each refresh, as it is at
// a sign-in.
func TestRefreshChecksTheLifetimeOfTheClient(t *testing.T) {
	t.Parallel()
	client := tokenauth.Client{ID: "web"}
	o := refreshOptions()
	o.Clients = clientFunc(func(string) (tokenauth.Client, error) { return client, nil })
	auth := refreshing(t, new(memory.Store), o)
	issued, err := auth.Issue(t.Context(), alice(), &tokenauth.IssueOptions{ClientID: "web"})
	if err != nil {
		t.Fatal(err)
	}
	c := tokenauth.Credentials{ClientID: "web", RefreshToken: issued.RefreshToken}
	client.Lifetime = time.Second
	if _, err := auth.Refresh(t.Context(), c); !errors.Is(err, tokenauth.ErrInvalidPrincipal) || !isValid(t, auth, issued) {
		t.Errorf("error %v, want ErrInvalidPrincipal, and the sign-in goes on", err)
	}
	client.Lifetime = 5 * time.Minute
	issued, err = auth.Refresh(t.Context(), c)
	if err != nil || issued.Token.ExpiresAt.Sub(issued.Token.IssuedAt) != 5*time.Minute {
		t.Errorf("the token lives from %v to %v, error %v; want 5 minutes", issued.Token.IssuedAt, issued.Token.ExpiresAt, err)
	}
}

// Options.Fallback is for tokens of another system, which must not get a refresh token.
func TestFallbackGetsNoRefreshToken(t *testing.T) {
	t.Parallel()
	o := refreshOptions()
	o.Fallback = func(r *http.Request) (tokenauth.Principal, error) {
		if strings.Contains(r.Header.Get("Authorization"), "trt_") {
			t.Error("Fallback was called with a refresh token")
		}
		return alice(), nil
	}
	auth := refreshing(t, new(memory.Store), o)
	for token, want := range map[string]int{
		mustIssue(t, auth, alice()).RefreshToken.Reveal(): http.StatusUnauthorized,
		"trt_another":       http.StatusUnauthorized,
		"of-another-system": http.StatusOK,
	} {
		r := httptest.NewRequest("GET", "/", nil)
		r.Header.Set("Authorization", "Bearer "+token)
		w := httptest.NewRecorder()
		auth.RequireBearer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})).ServeHTTP(w, r)
		if w.Code != want {
			t.Errorf("the token %s was answered %d, want %d", token, w.Code, want)
		}
	}
}

// A Service that only validates needs the option so that streams and lists know refresh
// tokens.
func TestRefreshOptionWithoutAnAuthenticator(t *testing.T) {
	t.Parallel()
	store := new(memory.Store)
	issued := mustIssue(t, refreshing(t, store, tokenauth.Options{}), alice())
	auth := newService(t, store, nil, &tokenauth.Options{Refresh: new(tokenauth.RefreshOptions)})
	if !isValid(t, auth, issued) {
		t.Error("the token is not valid")
	}
	if _, err := refresh(t, auth, issued.RefreshToken); !errors.Is(err, tokenauth.ErrUnavailable) || !strings.Contains(err.Error(), "no Authenticator") {
		t.Errorf("a refresh: error %v, want ErrUnavailable that names the missing Authenticator", err)
	}
	if err := auth.Revoke(t.Context(), issued.RefreshToken.Reveal()); err != nil || isValid(t, auth, issued) {
		t.Errorf("revoking the refresh token: error %v", err)
	}
}

func TestRefreshLifetimeFollowsAShortMaxLifetime(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	auth := refreshing(t, new(memory.Store), tokenauth.Options{Refresh: &tokenauth.RefreshOptions{MaxLifetime: 7 * day}})
	issued := mustIssue(t, auth, alice())
	if got := issued.Token.Refresh.ExpiresAt.Sub(issued.Token.IssuedAt); got != 7*day {
		t.Errorf("the refresh token lives %v, want 7 days", got)
	}
}

func TestSetRefreshCookieWithoutARefreshToken(t *testing.T) {
	t.Parallel()
	issued := mustIssue(t, newService(t, new(memory.Store), new(staff), nil), alice())
	w := httptest.NewRecorder()
	issued.SetRefreshCookie(w, httptest.NewRequest("POST", "/session", nil), place.Cookie{Name: "refresh", Path: "/session"})
	cookies := w.Result().Cookies()
	if len(cookies) != 1 || !strings.HasSuffix(cookies[0].Name, "refresh") || cookies[0].Value != "" || cookies[0].MaxAge >= 0 {
		t.Errorf("the cookies are %v, want one that is deleted", cookies)
	}
}
