package tokenauth_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/bearerkit/bearerkit/storage/memory"
	"github.com/bearerkit/bearerkit/tokenauth"
	"github.com/bearerkit/bearerkit/tokenauth/tokenauthtest"
)

// oldKey is a key that another system made.
const oldKey = "sk-9qFZ1vQ2mX7cR4tB8nL3wK6yH5jD0sGaEpUoViTz"

func digestOf(text string) tokenauth.Digest { return sha256.Sum256([]byte(text)) }

// importing returns a Service that looks for imported keys, and its Keys.
func importing(t testing.TB, s tokenauth.Storage, a tokenauth.Authenticator, o tokenauth.Options) (*tokenauth.Service, *tokenauth.Keys) {
	t.Helper()
	if o.Keys == nil {
		o.Keys = &tokenauth.KeyOptions{Prefix: "sk-", Imported: []string{"sk-", "1|"}}
	}
	return keyed(t, s, a, o)
}

func importKey(t testing.TB, keys *tokenauth.Keys, text string, p tokenauth.Principal, k tokenauth.Key) tokenauth.Key {
	t.Helper()
	made, err := keys.Import(t.Context(), p, digestOf(text), k)
	if err != nil {
		t.Fatalf("Import: %v", err)
	}
	return made
}

func TestImportedKeysAreKeys(t *testing.T) {
	t.Parallel()
	var clock tokenauthtest.Clock
	store, users := new(memory.Store), newOwners(alice(), bob())
	auth, keys := importing(t, store, users, tokenauth.Options{Now: clock.Now})
	expectKey(t, keys, oldKey, "invalid")
	born := clock.Now().AddDate(-1, 0, 0).Truncate(time.Second)
	made := importKey(t, keys, oldKey, alice(), tokenauth.Key{Name: "old", Roles: []string{"Reader", "Lost"}, CreatedAt: born})
	again := importKey(t, keys, oldKey, alice(), tokenauth.Key{Name: "old", Roles: []string{"Reader", "Lost"}, CreatedAt: born})
	if made.ID == "" || made.ID != again.ID || strings.Contains(oldKey, made.ID) {
		t.Errorf("imported %+v, and again %+v", made, again)
	}
	expectKey(t, keys, oldKey, "Reader")
	expectKey(t, keys, oldKey+"x", "invalid")
	expectKey(t, keys, "other"+oldKey, "invalid")
	importKey(t, keys, "1|laravel", alice(), tokenauth.Key{Name: "other"})
	list, err := keys.List(t.Context(), "17")
	if err != nil || len(list) != 2 || list[1].ID != made.ID || list[1].Name != "old" || list[1].CreatedAt.Sub(born) > time.Millisecond || !list[1].ExpiresAt.IsZero() {
		t.Errorf("the keys are %+v, %v", list, err)
	}

	token, err := keys.Validate(t.Context(), oldKey)
	if err != nil || token.Key != made.ID || token.Device != "" || token.ClientID != "" || token.Principal.UserID != "17" {
		t.Errorf("Validate: %+v, %v", token, err)
	}
	only := tokenauth.Requirement{Keys: true}.Guard(auth)
	if status, body := with(only, oldKey); status != http.StatusOK || !strings.Contains(body, made.ID) {
		t.Errorf("a guard answered %d %s", status, body)
	}
	if status, _ := with(auth.RequireBearer, oldKey); status != http.StatusForbidden {
		t.Errorf("a guard for sign-ins answered %d, want 403", status)
	}
	if _, err := auth.Validate(t.Context(), oldKey); !errors.Is(err, tokenauth.ErrInvalidToken) {
		t.Errorf("Service.Validate: %v", err)
	}

	users.setRoles(t, auth, "17", "Writer")
	expectKey(t, keys, oldKey, "")
	users.disable("17", true)
	if err := auth.RevokeUser(t.Context(), "17"); err != nil {
		t.Fatal(err)
	}
	expectKey(t, keys, oldKey, "invalid")
	users.disable("17", false)
	expectKey(t, keys, oldKey, "")
	if err := keys.Rename(t.Context(), "17", made.ID, "renamed"); err != nil {
		t.Error(err)
	}
	if token, err := keys.Validate(t.Context(), oldKey); err != nil || token.DeviceName != "renamed" {
		t.Errorf("after Rename: %+v, %v", token, err)
	}
}

// Whatever ends an imported key also removes its pointer, so nothing is left.
func TestImportedKeysLeaveNothing(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(context.Context, *tokenauth.Service, *tokenauth.Keys, tokenauth.Key) error{
		"Keys.Revoke": func(ctx context.Context, _ *tokenauth.Service, keys *tokenauth.Keys, made tokenauth.Key) error {
			return keys.Revoke(ctx, "17", made.ID)
		},
		"Keys.RevokeAll": func(ctx context.Context, _ *tokenauth.Service, keys *tokenauth.Keys, _ tokenauth.Key) error {
			return keys.RevokeAll(ctx, "17")
		},
		"Service.Revoke": func(ctx context.Context, auth *tokenauth.Service, _ *tokenauth.Keys, _ tokenauth.Key) error {
			return auth.Revoke(ctx, oldKey)
		},
		"/revoke": func(ctx context.Context, auth *tokenauth.Service, _ *tokenauth.Keys, _ tokenauth.Key) error {
			r := httptest.NewRequestWithContext(ctx, "POST", "/revoke", strings.NewReader(url.Values{"token": {oldKey}}.Encode()))
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			w := httptest.NewRecorder()
			endpoint(t, auth, "/revoke").ServeHTTP(w, r)
			if w.Code != http.StatusOK {
				return errors.New(w.Body.String())
			}
			return nil
		},
		"Service.RevokeToken": func(ctx context.Context, auth *tokenauth.Service, keys *tokenauth.Keys, _ tokenauth.Key) error {
			token, err := keys.Validate(ctx, oldKey)
			if err == nil {
				err = auth.RevokeToken(ctx, token)
			}
			return err
		},
		"Service.RevokeAll": func(ctx context.Context, auth *tokenauth.Service, _ *tokenauth.Keys, _ tokenauth.Key) error {
			return auth.RevokeAll(ctx)
		},
	} {
		store := &slots{Store: new(memory.Store), full: make(map[tokenauth.Slot]bool)}
		auth, keys := importing(t, store, newOwners(alice()), tokenauth.Options{})
		made := importKey(t, keys, oldKey, alice(), tokenauth.Key{Name: "old"})
		expectKey(t, keys, oldKey, "Reader,Staff")
		if err := end(t.Context(), auth, keys, made); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		expectKey(t, keys, oldKey, "invalid")
		if err := auth.RevokeUser(t.Context(), "17"); err != nil { // the record of the owner
			t.Fatal(err)
		}
		for slot := range store.full {
			if token, err := store.Find(t.Context(), slot); err == nil {
				t.Errorf("%s left %+v", name, token)
			}
		}
	}
}

// slots remembers the slots into which tokens were stored.
type slots struct {
	*memory.Store
	full map[tokenauth.Slot]bool
}

func (s *slots) Replace(ctx context.Context, t tokenauth.Token) error {
	s.full[t.Slot] = true
	return s.Store.Replace(ctx, t)
}

func TestImportRefusesWhatCannotBeStored(t *testing.T) {
	t.Parallel()
	_, keys := importing(t, new(memory.Store), newOwners(alice()), tokenauth.Options{})
	for what, try := range map[string]struct {
		p      tokenauth.Principal
		digest tokenauth.Digest
		k      tokenauth.Key
	}{
		"no user":          {tokenauth.Principal{}, digestOf(oldKey), tokenauth.Key{}},
		"no digest":        {alice(), tokenauth.Digest{}, tokenauth.Key{}},
		"a long name":      {alice(), digestOf(oldKey), tokenauth.Key{Name: strings.Repeat("x", 101)}},
		"expired":          {alice(), digestOf(oldKey), tokenauth.Key{ExpiresAt: time.Now().Add(-time.Hour)}},
		"from the future":  {alice(), digestOf(oldKey), tokenauth.Key{CreatedAt: time.Now().Add(time.Hour)}},
		"a role with ','":  {alice(), digestOf(oldKey), tokenauth.Key{Roles: []string{"a,b"}}},
		"a reserved role":  {alice(), digestOf(oldKey), tokenauth.Key{Roles: []string{"\x01all"}}},
		"a bad attribute ": {alice(), digestOf(oldKey), tokenauth.Key{Attributes: map[string]string{"": "x"}}},
	} {
		if made, err := keys.Import(t.Context(), try.p, try.digest, try.k); !errors.Is(err, tokenauth.ErrInvalidPrincipal) || made.ID != "" {
			t.Errorf("%s: imported %+v, error %v", what, made, err)
		}
	}
	expectKey(t, keys, oldKey, "invalid")
	_, off := keyed(t, new(memory.Store), newOwners(alice()), tokenauth.Options{})
	if _, err := off.Import(t.Context(), alice(), digestOf(oldKey), tokenauth.Key{}); err == nil || errors.Is(err, tokenauth.ErrInvalidPrincipal) {
		t.Errorf("without KeyOptions.Imported: %v", err)
	}
	fallback := func(*http.Request) (tokenauth.Principal, error) { return tokenauth.Principal{}, tokenauth.ErrRejected }
	if _, err := tokenauth.New(new(memory.Store), newOwners(), &tokenauth.Options{Fallback: fallback, Keys: &tokenauth.KeyOptions{Imported: []string{""}}}); err == nil {
		t.Error(`New accepted the prefix "" beside a Fallback`)
	}
}

// A token of a sign-in, a key of the Service and a refresh token are not looked up as
// imported keys, even if all strings may be imported keys. Without the option, or with
// another prefix, nothing is.
func TestOnlyForeignTokensAreLookedUp(t *testing.T) {
	t.Parallel()
	store := &countingFinds{Store: new(memory.Store)}
	auth, keys := keyed(t, store, newOwners(alice()), tokenauth.Options{
		Keys: &tokenauth.KeyOptions{Imported: []string{""}}, Refresh: new(tokenauth.RefreshOptions),
	})
	importKey(t, keys, "anything at all", alice(), tokenauth.Key{})
	expectKey(t, keys, "anything at all", "Reader,Staff")
	issued, err := auth.Issue(t.Context(), alice(), nil)
	if err != nil {
		t.Fatal(err)
	}
	key, _ := makeKey(t, keys, alice(), tokenauth.Key{})
	guard := tokenauth.Requirement{Keys: true}.Guard(auth)
	for token, want := range map[string]int{
		issued.AccessToken.Reveal():           1,
		garbled(issued.AccessToken.Reveal()):  0,
		key:                                   2, // the key and its owner
		garbled(key):                          0,
		issued.RefreshToken.Reveal():          0,
		garbled(issued.RefreshToken.Reveal()): 0,
		strings.Repeat("x", 513):              0,
		"garbage":                             1,
	} {
		before := store.finds
		with(guard, token)
		if got := store.finds - before; got != want {
			t.Errorf("a token of %d bytes that begins with %.4s caused %d look-ups, want %d", len(token), token, got, want)
		}
	}
	_, off := keyed(t, store, newOwners(alice()), tokenauth.Options{})
	_, other := keyed(t, store, newOwners(alice()), tokenauth.Options{Keys: &tokenauth.KeyOptions{Imported: []string{"sk-"}}})
	before := store.finds
	expectKey(t, off, "anything at all", "invalid")
	expectKey(t, other, "anything at all", "invalid")
	if store.finds != before {
		t.Error("a string that cannot be a key was looked up")
	}
}

// countingFinds counts the look-ups.
type countingFinds struct {
	*memory.Store
	finds int
}

func (c *countingFinds) Find(ctx context.Context, s tokenauth.Slot) (tokenauth.Token, error) {
	c.finds++
	return c.Store.Find(ctx, s)
}

// A failure of either look-up refuses no key, and a failed Import can be repeated.
func TestFailuresDoNotRefuseImportedKeys(t *testing.T) {
	t.Parallel()
	storage := new(listingScripted)
	_, keys := importing(t, storage, newOwners(alice()), tokenauth.Options{})
	down := errors.New("down")
	calls := 0
	failAt := func(method string, n int) {
		calls = 0
		storage.before = func(_ context.Context, called string) error {
			if called == method {
				if calls++; calls == n {
					return down
				}
			}
			return nil
		}
	}
	for n := 1; n <= 2; n++ {
		failAt("Replace", n)
		if _, err := keys.Import(t.Context(), alice(), digestOf(oldKey), tokenauth.Key{}); !errors.Is(err, tokenauth.ErrUnavailable) {
			t.Errorf("Replace %d failed: %v", n, err)
		}
		storage.before = nil
		expectKey(t, keys, oldKey, "invalid")
	}
	importKey(t, keys, oldKey, alice(), tokenauth.Key{})
	expectKey(t, keys, oldKey, "Reader,Staff")
	for n := 1; n <= 3; n++ { // the pointer, the key, the owner
		failAt("Find", n)
		expectKey(t, keys, oldKey, "unavailable")
		storage.before = nil
	}
	expectKey(t, keys, oldKey, "Reader,Staff")
}

// The cache answers for an imported key as for another key.
func TestImportedKeysAreCached(t *testing.T) {
	o := tokenauth.Options{Keys: &tokenauth.KeyOptions{Imported: []string{"sk-"}}}
	inKeyBubble(t, o, func(t *testing.T, s *fedStore, users *owners, auth *tokenauth.Service, keys *tokenauth.Keys, feed tokenauth.Invalidator) {
		made := importKey(t, keys, oldKey, alice(), tokenauth.Key{Name: "old"})
		warm(t, s, keys, oldKey, "Reader,Staff")
		users.setRoles(t, auth, "17", "Reader")
		expectKey(t, keys, oldKey, "Reader")
		warm(t, s, keys, oldKey, "Reader")
		if err := keys.Revoke(t.Context(), "17", made.ID); err != nil {
			t.Fatal(err)
		}
		expectKey(t, keys, oldKey, "invalid")
	})
}

// A key that was imported for one user cannot be imported for another.
func TestImportForAnotherUserIsRefused(t *testing.T) {
	t.Parallel()
	_, keys := importing(t, new(memory.Store), newOwners(alice(), bob()), tokenauth.Options{})
	made := importKey(t, keys, oldKey, alice(), tokenauth.Key{Name: "a"})
	if _, err := keys.Import(t.Context(), bob(), digestOf(oldKey), tokenauth.Key{Name: "b"}); !errors.Is(err, tokenauth.ErrInvalidPrincipal) {
		t.Errorf("Import for another user: %v", err)
	}
	if token, err := keys.Validate(t.Context(), oldKey); err != nil || token.Principal.UserID != "17" {
		t.Errorf("the key is of %s, %v", token.Principal.UserID, err)
	}
	if err := keys.Revoke(t.Context(), "17", made.ID); err != nil {
		t.Fatal(err)
	}
	importKey(t, keys, oldKey, bob(), tokenauth.Key{})
	expectKey(t, keys, oldKey, "")
}

// An Import that failed between its two steps leaves a key without a pointer. It is not
// valid, and ending it does not end another user's key with the same digest.
func TestHalfImportedKeysEndNoOtherKey(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(keys *tokenauth.Keys, id string) error{
		"RevokeAll": func(keys *tokenauth.Keys, _ string) error { return keys.RevokeAll(t.Context(), "17") },
		"Revoke":    func(keys *tokenauth.Keys, id string) error { return keys.Revoke(t.Context(), "17", id) },
	} {
		store := new(watchedStore)
		_, keys := importing(t, store, newOwners(alice(), bob()), tokenauth.Options{})
		stored := 0
		store.onCall(func(_ context.Context, method string) error {
			if method == "Replace" {
				if stored++; stored == 2 {
					return errors.New("the storage is down")
				}
			}
			return nil
		})
		if _, err := keys.Import(t.Context(), alice(), digestOf(oldKey), tokenauth.Key{Name: "a mistake"}); !errors.Is(err, tokenauth.ErrUnavailable) {
			t.Fatalf("Import: error %v, want ErrUnavailable", err)
		}
		store.onCall(nil)
		expectKey(t, keys, oldKey, "invalid")
		importKey(t, keys, oldKey, bob(), tokenauth.Key{Name: "b"})
		list, err := keys.List(t.Context(), "17")
		if err != nil || len(list) != 1 {
			t.Fatalf("the list is %+v, error %v", list, err)
		}
		if err := end(keys, list[0].ID); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		expectKey(t, keys, oldKey, "")
		if list, err := keys.List(t.Context(), "17"); err != nil || len(list) != 0 {
			t.Errorf("%s: the list is %+v, error %v", name, list, err)
		}
	}
}

// Another user's key with the same digest does not prevent an Import if it has expired, or
// if only its pointer is left.
func TestImportReplacesWhatIsLeftOfAnotherUsersKey(t *testing.T) {
	t.Parallel()
	var clock tokenauthtest.Clock
	store := new(memory.Store)
	_, keys := importing(t, store, newOwners(alice(), bob()), tokenauth.Options{Now: clock.Now})
	importKey(t, keys, oldKey, alice(), tokenauth.Key{ExpiresAt: clock.Now().Add(time.Hour)})
	clock.Advance(time.Hour)
	importKey(t, keys, oldKey, bob(), tokenauth.Key{})
	token, err := keys.Validate(t.Context(), oldKey)
	if err != nil || token.Principal.UserID != bob().UserID {
		t.Fatalf("the key is of %q, error %v", token.Principal.UserID, err)
	}
	if err := store.RevokeUser(t.Context(), token.Slot.User); err != nil {
		t.Fatal(err)
	}
	importKey(t, keys, oldKey, alice(), tokenauth.Key{})
	expectKey(t, keys, oldKey, "Reader,Staff")
}

// A second Import without a name keeps the name, and returns it.
func TestImportReturnsTheNameThatItKeeps(t *testing.T) {
	t.Parallel()
	_, keys := importing(t, new(memory.Store), newOwners(alice()), tokenauth.Options{})
	made := importKey(t, keys, oldKey, alice(), tokenauth.Key{Name: "old"})
	if err := keys.Rename(t.Context(), "17", made.ID, "renamed"); err != nil {
		t.Fatal(err)
	}
	again := importKey(t, keys, oldKey, alice(), tokenauth.Key{})
	list, err := keys.List(t.Context(), "17")
	if err != nil || len(list) != 1 || list[0].Name != again.Name || again.Name != "renamed" {
		t.Errorf("Import returned the name %q, the list is %+v, error %v", again.Name, list, err)
	}
}
