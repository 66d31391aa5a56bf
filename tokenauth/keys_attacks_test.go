package tokenauth_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bearerkit/bearerkit/storage/memory"
	"github.com/bearerkit/bearerkit/tokenauth"
	"github.com/bearerkit/bearerkit/tokenauth/place"
	"github.com/bearerkit/bearerkit/tokenauth/tokenauthtest"
)

// A key is not accepted in a cookie, but a sign-in is, also if its prefix continues that of
// keys.
func TestSignInsInCookiesMayHaveAPrefixLikeKeys(t *testing.T) {
	t.Parallel()
	auth, _ := keyed(t, new(memory.Store), newOwners(alice()), tokenauth.Options{
		Prefix: "acme_session_", Keys: &tokenauth.KeyOptions{Prefix: "acme_"},
		Places: []place.Place{place.Scheme("Bearer"), place.Cookie{Name: "session"}},
	})
	token := issue(t, auth, alice(), "")
	if status, _ := with(auth.RequireBearer, token); status != 200 {
		t.Error(status)
	}
	if status := inCookie(auth, token); status != 200 {
		t.Errorf("a sign-in in the cookie: status %d", status)
	}
}

// inCookie returns the status of the answer to a request with a cookie, on a route that
// takes keys.
func inCookie(auth *tokenauth.Service, value string) (status int) {
	r := httptest.NewRequest("GET", "/", nil)
	r.AddCookie(&http.Cookie{Name: "__Host-session", Value: value})
	w := httptest.NewRecorder()
	tokenauth.Requirement{Keys: true}.Guard(auth)(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})).ServeHTTP(w, r)
	return w.Code
}

// No key is accepted in a cookie, also if its prefix continues that of access tokens or of
// refresh tokens, or begins like it.
func TestKeysInCookiesAreRefused(t *testing.T) {
	t.Parallel()
	for _, prefix := range []string{"sk-", "tat_key_", "trt_key_", "tat", "trt", "t"} {
		auth, keys := importing(t, new(memory.Store), newOwners(alice()), tokenauth.Options{
			Refresh: new(tokenauth.RefreshOptions), Places: []place.Place{place.Scheme("Bearer"), place.Cookie{Name: "session"}},
			Keys: &tokenauth.KeyOptions{Prefix: prefix, Imported: []string{"1|", "sk-"}, Max: 10_000},
		})
		importKey(t, keys, "1|old", alice(), tokenauth.Key{})
		all := []string{"1|old"}
		for range 300 { // the random part of some begins with "_"
			key, _ := makeKey(t, keys, alice(), tokenauth.Key{})
			all = append(all, key)
		}
		for _, key := range all {
			if status := inCookie(auth, key); status != 401 {
				t.Errorf("prefix %q: the status is %d for %s", prefix, status, key)
			}
		}
	}
}

// A sign-in that has ended makes no key, even if a guard let its request through before.
func TestSignInsThatEndedMakeNoKeys(t *testing.T) {
	t.Parallel()
	for what, test := range map[string]struct {
		end  func(t *testing.T, auth *tokenauth.Service, clock *tokenauthtest.Clock, token tokenauth.Token) error
		made bool
	}{
		"nothing": {func(*testing.T, *tokenauth.Service, *tokenauthtest.Clock, tokenauth.Token) error { return nil }, true},
		"sign-out": {func(t *testing.T, auth *tokenauth.Service, _ *tokenauthtest.Clock, token tokenauth.Token) error {
			return auth.RevokeToken(t.Context(), token)
		}, false},
		"RevokeUser": {func(t *testing.T, auth *tokenauth.Service, _ *tokenauthtest.Clock, _ tokenauth.Token) error {
			return auth.RevokeUser(t.Context(), "17")
		}, false},
		"the expiry": {func(_ *testing.T, _ *tokenauth.Service, clock *tokenauthtest.Clock, _ tokenauth.Token) error {
			clock.Advance(15 * 24 * time.Hour)
			return nil
		}, false},
		"the next sign-in": {func(t *testing.T, auth *tokenauth.Service, _ *tokenauthtest.Clock, _ tokenauth.Token) error {
			issue(t, auth, alice(), "")
			return nil
		}, false},
		"a refresh": {func(t *testing.T, auth *tokenauth.Service, _ *tokenauthtest.Clock, token tokenauth.Token) error {
			return nil
		}, true},
	} {
		for _, refresh := range []*tokenauth.RefreshOptions{nil, new(tokenauth.RefreshOptions)} {
			var clock tokenauthtest.Clock
			auth, keys := keyed(t, new(memory.Store), newOwners(alice()), tokenauth.Options{Now: clock.Now, Refresh: refresh})
			issued, err := auth.Issue(t.Context(), alice(), nil)
			if err != nil {
				t.Fatal(err)
			}
			owner := tokenOf(t, auth, issued.AccessToken.Reveal())
			if what == "a refresh" {
				if refresh == nil {
					continue
				}
				if _, err := auth.Refresh(t.Context(), tokenauth.Credentials{RefreshToken: issued.RefreshToken}); err != nil {
					t.Fatal(err)
				}
			}
			if err := test.end(t, auth, &clock, owner); err != nil {
				t.Fatal(err)
			}
			_, _, err = keys.Create(t.Context(), owner, tokenauth.Key{Name: "x"})
			if test.made && err != nil || !test.made && !errors.Is(err, tokenauth.ErrRejected) {
				t.Errorf("after %s, with refresh tokens %v, Create returned error %v", what, refresh != nil, err)
			}
			if list, err := keys.List(t.Context(), "17"); err != nil || (len(list) == 1) != test.made {
				t.Errorf("after %s, the list is %+v, error %v", what, list, err)
			}
		}
	}
}

// A key is not a sign-in that makes keys, also after the host stored its Token and read it
// again.
func TestStoredTokensOfKeysMakeNoKeys(t *testing.T) {
	t.Parallel()
	_, keys := keyed(t, new(memory.Store), newOwners(alice()), tokenauth.Options{})
	key, _ := makeKey(t, keys, alice(), tokenauth.Key{})
	token, err := keys.Validate(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	token.Key = ""
	if _, _, err := keys.Create(t.Context(), token, tokenauth.Key{}); !errors.Is(err, tokenauth.ErrRejected) {
		t.Errorf("Create returned error %v, want ErrRejected", err)
	}
}

// A Reloader that returns a principal that is not valid is an error of the host. No key is
// refused for it as unknown.
func TestAnInvalidPrincipalOfTheReloaderIsAnError(t *testing.T) {
	test := func(t *testing.T, users *owners, keys *tokenauth.Keys, auth *tokenauth.Service) {
		key, _ := makeKey(t, keys, alice(), tokenauth.Key{})
		users.change("17", func(p *tokenauth.Principal) { p.Roles = []string{"a,b"} })
		if _, err := keys.Validate(t.Context(), key); !errors.Is(err, tokenauth.ErrInvalidPrincipal) || errors.Is(err, tokenauth.ErrUnavailable) {
			t.Errorf("Validate returned error %v, want ErrInvalidPrincipal", err)
		}
		if status, body := with(tokenauth.Requirement{Keys: true}.Guard(auth), key); status != 500 {
			t.Errorf("the answer is %d %s", status, body)
		}
	}
	t.Run("strict", func(t *testing.T) {
		t.Parallel()
		users := newOwners(alice())
		auth, keys := keyed(t, new(memory.Store), users, tokenauth.Options{})
		test(t, users, keys, auth)
	})
	t.Run("cached", func(t *testing.T) {
		inKeyBubble(t, tokenauth.Options{}, func(t *testing.T, _ *fedStore, users *owners, auth *tokenauth.Service, keys *tokenauth.Keys, _ tokenauth.Invalidator) {
			test(t, users, keys, auth)
		})
	})
}

// A LiveCheck may compare roles. Then a role that an owner without a stamp loses is lost in
// the key from the next request on.
func TestLiveCheckMayCompareRoles(t *testing.T) {
	t.Parallel()
	p := alice()
	p.Stamp = ""
	users := newOwners(p)
	_, keys := keyed(t, new(memory.Store), users, tokenauth.Options{LiveCheck: func(_ context.Context, token tokenauth.Token) error {
		now, err := users.get(token.Principal)
		if err == nil && slices.ContainsFunc(token.Principal.Roles, func(role string) bool { return !now.HasRole(role) }) {
			err = tokenauth.ErrRejected
		}
		return err
	}})
	key, _ := makeKey(t, keys, p, tokenauth.Key{})
	expectKey(t, keys, key, "Reader,Staff")
	users.change("17", func(p *tokenauth.Principal) { p.Roles = []string{"Reader"} })
	expectKey(t, keys, key, "Reader")
	expectKey(t, keys, key, "Reader")
}

// A caller whose context ends while another caller reads the key gets a 503.
func TestWaitingForAKeyIsUnavailable(t *testing.T) {
	inKeyBubble(t, tokenauth.Options{}, func(t *testing.T, s *fedStore, users *owners, auth *tokenauth.Service, keys *tokenauth.Keys, feed tokenauth.Invalidator) {
		key, _ := makeKey(t, keys, alice(), tokenauth.Key{})
		expectKey(t, keys, key, "Reader,Staff")
		hold := make(chan struct{})
		s.before = func(ctx context.Context, method string) error {
			if method == "Find" {
				<-hold
			}
			return nil
		}
		var wg sync.WaitGroup
		wg.Go(func() { keys.Validate(t.Context(), key) })
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		_, err := keys.Validate(ctx, key)
		if !errors.Is(err, tokenauth.ErrUnavailable) {
			t.Errorf("Validate of a key: %v", err)
		}
		r := httptest.NewRequestWithContext(ctx, "GET", "/", nil)
		r.Header.Set("Authorization", "Bearer "+key)
		w := httptest.NewRecorder()
		tokenauth.Requirement{Keys: true}.Guard(auth)(http.NotFoundHandler()).ServeHTTP(w, r)
		if w.Code != 503 {
			t.Errorf("guard %d %s", w.Code, w.Body)
		}
		close(hold)
		wg.Wait()
	})
}

// A shuffled returns the roles of a user in another order each time.
type shuffled struct{ *owners }

func (o *shuffled) Reload(ctx context.Context, p tokenauth.Principal) (tokenauth.Principal, error) {
	now, err := o.owners.Reload(ctx, p)
	rand.Shuffle(len(now.Roles), func(i, j int) { now.Roles[i], now.Roles[j] = now.Roles[j], now.Roles[i] })
	return now, err
}

func TestReloadMayReturnRolesInAnyOrder(t *testing.T) {
	t.Parallel()
	p := alice()
	p.Roles = []string{"a", "b", "c", "d", "e"}
	users := &shuffled{newOwners(p)}
	_, keys := keyed(t, new(memory.Store), users, tokenauth.Options{})
	key, _ := makeKey(t, keys, p, tokenauth.Key{})
	_, err := keys.Validate(t.Context(), key)
	if err != nil {
		t.Error(err)
	}
}

// A stream ends when its key loses a role that any guard of the request requires.
func TestKeysNeedTheRolesOfAllGuardsOfAStream(t *testing.T) {
	inKeyStreamBubble(t, func(t *testing.T, s *scripted, users *owners, auth *tokenauth.Service, keys *tokenauth.Keys, within time.Duration) {
		key, _ := makeKey(t, keys, alice(), tokenauth.Key{})
		outer := auth.Authorizer(tokenauth.Requirement{Keys: true, Roles: []string{"Staff"}})
		inner := auth.Authorizer(tokenauth.Requirement{Keys: true, Stream: true})
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		r := httptest.NewRequestWithContext(ctx, "GET", "/", nil)
		r.Header.Set("Authorization", "Bearer "+key)
		r, refusal := outer(r)
		if refusal != nil {
			t.Fatal(refusal)
		}
		if r, refusal = inner(r); refusal != nil {
			t.Fatal(refusal)
		}
		users.setRoles(t, auth, "17", "Reader")
		time.Sleep(2 * time.Hour)
		if r.Context().Err() == nil {
			t.Error("the stream goes on without the role")
		}
	})
}

// An imported key of any length is not sent to Fallback.
func TestLongImportedKeyReachesNoFallback(t *testing.T) {
	t.Parallel()
	asked := false
	auth, _ := keyed(t, new(memory.Store), newOwners(alice()), tokenauth.Options{
		Keys:     &tokenauth.KeyOptions{Prefix: "acme_", Imported: []string{"sk-"}},
		Fallback: func(r *http.Request) (tokenauth.Principal, error) { asked = true; return bob(), nil },
	})
	status, body := with(auth.RequireBearer, "sk-"+strings.Repeat("a", 600))
	if asked {
		t.Error(status, body)
	}
}

type lostAnswer struct {
	scripted
	lose bool
}

func (l *lostAnswer) Replace(ctx context.Context, t tokenauth.Token) error {
	err := l.scripted.Replace(ctx, t)
	if l.lose {
		return errors.New("the connection broke after the commit")
	}
	return err
}

// A key whose answer from the storage was lost does not stay and count for the bound.
func TestCreateLeavesNoKeyAfterAnError(t *testing.T) {
	t.Parallel()
	store, users := &lostAnswer{lose: true}, newOwners(alice(), bob())
	_, keys := keyed(t, store, users, tokenauth.Options{Keys: &tokenauth.KeyOptions{Prefix: "sk-", Max: 3}})
	for range 3 {
		_, _, err := keys.Create(t.Context(), tokenauth.Token{Principal: alice()}, tokenauth.Key{Name: "x"})
		t.Log(err)
	}
	store.lose = false
	_, _, err := keys.Create(t.Context(), tokenauth.Token{Principal: alice()}, tokenauth.Key{Name: "x"})
	list, _ := keys.List(t.Context(), "17")
	if len(list) != 1 {
		t.Errorf("%d keys, %v", len(list), err)
	}
}

// Options returns copies of the slices.
func TestOptionsAreCopiesForKeys(t *testing.T) {
	t.Parallel()
	store, users := new(scripted), newOwners(alice(), bob())
	auth, keys := importing(t, store, users, tokenauth.Options{})
	importKey(t, keys, oldKey, alice(), tokenauth.Key{Name: "a"})
	auth.Options().Keys.Imported[0] = "zz"
	expectKey(t, keys, oldKey, "Reader,Staff")
}

// After a revocation of an imported key that failed at any step, and one that succeeded,
// the key is valid nowhere, also not in the cache.
func TestFailedRevocationsOfImportedKeysCanBeRepeated(t *testing.T) {
	for name, end := range map[string]func(t *testing.T, keys *tokenauth.Keys, auth *tokenauth.Service, id string) error{
		"RevokeAll": func(t *testing.T, keys *tokenauth.Keys, _ *tokenauth.Service, _ string) error {
			return keys.RevokeAll(t.Context(), "17")
		},
		"Revoke": func(t *testing.T, keys *tokenauth.Keys, _ *tokenauth.Service, id string) error {
			return keys.Revoke(t.Context(), "17", id)
		},
		"text": func(t *testing.T, _ *tokenauth.Keys, auth *tokenauth.Service, _ string) error {
			return auth.Revoke(t.Context(), oldKey)
		},
	} {
		for step := 1; step <= 2; step++ {
			t.Run(fmt.Sprint(name, " fails at step ", step), func(t *testing.T) {
				o := tokenauth.Options{Keys: &tokenauth.KeyOptions{Prefix: "sk-", Imported: []string{"sk-"}}}
				inKeyBubble(t, o, func(t *testing.T, s *fedStore, users *owners, auth *tokenauth.Service, keys *tokenauth.Keys, feed tokenauth.Invalidator) {
					made := importKey(t, keys, oldKey, alice(), tokenauth.Key{Name: "a"})
					warm(t, s, keys, oldKey, "Reader,Staff")
					n := 0
					s.before = func(_ context.Context, method string) error {
						if method == "Revoke" || method == "RevokeUser" {
							if n++; n == step {
								return errors.New("down")
							}
						}
						return nil
					}
					if err := end(t, keys, auth, made.ID); !errors.Is(err, tokenauth.ErrUnavailable) {
						t.Errorf("the failing revocation returned %v", err)
					}
					if err := end(t, keys, auth, made.ID); err != nil && !errors.Is(err, tokenauth.ErrNotFound) {
						t.Errorf("the second one returned %v", err)
					}
					expectKey(t, keys, oldKey, "invalid")
					if p, err := s.Store.Find(t.Context(), pointerSlot(oldKey)); err == nil && (name == "text" || step == 1) {
						t.Errorf("the pointer stays: %v until %v", p.Principal.UserID, p.ExpiresAt)
					}
					importKey(t, keys, oldKey, bob(), tokenauth.Key{}) // the remaining pointer does not prevent it
					expectKey(t, keys, oldKey, "")
				})
			})
		}
	}
}
