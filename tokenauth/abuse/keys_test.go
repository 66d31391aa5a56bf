package abuse_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/bearerkit/bearerkit/storage/memory"
	"github.com/bearerkit/bearerkit/tokenauth"
	"github.com/bearerkit/bearerkit/tokenauth/place"
)

// A keeper has one user, "keeper", whom a test disables and whose roles it changes.
type keeper struct {
	mu       sync.Mutex
	disabled bool
	roles    []string
}

func (k *keeper) Authenticate(_ context.Context, c tokenauth.Credentials) (tokenauth.Principal, error) {
	if c.UserName != "keeper" || c.Password.Reveal() != otherPassword {
		return tokenauth.Principal{}, tokenauth.ErrRejected
	}
	return k.Reload(context.Background(), tokenauth.Principal{})
}

// Reload implements [tokenauth.Reloader].
func (k *keeper) Reload(context.Context, tokenauth.Principal) (tokenauth.Principal, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.disabled {
		return tokenauth.Principal{}, tokenauth.ErrRejected
	}
	return tokenauth.Principal{UserID: "id of keeper", UserName: "keeper", Roles: k.roles}, nil
}

func (k *keeper) change(disabled bool, roles ...string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.disabled, k.roles = disabled, roles
}

// A keyHost is a host with API keys.
type keyHost struct {
	*abuseHost
	store *countedStore
	users *keeper
	keys  *tokenauth.Keys
	owner tokenauth.Token // the sign-in that makes keys
}

// A countedStore counts the look-ups, and fails on demand.
type countedStore struct {
	memory.Store
	mu      sync.Mutex
	lookups int
	fails   bool
}

func (c *countedStore) Find(ctx context.Context, s tokenauth.Slot) (tokenauth.Token, error) {
	c.mu.Lock()
	c.lookups++
	fails := c.fails
	c.mu.Unlock()
	if fails {
		return tokenauth.Token{}, errors.New("the storage is down")
	}
	return c.Store.Find(ctx, s)
}

func (c *countedStore) found() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.lookups
}

func (c *countedStore) fail(fails bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fails = fails
}

func (on engine) keyHost(t *testing.T) *keyHost {
	t.Helper()
	h := &keyHost{store: new(countedStore), users: &keeper{roles: []string{"Auditor", "Reader"}}}
	h.abuseHost = on.host(t, h.store, h.users, tokenauth.Options{
		Keys:   &tokenauth.KeyOptions{Prefix: "abuse_", Max: 5},
		Places: []place.Place{place.Scheme("Bearer"), place.Cookie{Name: "session"}},
	})
	var err error
	if h.keys, err = tokenauth.NewKeys(h.auth); err != nil {
		t.Fatal(err)
	}
	if h.owner, err = h.auth.Validate(t.Context(), h.signIn(t, grantFor("keeper", otherPassword))); err != nil {
		t.Fatal(err)
	}
	return h
}

// make makes a key with the roles, and with all roles of the user if there are none.
func (h *keyHost) make(t *testing.T, roles ...string) (key string, made tokenauth.Key) {
	t.Helper()
	secret, made, err := h.keys.Create(t.Context(), h.owner, tokenauth.Key{Name: "script", Roles: roles})
	if err != nil {
		t.Fatal(err)
	}
	return secret.Reveal(), made
}

// status sends a request with a token, and returns the status of the answer.
func (h *keyHost) status(t *testing.T, path, token string) int {
	t.Helper()
	return h.do(t, "GET", path, "", "Authorization", "Bearer "+token).StatusCode
}

func (h *keyHost) want(t *testing.T, status int, path, token, when string) {
	t.Helper()
	if got := h.status(t, path, token); got != status {
		t.Errorf("%s, %s answered %d, want %d", when, path, got, status)
	}
}

// Chapter K of the catalogue: API keys.
var apiKeys = []situation{
	{
		id: "K01", what: "a key that was found, on every route",
		alone: onEngines(func(t *testing.T, on engine) {
			h := on.keyHost(t)
			key, made := h.make(t)
			for path, status := range map[string]int{"/me": 403, "/staff": 403, "/admin": 403, "/open": 403, "/reports": 200, "/audit": 200} {
				h.want(t, status, path, key, "with a key")
			}
			h.do(t, "POST", "/Token", grantFor("keeper", key)).expectError(t, http.StatusBadRequest, "invalid_grant")
			caller, err := h.keys.Validate(t.Context(), key)
			if err != nil {
				t.Fatal(err)
			}
			if _, _, err := h.keys.Create(t.Context(), caller, tokenauth.Key{Name: "another"}); !errors.Is(err, tokenauth.ErrRejected) {
				t.Errorf("a key made another: %v", err)
			}
			if _, err := h.auth.Validate(t.Context(), key); !errors.Is(err, tokenauth.ErrInvalidToken) {
				t.Errorf("Validate accepted a key: %v", err)
			}
			if a := h.do(t, "GET", "/reports", "", "Cookie", "session="+key); a.StatusCode == http.StatusOK {
				t.Error("a key in the cookie was accepted")
			}
			if list, err := h.keys.List(t.Context(), "id of keeper"); err != nil || len(list) != 1 || list[0].ID != made.ID {
				t.Errorf("the keys are %+v, %v", list, err)
			}
		}),
	},
	{
		id: "K02", what: "guesses of a key, and changes to one",
		alone: onEngines(func(t *testing.T, on engine) {
			h := on.keyHost(t)
			key, made := h.make(t)
			before := h.store.found()
			guesses := []string{made.ID, made.ID + "x", key[:len(key)-1], key + "A", strings.ToLower(key), "abuse_", "tat_" + strings.TrimPrefix(key, "abuse_"), strings.TrimPrefix(key, "abuse_"), strings.Repeat("abuse_", 40)}
			for i := len("abuse_"); i < len(key); i++ {
				guesses = append(guesses, key[:i]+string(key[i]^1)+key[i+1:])
			}
			for _, guess := range guesses {
				// Some have a character that no token has (400).
				if status := h.status(t, "/reports", guess); status != http.StatusUnauthorized && status != http.StatusBadRequest {
					t.Errorf("a guess was answered with %d", status)
				}
			}
			// The checksum has 32 bits, so it is certain enough that no guess passes it.
			if n := h.store.found() - before; n != 0 {
				t.Errorf("%d guesses caused %d look-ups, want none", len(guesses), n)
			}
			h.want(t, 200, "/reports", key, "after the guesses")
		}),
	},
	{
		id: "K03", what: "the key of a user who was disabled, or lost a role",
		alone: onEngines(func(t *testing.T, on engine) {
			h := on.keyHost(t)
			all, _ := h.make(t)
			auditor, _ := h.make(t, "Auditor")
			reader, _ := h.make(t, "Reader")
			for key, status := range map[string]int{all: 200, auditor: 200, reader: 403} {
				h.want(t, status, "/audit", key, "at first")
			}
			change := func(disabled bool, roles ...string) {
				h.users.change(disabled, roles...)
				if err := h.auth.RevokeUser(t.Context(), "id of keeper"); err != nil {
					t.Fatal(err)
				}
			}
			change(false, "Reader", "Administrator")
			for _, key := range []string{all, auditor, reader} {
				h.want(t, 403, "/audit", key, "without the role")
				h.want(t, 200, "/reports", key, "without the role")
			}
			change(true, "Auditor")
			for _, key := range []string{all, auditor, reader} {
				h.want(t, 401, "/audit", key, "while the user is disabled")
				h.want(t, 401, "/reports", key, "while the user is disabled")
			}
			change(false, "Auditor")
			for key, status := range map[string]int{all: 200, auditor: 200, reader: 403} {
				h.want(t, status, "/audit", key, "when the user is enabled again")
			}
		}),
	},
	{
		id: "K04", what: "many keys at once",
		alone: onEngines(func(t *testing.T, on engine) {
			h := on.keyHost(t)
			var wg sync.WaitGroup
			var mu sync.Mutex
			made := 0
			for range 60 {
				wg.Go(func() {
					_, _, err := h.keys.Create(t.Context(), h.owner, tokenauth.Key{Name: "one of many"})
					mu.Lock()
					defer mu.Unlock()
					if err == nil {
						made++
					} else if !errors.Is(err, tokenauth.ErrTooManyKeys) {
						t.Error(err)
					}
				})
			}
			wg.Wait()
			if list, err := h.keys.List(t.Context(), "id of keeper"); err != nil || len(list) != made || made > 5 {
				t.Errorf("60 calls made %d keys, and %d are listed, %v; want at most 5", made, len(list), err)
			}
		}),
	},
	{
		id: "K05", what: "a key in the log, in the list and in the storage",
		alone: onEngines(func(t *testing.T, on engine) {
			h := on.keyHost(t)
			key, made := h.make(t)
			h.want(t, 200, "/reports", key, "at first")
			h.want(t, 403, "/me", key, "at first")
			h.do(t, "POST", "/revoke", "token="+key)
			h.want(t, 401, "/reports", key, "after it was revoked")
			secret := key[len(key)-40:]
			if log := h.log.String(); strings.Contains(log, secret) || !strings.Contains(log, made.ID) {
				t.Errorf("the log has the secret, or not the ID %s: %s", made.ID, log)
			}
			if len(made.ID) > len(key)/2 || !strings.HasPrefix(key, made.ID) {
				t.Errorf("the ID %s must be the beginning of the key, and reveal nothing else", made.ID)
			}
		}),
	},
	{
		id: "K06", what: "a storage that fails while a key is checked",
		alone: onEngines(func(t *testing.T, on engine) {
			h := on.keyHost(t)
			key, _ := h.make(t)
			h.store.fail(true)
			h.want(t, 503, "/reports", key, "while the storage is down")
			h.want(t, 503, "/me", key, "while the storage is down")
			h.store.fail(false)
			h.want(t, 200, "/reports", key, "afterwards")
		}),
	},
}
