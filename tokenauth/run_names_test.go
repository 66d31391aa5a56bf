package tokenauth_test

import (
	"context"
	"errors"
	"runtime/debug"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bearerkit/bearerkit/storage/memory"
	"github.com/bearerkit/bearerkit/tokenauth"
)

// reserved is the user key under which Services store their names. It is part
// of the stored format.
var reserved = tokenauth.UserKey([]byte(strings.Repeat("\xFF", 16)))

const sharesStorage = "another service keeps its tokens in the same storage"

func TestNameIsTheMainModuleByDefault(t *testing.T) {
	t.Parallel()
	info, ok := debug.ReadBuildInfo()
	if got := newService(t, new(memory.Store), &staff{}, nil).Options().Name; ok && got != info.Main.Path {
		t.Errorf("the name is %q, want %q", got, info.Main.Path)
	}
	for _, name := range []string{strings.Repeat("x", 257), "a\x00b", "\xFF"} {
		if _, err := tokenauth.New(new(memory.Store), &staff{}, &tokenauth.Options{Name: name}); err == nil || !strings.Contains(err.Error(), "Options.Name") {
			t.Errorf("Options.Name %q: error %v, want one that names the option", name, err)
		}
	}
}

// All replicas together store the name about once a day.
func TestReplicasStoreTheirNameOnceADay(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var writes atomic.Int64
		storage := &scripted{before: func(_ context.Context, method string) error {
			if method == "Replace" {
				writes.Add(1)
			}
			return nil
		}}
		ctx, cancel := context.WithCancel(t.Context())
		for range 5 {
			go newService(t, storage, &staff{}, nil).Run(ctx)
			time.Sleep(time.Minute) // two that look at the same instant may both store it
		}
		time.Sleep(10*24*time.Hour - 10*time.Minute)
		cancel()
		synctest.Wait()
		if n := writes.Load(); n < 10 || n > 12 {
			t.Errorf("stored the name %d times in ten days, want 10 to 12", n)
		}
	})
}

// If the storage fails, panics or hangs, Run logs it once per outage and
// continues.
func TestStorageFailuresDoNotEndRun(t *testing.T) {
	t.Parallel()
	for name, fails := range map[string]func(context.Context) error{
		"an error": func(context.Context) error { return errors.New("connection refused") },
		"a panic":  func(context.Context) error { panic("a bug of the host's") },
		"a hang":   hang,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var failing atomic.Bool
				failing.Store(true)
				storage := &scripted{before: func(ctx context.Context, method string) error {
					if failing.Load() && method == "Replace" {
						return fails(ctx)
					}
					return nil
				}}
				other := newService(t, &storage.Store, &staff{}, &tokenauth.Options{Name: "orders"})
				logger, printed := logInto()
				auth := newService(t, storage, &staff{}, &tokenauth.Options{Name: "billing", Logger: logger})
				ctx, cancel := context.WithCancel(t.Context())
				ended := make(chan error, 1)
				go func() { ended <- auth.Run(ctx) }()
				time.Sleep(150 * time.Minute)
				synctest.Wait()
				if n := strings.Count(printed.String(), "level=ERROR"); n != 1 || !strings.Contains(printed.String(), "could not look for other services") {
					t.Errorf("logged %d times, want 1: %s", n, printed)
				}
				failing.Store(false)
				go other.Run(ctx)
				time.Sleep(time.Hour)
				synctest.Wait()
				if !strings.Contains(printed.String(), sharesStorage) {
					t.Errorf("after the storage works again, the shared storage is not logged: %s", printed)
				}
				cancel()
				if err := <-ended; err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// Names are stored only in a storage with List, because no Service could read
// them elsewhere. They are stored by Run only.
func TestNameIsStoredOnlyWithListAndRun(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		wrap   func(*memory.Store) tokenauth.Storage
		runs   bool
		stored int
	}{
		{"a Lister", func(s *memory.Store) tokenauth.Storage { return s }, true, 1},
		{"no Lister", func(s *memory.Store) tokenauth.Storage { return struct{ tokenauth.Storage }{s} }, true, 0},
		{"without Run", func(s *memory.Store) tokenauth.Storage { return s }, false, 0},
	} {
		synctest.Test(t, func(t *testing.T) {
			store := new(memory.Store)
			auth := newService(t, test.wrap(store), &staff{}, &tokenauth.Options{Name: "billing"})
			ctx, cancel := context.WithCancel(t.Context())
			if test.runs {
				go auth.Run(ctx)
			}
			expect(t, auth, issue(t, auth, alice(), ""), "valid")
			synctest.Wait()
			cancel()
			stored, err := store.List(t.Context(), reserved)
			if err != nil || len(stored) != test.stored {
				t.Errorf("%s: stored names %v, error %v", test.name, stored, err)
			}
		})
	}
}

// The cache finds its entries by the first bytes of a user key. A change under
// the reserved key does not invalidate a user whose key begins with the same
// bytes.
func TestStoringANameInvalidatesNoUser(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := new(memory.Store)
		auth := newService(t, store, &staff{}, &tokenauth.Options{Name: "billing", Cache: &tokenauth.CacheOptions{MaxEntries: 100}})
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go auth.Run(ctx)
		synctest.Wait()
		var neighbour tokenauth.Principal
		for n := 0; !strings.HasPrefix(string(keyOf(neighbour)), "\xFF\xFF"); n++ {
			neighbour.UserID = strconv.Itoa(n)
		}
		accessToken := issue(t, auth, neighbour, "")
		look := func() uint64 {
			expect(t, auth, accessToken, "valid")
			return auth.CacheStats().Hits
		}
		look()
		if before := look(); before == 0 {
			t.Fatal("the cache answers no validation")
		}
		before := look()
		if err := store.RevokeUser(t.Context(), reserved); err != nil {
			t.Fatal(err)
		}
		if look() != before+1 {
			t.Error("the token was read from the storage again")
		}
	})
}

func keyOf(p tokenauth.Principal) []byte {
	key := tokenauth.UserKeyOf(p.UserID)
	return key[:]
}
