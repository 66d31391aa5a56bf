package tokenauth_test

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bearerkit/bearerkit/storage/memory"
	"github.com/bearerkit/bearerkit/tokenauth"
	"github.com/bearerkit/bearerkit/tokenauth/event"
)

// reloading is a staff that is also a Reloader. It has one user, alice.
type reloading struct {
	staff
	mu    sync.Mutex
	roles []string // alice's, if not nil
	err   error    // of Reload
}

func (r *reloading) Reload(_ context.Context, p tokenauth.Principal) (tokenauth.Principal, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err != nil {
		return tokenauth.Principal{}, r.err
	}
	now := alice()
	if r.roles != nil {
		now.Roles = r.roles
	}
	return now, nil
}

func (r *reloading) set(roles []string, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.roles, r.err = roles, err
}

var sharedKey = tokenauth.NewSecret("0123456789abcdef0123456789abcdef")

// refreshing returns a Service with refresh tokens.
func refreshing(t testing.TB, s tokenauth.Storage, o tokenauth.Options) *tokenauth.Service {
	t.Helper()
	if o.Refresh == nil {
		o.Refresh = &tokenauth.RefreshOptions{Key: sharedKey}
	}
	if o.Lifetime == 0 {
		o.Lifetime = 15 * time.Minute
	}
	return newService(t, s, new(reloading), &o)
}

func signInAlice(t testing.TB, auth *tokenauth.Service) tokenauth.IssuedToken {
	t.Helper()
	issued, err := auth.SignIn(t.Context(), tokenauth.Credentials{UserName: "alice", Password: tokenauth.NewSecret("wonderland")})
	if err != nil {
		t.Fatal(err)
	}
	return issued
}

func refresh(t testing.TB, auth *tokenauth.Service, refreshToken tokenauth.Secret) (tokenauth.IssuedToken, error) {
	t.Helper()
	return auth.Refresh(t.Context(), tokenauth.Credentials{RefreshToken: refreshToken, RemoteAddr: netip.MustParseAddr("192.0.2.1")})
}

func samePair(a, b tokenauth.IssuedToken) bool {
	return a.AccessToken.Reveal() == b.AccessToken.Reveal() && a.RefreshToken.Reveal() == b.RefreshToken.Reveal()
}

func mustRefresh(t testing.TB, auth *tokenauth.Service, refreshToken tokenauth.Secret) tokenauth.IssuedToken {
	t.Helper()
	issued, err := refresh(t, auth, refreshToken)
	if err != nil {
		t.Fatal(err)
	}
	return issued
}

// refusesRefresh checks that the refresh token is refused, and whether its sign-in goes
// on: the given access token is valid, or not.
func refusesRefresh(t testing.TB, auth *tokenauth.Service, refreshToken tokenauth.Secret, current tokenauth.IssuedToken, goesOn bool) {
	t.Helper()
	if _, err := refresh(t, auth, refreshToken); !errors.Is(err, tokenauth.ErrInvalidToken) {
		t.Errorf("the refresh returned %v, want ErrInvalidToken", err)
	}
	if isValid(t, auth, current) != goesOn {
		t.Errorf("the access token is valid: %v, want %v", !goesOn, goesOn)
	}
	if _, err := refresh(t, auth, current.RefreshToken); (err == nil) != goesOn {
		t.Errorf("refreshing with the current refresh token returns %v, want success: %v", err, goesOn)
	}
}

func TestRefreshReplacesBothTokens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		auth := refreshing(t, new(memory.Store), tokenauth.Options{})
		first := signInAlice(t, auth)
		time.Sleep(time.Hour)
		if isValid(t, auth, first) {
			t.Fatal("the access token is valid after an hour")
		}
		second := mustRefresh(t, auth, first.RefreshToken)
		if !isValid(t, auth, second) {
			t.Error("the new access token is not valid")
		}
		if second.RefreshToken.Reveal() == first.RefreshToken.Reveal() || second.AccessToken.Reveal() == first.AccessToken.Reveal() {
			t.Error("a refresh returned a token from before")
		}
		if got := second.Token.Refresh.ExpiresAt.Sub(second.Token.IssuedAt); got != 30*24*time.Hour {
			t.Errorf("the refresh token lives %v, want 30 days", got)
		}
		if got := second.Token.IssuedAt.Sub(second.Token.Refresh.SignedInAt); got != time.Hour {
			t.Errorf("the sign-in was %v ago, want 1h", got)
		}
	})
}

func TestRefreshCanBeRepeatedWithinTheGrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := new(memory.Store)
		auth, other := refreshing(t, store, tokenauth.Options{}), refreshing(t, store, tokenauth.Options{})
		first := signInAlice(t, auth)
		second := mustRefresh(t, auth, first.RefreshToken)
		time.Sleep(30 * time.Second)
		for i, replica := range []*tokenauth.Service{auth, other, other} {
			if again := mustRefresh(t, replica, first.RefreshToken); !samePair(again, second) {
				t.Errorf("repetition %d returned another pair", i+1)
			}
		}
		refusesRefresh(t, auth, first.RefreshToken, second, true) // a fourth repetition
	})
}

// A tab that is some refreshes behind gets the current pair.
func TestRefreshOfATabThatIsBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		auth := refreshing(t, new(memory.Store), tokenauth.Options{})
		pairs := []tokenauth.IssuedToken{signInAlice(t, auth)}
		for i := range 6 {
			time.Sleep(time.Second)
			pairs = append(pairs, mustRefresh(t, auth, pairs[i].RefreshToken))
		}
		for i := 2; i < 6; i++ {
			if got := mustRefresh(t, auth, pairs[i].RefreshToken); !samePair(got, pairs[6]) {
				t.Errorf("a tab that is %d refreshes behind got another pair", 6-i)
			}
		}
		// More than four refreshes behind: refused, and nothing ends within the grace.
		if _, err := refresh(t, auth, pairs[1].RefreshToken); !errors.Is(err, tokenauth.ErrInvalidToken) {
			t.Errorf("five refreshes behind: error %v, want ErrInvalidToken", err)
		}
		if !isValid(t, auth, pairs[6]) {
			t.Error("a tab that is too far behind ended the sign-in")
		}
		time.Sleep(30 * time.Second)
		refusesRefresh(t, auth, pairs[1].RefreshToken, pairs[6], false)
	})
}

func TestReuseAfterTheGraceEndsTheSignIn(t *testing.T) {
	for name, rotations := range map[string]int{"the last": 1, "ten rotations old": 10} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var events []tokenauth.Event
				auth := refreshing(t, new(memory.Store), tokenauth.Options{
					Observers: []func(context.Context, tokenauth.Event){func(_ context.Context, e tokenauth.Event) { events = append(events, e) }},
				})
				first := signInAlice(t, auth)
				last := first
				for range rotations {
					time.Sleep(10 * time.Minute)
					last = mustRefresh(t, auth, last.RefreshToken)
				}
				time.Sleep(31 * time.Second)
				events = nil
				refusesRefresh(t, auth, first.RefreshToken, last, false)
				if len(events) < 2 || events[0].Kind != event.Revoked || events[0].Reason != event.ReasonReused ||
					events[1].Kind != event.RefreshRefused || events[1].Reason != event.ReasonReused || events[1].UserID != "17" {
					t.Errorf("events %+v, want a revocation and a refusal because of reuse", events)
				}
			})
		})
	}
}

// The address of a slot can be computed from a user ID. So a refresh token that was made
// up ends nothing.
func TestMadeUpRefreshTokenEndsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := new(memory.Store)
		auth := refreshing(t, store, tokenauth.Options{})
		ended := signInAlice(t, auth) // its family is that of an earlier sign-in
		current := signInAlice(t, auth)
		current = mustRefresh(t, auth, current.RefreshToken)
		time.Sleep(time.Minute)
		refusesRefresh(t, auth, ended.RefreshToken, current, true)
	})
}

func TestWhateverEndsTheSignInEndsItsRefreshToken(t *testing.T) {
	for name, end := range map[string]func(*testing.T, *tokenauth.Service, *memory.Store, tokenauth.IssuedToken) error{
		"Revoke": func(t *testing.T, auth *tokenauth.Service, _ *memory.Store, i tokenauth.IssuedToken) error {
			return auth.Revoke(t.Context(), i.AccessToken.Reveal())
		},
		"Revoke of the refresh token": func(t *testing.T, auth *tokenauth.Service, _ *memory.Store, i tokenauth.IssuedToken) error {
			return auth.Revoke(t.Context(), i.RefreshToken.Reveal())
		},
		"RevokeUser": func(t *testing.T, auth *tokenauth.Service, _ *memory.Store, _ tokenauth.IssuedToken) error {
			return auth.RevokeUser(t.Context(), "17")
		},
		"RevokeClient": func(t *testing.T, auth *tokenauth.Service, _ *memory.Store, _ tokenauth.IssuedToken) error {
			return auth.RevokeClient(t.Context(), "")
		},
		"RevokeAll": func(t *testing.T, auth *tokenauth.Service, _ *memory.Store, _ tokenauth.IssuedToken) error {
			return auth.RevokeAll(t.Context())
		},
		"a new sign-in": func(t *testing.T, auth *tokenauth.Service, _ *memory.Store, _ tokenauth.IssuedToken) error {
			signInAlice(t, auth)
			return nil
		},
		"a sign-in without refresh tokens": func(t *testing.T, _ *tokenauth.Service, s *memory.Store, _ tokenauth.IssuedToken) error {
			signInAlice(t, newService(t, s, new(reloading), nil))
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			store := new(memory.Store)
			auth := refreshing(t, store, tokenauth.Options{})
			current := mustRefresh(t, auth, signInAlice(t, auth).RefreshToken)
			if err := end(t, auth, store, current); err != nil {
				t.Fatal(err)
			}
			refusesRefresh(t, auth, current.RefreshToken, current, false)
		})
	}
}

// Revoking a refresh token that was used ends its sign-in (RFC 7009 §2.1).
func TestRevokingAUsedRefreshTokenEndsItsSignIn(t *testing.T) {
	t.Parallel()
	auth := refreshing(t, new(memory.Store), tokenauth.Options{})
	first := signInAlice(t, auth)
	current := mustRefresh(t, auth, first.RefreshToken)
	if err := auth.Revoke(t.Context(), first.RefreshToken.Reveal()); err != nil {
		t.Fatal(err)
	}
	refusesRefresh(t, auth, current.RefreshToken, current, false)
}

// A refresh between the look-up of a token and its end must not keep the sign-in.
func TestSignInEndsAlthoughItIsRefreshedMeanwhile(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		max  int // of devices
		end  func(context.Context, *tokenauth.Service, tokenauth.IssuedToken) error
	}{
		{"RevokeDevice", 10, func(ctx context.Context, auth *tokenauth.Service, device tokenauth.IssuedToken) error {
			return auth.RevokeDevice(ctx, "17", device.Token.SlotID())
		}},
		{"RevokeUser with a token to keep", 10, func(ctx context.Context, auth *tokenauth.Service, _ tokenauth.IssuedToken) error {
			keep, err := auth.Issue(ctx, alice(), nil)
			if err != nil {
				return err
			}
			return auth.RevokeUser(ctx, "17", keep.Token)
		}},
		{"the bound on devices", 1, func(ctx context.Context, auth *tokenauth.Service, _ tokenauth.IssuedToken) error {
			_, err := auth.Issue(ctx, alice(), &tokenauth.IssueOptions{Device: "tablet"})
			return err
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			store := new(scripted)
			findWithoutRefresh(store)
			o := refreshOptions()
			o.Devices = &tokenauth.DeviceOptions{Max: test.max}
			auth := refreshing(t, store, o)
			other := refreshing(t, &store.Store, o)
			current, err := auth.Issue(t.Context(), alice(), &tokenauth.IssueOptions{Device: "phone"})
			if err != nil {
				t.Fatal(err)
			}
			device, refreshes := current, 0
			store.before = func(_ context.Context, method string) error {
				if method == "Revoke" && refreshes < 2 {
					refreshes++
					current = mustRefresh(t, other, current.RefreshToken)
				}
				return nil
			}
			if err := test.end(t.Context(), auth, device); err != nil || refreshes != 2 {
				t.Fatalf("error %v after %d refreshes, want none after 2", err, refreshes)
			}
			refusesRefresh(t, auth, current.RefreshToken, current, false)
		})
	}
}

func TestRefreshLooksTheUserUpAgain(t *testing.T) {
	t.Parallel()
	users := new(reloading)
	auth := newService(t, new(memory.Store), users, &tokenauth.Options{Refresh: &tokenauth.RefreshOptions{}})
	first := signInAlice(t, auth)
	users.set([]string{"Reader"}, nil)
	second := mustRefresh(t, auth, first.RefreshToken)
	if got := second.Token.Principal.Roles; len(got) != 1 || got[0] != "Reader" {
		t.Errorf("after a refresh the roles are %q, want the user's current ones", got)
	}
	users.set(nil, errors.New("database is down"))
	if _, err := refresh(t, auth, second.RefreshToken); !errors.Is(err, tokenauth.ErrUnavailable) {
		t.Errorf("the look-up failed: error %v, want ErrUnavailable", err)
	}
	users.set(nil, tokenauth.ErrRejected)
	if _, err := refresh(t, auth, second.RefreshToken); !errors.Is(err, tokenauth.ErrInvalidToken) {
		t.Errorf("the user was disabled: error %v, want ErrInvalidToken", err)
	}
	users.set(nil, nil)
	mustRefresh(t, auth, second.RefreshToken) // a refusal ended nothing
}

func TestRefreshNeverExtendsASignInBeyondItsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		auth := refreshing(t, new(memory.Store), tokenauth.Options{Refresh: &tokenauth.RefreshOptions{Lifetime: 2 * time.Hour, MaxLifetime: 5 * time.Hour}})
		current := signInAlice(t, auth)
		end := time.Now().Add(5 * time.Hour).Truncate(time.Second)
		for range 4 {
			time.Sleep(74 * time.Minute)
			current = mustRefresh(t, auth, current.RefreshToken)
			if current.Token.ExpiresAt.After(end) || current.Token.Refresh.ExpiresAt.After(end) {
				t.Errorf("the tokens expire %v and %v after the end of the sign-in", current.Token.ExpiresAt.Sub(end), current.Token.Refresh.ExpiresAt.Sub(end))
			}
		}
		time.Sleep(4*time.Minute + time.Second)
		refusesRefresh(t, auth, current.RefreshToken, current, false)
	})
}

// Without a shared key, a repetition at another process cannot return the same pair. It
// ends nothing.
func TestRepetitionAtAProcessWithAnotherKey(t *testing.T) {
	t.Parallel()
	store := new(memory.Store)
	auth := refreshing(t, store, tokenauth.Options{Refresh: &tokenauth.RefreshOptions{}})
	other := refreshing(t, store, tokenauth.Options{Refresh: &tokenauth.RefreshOptions{}})
	first := signInAlice(t, auth)
	second := mustRefresh(t, auth, first.RefreshToken)
	if _, err := refresh(t, other, first.RefreshToken); !errors.Is(err, tokenauth.ErrInvalidToken) {
		t.Errorf("error %v, want ErrInvalidToken", err)
	}
	if !isValid(t, auth, second) {
		t.Error("a repetition at another process ended the sign-in")
	}
	mustRefresh(t, other, second.RefreshToken)
}

func TestConcurrentRefreshesReturnOnePair(t *testing.T) {
	t.Parallel()
	store := new(memory.Store)
	replicas := []*tokenauth.Service{refreshing(t, store, tokenauth.Options{}), refreshing(t, store, tokenauth.Options{})}
	current := signInAlice(t, replicas[0])
	for range 50 {
		var got [4]tokenauth.IssuedToken
		var errs [4]error
		var wg sync.WaitGroup
		for i := range got {
			wg.Go(func() { got[i], errs[i] = refresh(t, replicas[i%2], current.RefreshToken) })
		}
		wg.Wait()
		for i := range got {
			if errs[i] != nil || !samePair(got[i], got[0]) {
				t.Fatalf("concurrent refreshes: error %v, or another pair", errs[i])
			}
		}
		current = got[0]
	}
}

// A token names its sign-in after refreshes, too, but no later sign-in in its slot.
func TestRevokeTokenOfARefreshedSignIn(t *testing.T) {
	t.Parallel()
	for _, refreshes := range []int{0, 1, 3} {
		auth := refreshing(t, new(memory.Store), refreshOptions())
		first := signInAlice(t, auth)
		current := first
		for range refreshes {
			current = mustRefresh(t, auth, current.RefreshToken)
		}
		if err := auth.RevokeToken(t.Context(), first.Token); err != nil {
			t.Fatal(err)
		}
		refusesRefresh(t, auth, current.RefreshToken, current, false)

		later := signInAlice(t, auth)
		for range refreshes {
			later = mustRefresh(t, auth, later.RefreshToken)
		}
		if err := auth.RevokeToken(t.Context(), first.Token); err != nil {
			t.Fatal(err)
		}
		if !isValid(t, auth, later) {
			t.Errorf("a token of an earlier sign-in ended a later one, after %d refreshes", refreshes)
		}
		if err := auth.RevokeUser(t.Context(), "17", first.Token); err != nil {
			t.Fatal(err)
		}
		refusesRefresh(t, auth, later.RefreshToken, later, false)
	}
}
