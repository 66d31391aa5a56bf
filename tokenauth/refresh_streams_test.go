package tokenauth_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bearerkit/bearerkit/storage/memory"
	"github.com/bearerkit/bearerkit/tokenauth"
)

func refreshOptions() tokenauth.Options {
	return tokenauth.Options{Lifetime: 15 * time.Minute, Refresh: &tokenauth.RefreshOptions{Key: sharedKey}}
}

// findWithoutRefresh makes Find return tokens without their Refresh, as a database does.
func findWithoutRefresh(s *scripted) {
	s.found = func(t *tokenauth.Token) { t.Refresh = nil }
}

func mustIssue(t testing.TB, auth *tokenauth.Service, p tokenauth.Principal) tokenauth.IssuedToken {
	t.Helper()
	issued, err := auth.Issue(t.Context(), p, nil)
	if err != nil {
		t.Fatal(err)
	}
	return issued
}

// A stream goes on while its sign-in is refreshed, by this replica or another one, once
// or several times between two checks.
func TestStreamGoesOnWhenItsTokenIsRefreshed(t *testing.T) {
	inStreamBubble(t, refreshOptions(), func(t *testing.T, s *scripted, auth *tokenauth.Service, here, elsewhere time.Duration) {
		findWithoutRefresh(s)
		other := refreshing(t, &s.Store, refreshOptions())
		for name, by := range map[string]*tokenauth.Service{"here": auth, "elsewhere": other} {
			for _, times := range []int{1, 3, 6} {
				issued := mustIssue(t, auth, alice())
				stream, disconnect := openStream(t, auth, issued.AccessToken.Reveal())
				time.Sleep(61 * time.Second)
				for range 8 { // for more than an hour
					for range times {
						issued = mustRefresh(t, by, issued.RefreshToken)
					}
					time.Sleep(10 * time.Minute)
				}
				if stream.Err() != nil {
					t.Errorf("refreshed %s, %d times at once: the stream ended: %v", name, times, context.Cause(stream))
				}
				within := elsewhere
				if by == auth {
					within = here
				}
				if err := by.RevokeUser(t.Context(), "17"); err != nil {
					t.Error(err)
				}
				endsWith(t, stream, within, "invalid")
				disconnect()
				synctest.Wait()
			}
		}
	})
}

func TestStreamEndsWithItsRefreshedSignIn(t *testing.T) {
	inStreamBubble(t, refreshOptions(), func(t *testing.T, s *scripted, auth *tokenauth.Service, here, elsewhere time.Duration) {
		findWithoutRefresh(s)
		other := refreshing(t, &s.Store, refreshOptions())
		for name, test := range map[string]struct {
			end  func(by *tokenauth.Service, used, current tokenauth.IssuedToken) error
			want string
		}{
			"Revoke": {func(by *tokenauth.Service, _, current tokenauth.IssuedToken) error {
				return by.Revoke(t.Context(), current.AccessToken.Reveal())
			}, "invalid"},
			"Revoke of the refresh token": {func(by *tokenauth.Service, used, _ tokenauth.IssuedToken) error {
				return by.Revoke(t.Context(), used.RefreshToken.Reveal())
			}, "invalid"},
			"a new sign-in": {func(by *tokenauth.Service, _, _ tokenauth.IssuedToken) error {
				_, err := by.Issue(t.Context(), alice(), nil)
				return err
			}, "invalid replaced"},
			"reuse": {func(by *tokenauth.Service, used, _ tokenauth.IssuedToken) error {
				if _, err := refresh(t, by, used.RefreshToken); !errors.Is(err, tokenauth.ErrInvalidToken) {
					t.Errorf("a used refresh token: error %v", err)
				}
				return nil
			}, "invalid"},
		} {
			for _, by := range []*tokenauth.Service{auth, other} {
				used := mustIssue(t, auth, alice())
				stream, disconnect := openStream(t, auth, used.AccessToken.Reveal())
				synctest.Wait()
				current := mustRefresh(t, by, used.RefreshToken)
				goesOn(t, stream, 61*time.Second)
				if err := test.end(by, used, current); err != nil {
					t.Errorf("%s: %v", name, err)
				}
				within := elsewhere
				if by == auth {
					within = here
				}
				endsWith(t, stream, within, test.want)
				disconnect()
				if err := auth.RevokeUser(t.Context(), "17"); err != nil {
					t.Error(err)
				}
				synctest.Wait()
			}
		}
	})
}

// A refresh token alone keeps no stream open: it ends when the access token that is
// current then expires.
func TestStreamEndsWhenTheCurrentTokenExpires(t *testing.T) {
	inStreamBubble(t, refreshOptions(), func(t *testing.T, s *scripted, auth *tokenauth.Service, _, _ time.Duration) {
		findWithoutRefresh(s)
		other := refreshing(t, &s.Store, refreshOptions())
		issued := mustIssue(t, auth, alice())
		stream, disconnect := openStream(t, auth, issued.AccessToken.Reveal())
		defer disconnect()
		time.Sleep(10 * time.Minute)
		mustRefresh(t, other, issued.RefreshToken)
		goesOn(t, stream, 15*time.Minute-2*time.Second)
		endsWith(t, stream, 3*time.Second+50*time.Millisecond, "invalid expired")
	})
}

// RevokeUser keeps the sign-in of a token that was refreshed after the request was
// authenticated, and nothing else.
func TestRevokeUserKeepsASignInThatWasRefreshedMeanwhile(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		refreshes      int
		withoutRefresh bool // the kept token was read without its Refresh
		kept           bool
	}{
		"not refreshed":               {0, true, true},
		"refreshed":                   {1, true, true},
		"refreshed, read with it":     {1, false, true},
		"refreshed thrice, with it":   {3, false, true},
		"refreshed thrice, a request": {3, true, false}, // only the latest refresh is known
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			store := new(scripted)
			if test.withoutRefresh {
				findWithoutRefresh(store)
			}
			o := refreshOptions()
			o.Devices = new(tokenauth.DeviceOptions)
			auth := refreshing(t, store, o)
			issued := mustIssue(t, auth, alice())
			onPhone, err := auth.Issue(t.Context(), alice(), &tokenauth.IssueOptions{Device: "phone"})
			if err != nil {
				t.Fatal(err)
			}
			keep, err := auth.Validate(t.Context(), issued.AccessToken.Reveal())
			if err != nil {
				t.Fatal(err)
			}
			for range test.refreshes {
				issued = mustRefresh(t, auth, issued.RefreshToken)
			}
			if err := auth.RevokeUser(t.Context(), "17", keep); err != nil {
				t.Fatal(err)
			}
			if isValid(t, auth, issued) != test.kept || isValid(t, auth, onPhone) {
				t.Errorf("the sign-in is valid: %v, want %v; the one on the phone: %v, want false", !test.kept, test.kept, isValid(t, auth, onPhone))
			}
			refusesRefresh(t, auth, onPhone.RefreshToken, onPhone, false)
		})
	}
	// A new sign-in in the slot is not the sign-in to keep.
	auth := refreshing(t, new(memory.Store), refreshOptions())
	earlier := mustIssue(t, auth, alice())
	later := mustIssue(t, auth, alice())
	if err := auth.RevokeUser(t.Context(), "17", earlier.Token); err != nil || isValid(t, auth, later) {
		t.Errorf("a later sign-in was kept, error %v", err)
	}
}

// Lists, the bound on devices and RevokeDevice go by the refresh token, which expires
// later than the access token.
func TestDevicesStayWhileTheirRefreshTokensAreValid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := new(scripted)
		findWithoutRefresh(store)
		o := refreshOptions()
		o.Devices = &tokenauth.DeviceOptions{Max: 2}
		auth := refreshing(t, store, o)
		on := func(device string) tokenauth.IssuedToken {
			t.Helper()
			issued, err := auth.Issue(t.Context(), alice(), &tokenauth.IssueOptions{Device: device})
			if err != nil {
				t.Fatal(err)
			}
			return issued
		}
		listed := func(want ...string) {
			t.Helper()
			tokens, err := auth.Tokens(t.Context(), "17")
			if err != nil || len(tokens) != len(want) {
				t.Fatalf("listed %+v, error %v; want %q", tokens, err, want)
			}
			for i, token := range tokens {
				if token.Device != want[i] || token.Refresh == nil || token.Refresh.SignedInAt.IsZero() {
					t.Errorf("listed %+v, want %q", token, want[i])
				}
			}
		}
		phone := on("phone")
		time.Sleep(time.Hour)
		tablet := on("tablet")
		time.Sleep(time.Hour)
		listed("tablet", "phone")
		on("laptop") // the phone was used longest ago
		listed("laptop", "tablet")
		refusesRefresh(t, auth, phone.RefreshToken, phone, false)
		time.Sleep(time.Hour)
		tablet = mustRefresh(t, auth, tablet.RefreshToken) // a refresh is a use
		phone = on("phone")
		listed("phone", "tablet")

		time.Sleep(time.Hour)
		if err := auth.RevokeDevice(t.Context(), "17", tablet.Token.SlotID()); err != nil {
			t.Errorf("RevokeDevice of a device whose access token has expired: %v", err)
		}
		refusesRefresh(t, auth, tablet.RefreshToken, tablet, false)
		time.Sleep(30 * 24 * time.Hour)
		listed()
		if err := auth.RevokeDevice(t.Context(), "17", phone.Token.SlotID()); !errors.Is(err, tokenauth.ErrNotFound) {
			t.Errorf("RevokeDevice after both tokens expired: %v, want ErrNotFound", err)
		}
	})
}

// While the option is turned on, some replicas do not have it yet. They end a device that
// the others refresh, although its access token has expired.
func TestRevokeDeviceAtAServiceWithoutTheOption(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := new(scripted)
		findWithoutRefresh(store)
		o := refreshOptions()
		o.Devices = new(tokenauth.DeviceOptions)
		auth := refreshing(t, store, o)
		o.Refresh = nil
		without := newService(t, store, new(reloading), &o)
		phone, err := auth.Issue(t.Context(), alice(), &tokenauth.IssueOptions{Device: "phone"})
		if err != nil {
			t.Fatal(err)
		}
		if err := without.Revoke(t.Context(), phone.RefreshToken.Reveal()); err != nil {
			t.Fatal(err)
		}
		phone = mustRefresh(t, auth, phone.RefreshToken) // for the other one, it was malformed
		time.Sleep(time.Hour)
		for _, want := range []error{nil, tokenauth.ErrNotFound} {
			if err := without.RevokeDevice(t.Context(), "17", phone.Token.SlotID()); !errors.Is(err, want) {
				t.Errorf("error %v, want %v", err, want)
			}
		}
		refusesRefresh(t, auth, phone.RefreshToken, phone, false)
	})
}

// A refresh counts as a use, so a sign-in that is only refreshed does not become idle.
// One whose client is gone does, although its refresh token has not expired.
func TestIdleSignInsEndWithTheirRefreshTokens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := refreshOptions()
		o.IdleTimeout = 24 * time.Hour
		auth := refreshing(t, new(memory.Store), o)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { defer close(ended); auth.Run(ctx) }()
		current := mustIssue(t, auth, alice())
		idle := mustIssue(t, auth, bob())
		for range 5 {
			time.Sleep(20 * time.Hour)
			current = mustRefresh(t, auth, current.RefreshToken)
		}
		refusesRefresh(t, auth, idle.RefreshToken, idle, false)
		if !isValid(t, auth, current) {
			t.Error("a sign-in that was refreshed every 20 hours ended")
		}
		cancel()
		<-ended
	})
}

// LiveCheck is asked about the new access token like about any other.
func TestLiveCheckOfRefreshedTokens(t *testing.T) {
	t.Parallel()
	var asked []tokenauth.Digest
	o := refreshOptions()
	var refused error
	o.LiveCheck = func(_ context.Context, token tokenauth.Token) error {
		asked = append(asked, token.Digest)
		return refused
	}
	auth := refreshing(t, new(memory.Store), o)
	first := mustIssue(t, auth, alice())
	second := mustRefresh(t, auth, first.RefreshToken)
	if len(asked) != 0 {
		t.Errorf("a refresh asked LiveCheck %d times, want 0: the Reloader decides", len(asked))
	}
	if !isValid(t, auth, second) || len(asked) != 1 || asked[0] != second.Token.Digest {
		t.Errorf("LiveCheck was asked about %v, want %v", asked, second.Token.Digest)
	}
	refused = tokenauth.ErrRejected
	if isValid(t, auth, second) {
		t.Error("the new access token is valid although LiveCheck rejects it")
	}
}
