package tokenauth_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bearerkit/bearerkit/storage/memory"
	"github.com/bearerkit/bearerkit/tokenauth"
)

// inKeyBubble runs a test in a synctest bubble. The Service has keys and a cache, and its
// feed has just started.
func inKeyBubble(t *testing.T, o tokenauth.Options, test func(t *testing.T, s *fedStore, users *owners, auth *tokenauth.Service, keys *tokenauth.Keys, feed tokenauth.Invalidator)) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &fedStore{feeds: make(chan tokenauth.Invalidator), lose: make(chan error)}
		o.Cache = new(tokenauth.CacheOptions)
		users := newOwners(alice(), bob())
		auth, keys := keyed(t, s, users, o)
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { auth.Run(ctx) })
		feed := <-s.feeds
		feed.Heartbeat(time.Now())
		synctest.Wait() // wait for the purge at the start of Run
		test(t, s, users, auth, keys, feed)
		cancel()
		wg.Wait()
	})
}

// warm validates the key until it is cached.
func warm(t testing.TB, s *fedStore, keys *tokenauth.Keys, key, want string) {
	t.Helper()
	for range 3 { // the first one stores the owner's record, and the second one finds it
		expectKey(t, keys, key, want)
	}
	s.asked()
	if expectKey(t, keys, key, want); s.asked() != 0 {
		t.Error("the storage was asked about a cached key")
	}
}

func TestCachedKeysEndWithTheirOwnersRoles(t *testing.T) {
	inKeyBubble(t, tokenauth.Options{}, func(t *testing.T, s *fedStore, users *owners, auth *tokenauth.Service, keys *tokenauth.Keys, feed tokenauth.Invalidator) {
		key, made := makeKey(t, keys, alice(), tokenauth.Key{Name: "ci", Roles: []string{"Reader"}})
		all, _ := makeKey(t, keys, alice(), tokenauth.Key{})
		bobs, _ := makeKey(t, keys, bob(), tokenauth.Key{})
		warm(t, s, keys, key, "Reader")
		warm(t, s, keys, all, "Reader,Staff")
		warm(t, s, keys, bobs, "")

		users.setRoles(t, auth, "17", "Staff") // here
		expectKey(t, keys, key, "")
		expectKey(t, keys, all, "Staff")
		warm(t, s, keys, key, "")
		warm(t, s, keys, all, "Staff")

		other := newService(t, &s.Store, users, nil) // another replica
		users.setRoles(t, other, "17", "Reader")
		expectKey(t, keys, all, "Staff") // the event has not arrived
		feed.Invalidate(tokenauth.UserKeyOf("17"))
		expectKey(t, keys, all, "Reader")
		warm(t, s, keys, all, "Reader")
		warm(t, s, keys, key, "Reader")

		if err := keys.Rename(t.Context(), "17", made.ID, "renamed"); err != nil {
			t.Fatal(err)
		}
		if token, err := keys.Validate(t.Context(), key); err != nil || token.DeviceName != "renamed" || token.Key != made.ID {
			t.Errorf("after Rename, the key is %+v, error %v", token, err)
		}
		warm(t, s, keys, key, "Reader")
		users.disable("17", true)
		if err := auth.RevokeUser(t.Context(), "17"); err != nil {
			t.Fatal(err)
		}
		expectKey(t, keys, key, "invalid")
		users.disable("17", false)
		warm(t, s, keys, key, "Reader")
		if err := keys.Revoke(t.Context(), "17", made.ID); err != nil {
			t.Fatal(err)
		}
		expectKey(t, keys, key, "invalid")
		warm(t, s, keys, all, "Reader")
		if err := keys.RevokeAll(t.Context(), "17"); err != nil {
			t.Fatal(err)
		}
		expectKey(t, keys, all, "invalid")
		s.asked()
		if expectKey(t, keys, bobs, ""); s.asked() != 0 {
			t.Error("the changes of a user invalidated another user's keys")
		}
	})
}

// A key that another replica revoked ends when the feed reports it.
func TestCachedKeysEndWithTheFeed(t *testing.T) {
	inKeyBubble(t, tokenauth.Options{}, func(t *testing.T, s *fedStore, users *owners, auth *tokenauth.Service, keys *tokenauth.Keys, feed tokenauth.Invalidator) {
		key, made := makeKey(t, keys, alice(), tokenauth.Key{})
		warm(t, s, keys, key, "Reader,Staff")
		token, err := keys.Validate(t.Context(), key)
		if err != nil {
			t.Fatal(err)
		}
		_, others := keyed(t, &s.Store, users, tokenauth.Options{})
		if err := others.Revoke(t.Context(), "17", made.ID); err != nil {
			t.Fatal(err)
		}
		expectKey(t, keys, key, "Reader,Staff")
		feed.Invalidate(token.Slot.User)
		expectKey(t, keys, key, "invalid")

		// Without the feed, each validation asks the storage.
		key, made = makeKey(t, keys, alice(), tokenauth.Key{})
		warm(t, s, keys, key, "Reader,Staff")
		time.Sleep(lease)
		users.setRoles(t, newService(t, &s.Store, users, nil), "17", "Staff")
		expectKey(t, keys, key, "Staff")
		if err := others.Revoke(t.Context(), "17", made.ID); err != nil {
			t.Fatal(err)
		}
		expectKey(t, keys, key, "invalid")
	})
}

// The owner's record expires in the cache, too, and so does the key.
func TestCachedKeysExpire(t *testing.T) {
	inKeyBubble(t, tokenauth.Options{}, func(t *testing.T, s *fedStore, users *owners, auth *tokenauth.Service, keys *tokenauth.Keys, feed tokenauth.Invalidator) {
		key, _ := makeKey(t, keys, alice(), tokenauth.Key{ExpiresAt: time.Now().Add(30 * time.Hour)})
		warm(t, s, keys, key, "Reader,Staff")
		users.change("17", func(p *tokenauth.Principal) { p.Roles = []string{"Reader"} }) // without RevokeUser
		sleep := func(d time.Duration) {
			time.Sleep(d)
			feed.Heartbeat(time.Now())
		}
		sleep(24*time.Hour - time.Minute)
		expectKey(t, keys, key, "Reader,Staff")
		sleep(time.Minute + time.Second)
		expectKey(t, keys, key, "Reader")
		sleep(6 * time.Hour)
		expectKey(t, keys, key, "invalid expired")
	})
}

// A key that the cache refused once stays refused, whatever slower reads find.
func TestSlowReadsOfKeysDoNotUndoRefusals(t *testing.T) {
	inKeyBubble(t, tokenauth.Options{}, func(t *testing.T, s *fedStore, users *owners, auth *tokenauth.Service, keys *tokenauth.Keys, feed tokenauth.Invalidator) {
		key, made := makeKey(t, keys, alice(), tokenauth.Key{})
		token, err := keys.Validate(t.Context(), key)
		if err != nil {
			t.Fatal(err)
		}
		release := make(chan struct{})
		first := true
		s.found = func(tok *tokenauth.Token) {
			if first && tok.ClientID == "\x01key" {
				first = false
				<-release // this read found the key, and takes long
			}
		}
		var wg sync.WaitGroup
		wg.Go(func() { keys.Validate(t.Context(), key) })
		synctest.Wait()
		_, others := keyed(t, &s.Store, users, tokenauth.Options{})
		if err := others.Revoke(t.Context(), "17", made.ID); err != nil {
			t.Fatal(err)
		}
		feed.Invalidate(token.Slot.User)
		wg.Go(func() { expectKey(t, keys, key, "invalid") })
		synctest.Wait()
		close(release)
		wg.Wait()
		expectKey(t, keys, key, "invalid")
	})
}

// The same holds for a key that was refused because of its owner, if a slower read of
// another key finds the former record of the owner.
func TestSlowReadsOfOwnersDoNotUndoRefusals(t *testing.T) {
	inKeyBubble(t, tokenauth.Options{}, func(t *testing.T, s *fedStore, users *owners, auth *tokenauth.Service, keys *tokenauth.Keys, feed tokenauth.Invalidator) {
		slow, _ := makeKey(t, keys, alice(), tokenauth.Key{})
		key, _ := makeKey(t, keys, alice(), tokenauth.Key{})
		warm(t, s, keys, slow, "Reader,Staff")
		warm(t, s, keys, key, "Reader,Staff")
		feed.Invalidate(tokenauth.UserKeyOf("17"))
		release := make(chan struct{})
		first := true
		s.found = func(tok *tokenauth.Token) {
			if first && tok.Slot.User == tokenauth.UserKeyOf("17") {
				first = false
				<-release
			}
		}
		var wg sync.WaitGroup
		wg.Go(func() { expectKey(t, keys, slow, "Reader,Staff") }) // the change comes after it began
		synctest.Wait()
		users.disable("17", true)
		if err := s.Store.RevokeUser(t.Context(), tokenauth.UserKeyOf("17")); err != nil { // by another replica
			t.Fatal(err)
		}
		expectKey(t, keys, key, "invalid")
		close(release)
		wg.Wait()
		expectKey(t, keys, key, "invalid")
	})
}

// A validation that waits for a read of the same key does not share its refusal, which
// may be of an earlier time.
func TestValidationsShareNoRefusalsOfKeys(t *testing.T) {
	inKeyBubble(t, tokenauth.Options{}, func(t *testing.T, s *fedStore, users *owners, auth *tokenauth.Service, keys *tokenauth.Keys, feed tokenauth.Invalidator) {
		key, _ := makeKey(t, keys, alice(), tokenauth.Key{})
		users.disable("17", true)
		users.during = func(int) { time.Sleep(100 * time.Millisecond) }
		var wg sync.WaitGroup
		wg.Go(func() { expectKey(t, keys, key, "invalid") })
		synctest.Wait()
		users.disable("17", false)
		for range 10 {
			wg.Go(func() { expectKey(t, keys, key, "Reader,Staff") })
		}
		wg.Wait()
	})
}

// Both slots are read in one statement, if the storage can do that.
func TestKeysNeedOneStatement(t *testing.T) {
	t.Parallel()
	store := new(batching)
	users := newOwners(alice())
	_, keys := keyed(t, store, users, tokenauth.Options{})
	key, _ := makeKey(t, keys, alice(), tokenauth.Key{})
	expectKey(t, keys, key, "Reader,Staff")
	store.sizes = nil
	expectKey(t, keys, key, "Reader,Staff")
	if !slices.Equal(store.sizes, []int{2}) {
		t.Errorf("the calls of FindBatch had %v slots, want one call with two", store.sizes)
	}
	down := errors.New("down")
	store.found = func(f *tokenauth.Found) error { f.Err = down; return nil }
	expectKey(t, keys, key, "unavailable")
	store.found = func(*tokenauth.Found) error { return down }
	expectKey(t, keys, key, "unavailable")
	store.found = func(f *tokenauth.Found) error {
		if f.Token.Slot.User == tokenauth.UserKeyOf("17") {
			f.Err = tokenauth.ErrCorrupt // a record that cannot be read is made again
		}
		return nil
	}
	expectKey(t, keys, key, "Reader,Staff")
	store.found = func(f *tokenauth.Found) error { f.Token.Slot.Client[0]++; return nil }
	expectKey(t, keys, key, "unavailable") // the row of another slot
}

// A cached key allocates no more than a cached sign-in.
//
// Not parallel: AllocsPerRun counts what the whole process allocates.
func TestCachedKeysAllocateAsSignInsDo(t *testing.T) {
	auth, keys := keyed(t, new(memory.Store), newOwners(alice()), tokenauth.Options{Cache: new(tokenauth.CacheOptions)})
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { auth.Run(ctx) })
	defer wg.Wait()
	defer cancel()
	for !auth.CacheStats().FeedAlive {
		time.Sleep(time.Millisecond)
	}
	key, _ := makeKey(t, keys, alice(), tokenauth.Key{Roles: []string{"Reader"}})
	handler := tokenauth.Requirement{Keys: true, Roles: []string{"Reader"}}.Guard(auth)(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	allocs := func(accessToken string) float64 {
		r := httptest.NewRequest("GET", "/", nil)
		r.Header.Set("Authorization", "Bearer "+accessToken)
		w := httptest.NewRecorder()
		for range 3 {
			handler.ServeHTTP(w, r)
		}
		return testing.AllocsPerRun(1000, func() {
			clear(w.Header())
			handler.ServeHTTP(w, r)
		})
	}
	signIn, withKey := allocs(issue(t, auth, alice(), "")), allocs(key)
	if withKey > signIn+0.1 || signIn > 2.5 {
		t.Errorf("a request with a key makes %v allocations, and one with a sign-in %v", withKey, signIn)
	}
}

func BenchmarkCachedKey(b *testing.B) {
	auth, keys := keyed(b, new(memory.Store), newOwners(alice()), tokenauth.Options{Cache: new(tokenauth.CacheOptions)})
	ctx, cancel := context.WithCancel(b.Context())
	var wg sync.WaitGroup
	wg.Go(func() { auth.Run(ctx) })
	defer wg.Wait()
	defer cancel()
	for !auth.CacheStats().FeedAlive {
		time.Sleep(time.Millisecond)
	}
	key, _ := makeKey(b, keys, alice(), tokenauth.Key{Roles: []string{"Reader"}})
	handler := tokenauth.Requirement{Keys: true}.Guard(auth)(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	for name, accessToken := range map[string]string{"sign-in": issue(b, auth, alice(), ""), "key": key} {
		b.Run(name, func(b *testing.B) {
			r := httptest.NewRequest("GET", "/", nil)
			r.Header.Set("Authorization", "Bearer "+accessToken)
			w := httptest.NewRecorder()
			b.ReportAllocs()
			for b.Loop() {
				clear(w.Header())
				handler.ServeHTTP(w, r)
			}
		})
	}
}
