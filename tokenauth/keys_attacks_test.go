package tokenauth_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bearerkit/bearerkit/storage/memory"
	"github.com/bearerkit/bearerkit/tokenauth"
	"github.com/bearerkit/bearerkit/tokenauth/place"
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
	r := httptest.NewRequest("GET", "/", nil)
	r.AddCookie(&http.Cookie{Name: "__Host-session", Value: token})
	w := httptest.NewRecorder()
	auth.RequireBearer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {})).ServeHTTP(w, r)
	if w.Code != 200 {
		t.Errorf("a sign-in in the cookie: %d %s", w.Code, w.Body)
	}
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

// A revocation that fails halfway, and is repeated, leaves nothing of an imported key.
func TestFailedRevocationsLeaveNoPointer(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(keys *tokenauth.Keys, auth *tokenauth.Service, id string) error{
		"RevokeAll": func(keys *tokenauth.Keys, auth *tokenauth.Service, id string) error {
			return keys.RevokeAll(t.Context(), "17")
		},
		"Revoke": func(keys *tokenauth.Keys, auth *tokenauth.Service, id string) error {
			return keys.Revoke(t.Context(), "17", id)
		},
		"text": func(keys *tokenauth.Keys, auth *tokenauth.Service, id string) error {
			return auth.Revoke(t.Context(), oldKey)
		},
	} {
		t.Run(name, func(t *testing.T) {
			store, users := new(scripted), newOwners(alice(), bob())
			auth, keys := importing(t, store, users, tokenauth.Options{})
			made := importKey(t, keys, oldKey, alice(), tokenauth.Key{Name: "a"})
			n := 0
			store.before = func(ctx context.Context, method string) error {
				if method == "Revoke" || method == "RevokeUser" {
					if n++; n == 2 {
						return errors.New("down")
					}
				}
				return nil
			}
			if err := end(keys, auth, made.ID); !errors.Is(err, tokenauth.ErrUnavailable) {
				t.Errorf("the failing revocation returned %v", err)
			}
			expectKey(t, keys, oldKey, "invalid")
			if err := end(keys, auth, made.ID); err != nil && !errors.Is(err, tokenauth.ErrNotFound) {
				t.Errorf("the second one returned %v", err)
			}
			if p, err := store.Store.Find(t.Context(), pointerSlot(oldKey)); err == nil {
				t.Errorf("the pointer stays: %v until %v", p.Principal.UserID, p.ExpiresAt)
			}
		})
	}
}
