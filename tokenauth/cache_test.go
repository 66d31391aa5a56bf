package tokenauth_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bearerkit/bearerkit/storage/memory"
	"github.com/bearerkit/bearerkit/tokenauth"
)

const lease = 2 * time.Second

// A fedStore is a scripted one with a feed that the test controls. A test
// that changes its Store directly acts as another replica.
type fedStore struct {
	scripted
	mu    sync.Mutex
	finds int
	feeds chan tokenauth.Invalidator // one for each call of Watch
	lose  chan error                 // ends the running call of Watch
}

func (f *fedStore) Find(ctx context.Context, slot tokenauth.Slot) (tokenauth.Token, error) {
	f.mu.Lock()
	f.finds++
	f.mu.Unlock()
	return f.scripted.Find(ctx, slot)
}

func (f *fedStore) Watch(ctx context.Context, _ time.Duration, feed tokenauth.Invalidator) error {
	select {
	case f.feeds <- feed:
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-f.lose:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// asked returns how many times Find was called since the last call of asked.
func (f *fedStore) asked() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := f.finds
	f.finds = 0
	return n
}

// foreign issues a token through another replica.
func (f *fedStore) foreign(t *testing.T) string {
	t.Helper()
	return issue(t, newService(t, &f.Store, new(staff), nil), alice(), "")
}

// inBubble runs a test in a synctest bubble. The Service has a cache, and its
// feed has just started.
func inBubble(t *testing.T, o tokenauth.Options, test func(t *testing.T, s *fedStore, auth *tokenauth.Service, feed tokenauth.Invalidator)) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &fedStore{feeds: make(chan tokenauth.Invalidator), lose: make(chan error)}
		if o.Cache == nil {
			o.Cache = new(tokenauth.CacheOptions)
		}
		if o.Logger == nil {
			o.Logger, _ = logInto()
		}
		auth := newService(t, s, new(staff), &o)
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { auth.Run(ctx) })
		feed := <-s.feeds
		feed.Heartbeat(time.Now())
		synctest.Wait() // wait for the purge at the start of Run
		test(t, s, auth, feed)
		cancel()
		wg.Wait()
	})
}

func TestCacheAnswersWithoutTheStorage(t *testing.T) {
	inBubble(t, tokenauth.Options{}, func(t *testing.T, s *fedStore, auth *tokenauth.Service, _ tokenauth.Invalidator) {
		accessToken := issue(t, auth, alice(), "mobile")
		first, err := auth.Validate(t.Context(), accessToken)
		if err != nil {
			t.Fatal(err)
		}
		s.asked()
		again, err := auth.Validate(t.Context(), accessToken)
		if err != nil || s.asked() != 0 {
			t.Errorf("error %v, or the storage was asked", err)
		}
		if fmt.Sprint(again) != fmt.Sprint(first) || again.ClientID != "mobile" || again.Principal.Attributes["tenant"] != "north" {
			t.Errorf("the cache has %v, want %v as in the storage", again, first)
		}
		again.Principal.Roles[0] = "Administrator"
		again.Principal.Attributes["tenant"] = "south"
		if third, _ := auth.Validate(t.Context(), accessToken); fmt.Sprint(third) != fmt.Sprint(first) {
			t.Errorf("a caller changed the cached token: %v", third)
		}
	})
}

func TestCacheInvalidatesOwnWrites(t *testing.T) {
	inBubble(t, tokenauth.Options{}, func(t *testing.T, s *fedStore, auth *tokenauth.Service, _ tokenauth.Invalidator) {
		for name, end := range map[string]func(string) error{
			"Revoke":     func(accessToken string) error { return auth.Revoke(t.Context(), accessToken) },
			"RevokeUser": func(string) error { return auth.RevokeUser(t.Context(), "17") },
			"Issue":      func(string) error { _, err := auth.Issue(t.Context(), alice(), nil); return err },
		} {
			accessToken := issue(t, auth, alice(), "")
			expect(t, auth, accessToken, "valid")
			if err := end(accessToken); err != nil {
				t.Fatal(err)
			}
			if _, err := auth.Validate(t.Context(), accessToken); err == nil {
				t.Errorf("after %s the token is still valid", name)
			}
		}
	})
}

// A write that returned an error may still have been committed.
func TestCacheInvalidatesFailedWrites(t *testing.T) {
	inBubble(t, tokenauth.Options{}, func(t *testing.T, s *fedStore, auth *tokenauth.Service, _ tokenauth.Invalidator) {
		accessToken := issue(t, auth, alice(), "")
		expect(t, auth, accessToken, "valid")
		s.before = func(ctx context.Context, method string) error {
			if method == "Revoke" {
				s.Store.RevokeUser(ctx, tokenauth.UserKeyOf("17"))
				return errors.New("connection lost after the commit")
			}
			return nil
		}
		if err := auth.Revoke(t.Context(), accessToken); !errors.Is(err, tokenauth.ErrUnavailable) {
			t.Fatal(err)
		}
		expect(t, auth, accessToken, "invalid")
	})
}

// Another replica replaced the token, and the feed has not reported it yet.
// There is nothing left to revoke, but this replica must stop accepting the
// token.
func TestRevokeInvalidatesTokensThatAnotherReplicaEnded(t *testing.T) {
	inBubble(t, tokenauth.Options{}, func(t *testing.T, s *fedStore, auth *tokenauth.Service, _ tokenauth.Invalidator) {
		for name, revoke := range map[string]func(accessToken string, held tokenauth.Token) error{
			"Revoke":      func(accessToken string, _ tokenauth.Token) error { return auth.Revoke(t.Context(), accessToken) },
			"RevokeToken": func(_ string, held tokenauth.Token) error { return auth.RevokeToken(t.Context(), held) },
			"/revoke": func(accessToken string, _ tokenauth.Token) error {
				w := httptest.NewRecorder()
				endpoint(t, auth, "/revoke").ServeHTTP(w, httptest.NewRequest("POST", "/revoke", strings.NewReader("token="+accessToken)))
				if w.Code != http.StatusOK {
					return fmt.Errorf("answered %d", w.Code)
				}
				return nil
			},
		} {
			accessToken := issue(t, auth, alice(), "")
			held, err := auth.Validate(t.Context(), accessToken)
			if err != nil {
				t.Fatal(err)
			}
			newer := s.foreign(t)
			expect(t, auth, accessToken, "valid") // the feed has not reported the replacement yet
			if err := revoke(accessToken, held); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			expect(t, auth, accessToken, "invalid replaced")
			expect(t, auth, newer, "valid")
		}
	})
}

// An invalidation arrives while a look-up has already read the old token.
func TestInvalidationDuringALookupWins(t *testing.T) {
	for name, news := range map[string]func(s *fedStore, auth *tokenauth.Service, feed tokenauth.Invalidator){
		"Invalidate": func(_ *fedStore, _ *tokenauth.Service, feed tokenauth.Invalidator) {
			feed.Invalidate(tokenauth.UserKeyOf("17"))
		},
		"InvalidateAll": func(_ *fedStore, _ *tokenauth.Service, feed tokenauth.Invalidator) { feed.InvalidateAll() },
		"own write": func(_ *fedStore, auth *tokenauth.Service, _ tokenauth.Invalidator) {
			auth.RevokeUser(context.Background(), "17")
		},
		"a new feed": func(s *fedStore, _ *tokenauth.Service, _ tokenauth.Invalidator) {
			s.lose <- errors.New("connection lost")
			(<-s.feeds).Heartbeat(time.Now())
		},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, tokenauth.Options{}, func(t *testing.T, s *fedStore, auth *tokenauth.Service, feed tokenauth.Invalidator) {
				accessToken := s.foreign(t)
				goOn := make(chan struct{})
				s.found = func(*tokenauth.Token) { s.found = nil; <-goOn }
				done := make(chan error)
				go func() {
					_, err := auth.Validate(t.Context(), accessToken)
					done <- err
				}()
				synctest.Wait() // the look-up has read the token
				s.RevokeUser(t.Context(), tokenauth.UserKeyOf("17"))
				news(s, auth, feed)
				close(goOn)
				<-done // it began before the invalidation, so both results are correct
				expect(t, auth, accessToken, "invalid")
			})
		})
	}
}

// A feed does not report changes that were made while it was disconnected.
func TestCacheAsksTheStorageWhileTheFeedIsLost(t *testing.T) {
	inBubble(t, tokenauth.Options{}, func(t *testing.T, s *fedStore, auth *tokenauth.Service, _ tokenauth.Invalidator) {
		accessToken := s.foreign(t)
		expect(t, auth, accessToken, "valid")
		s.lose <- errors.New("connection lost")
		synctest.Wait()
		s.asked()
		expect(t, auth, accessToken, "valid")
		if s.asked() != 1 {
			t.Error("the storage was not asked although the feed was lost")
		}
		s.RevokeUser(t.Context(), tokenauth.UserKeyOf("17"))
		(<-s.feeds).Heartbeat(time.Now())
		expect(t, auth, accessToken, "invalid")
	})
}

// Another replica replaces the token while a write of this replica is in
// progress.
func TestCacheSurvivesOwnWriteRacingForeignWrite(t *testing.T) {
	inBubble(t, tokenauth.Options{}, func(t *testing.T, s *fedStore, auth *tokenauth.Service, feed tokenauth.Invalidator) {
		before := s.foreign(t)
		expect(t, auth, before, "valid")
		goOn := make(chan struct{})
		s.stored = func() { s.stored = nil; <-goOn }
		own := make(chan string)
		go func() { own <- issue(t, auth, alice(), "") }()
		synctest.Wait() // stored, and not yet returned
		foreign := s.foreign(t)
		expect(t, auth, foreign, "valid") // cached while the own write is in progress
		close(goOn)
		ours := <-own
		expect(t, auth, foreign, "valid")
		expect(t, auth, ours, "invalid replaced")
		expect(t, auth, before, "invalid")
		feed.Invalidate(tokenauth.UserKeyOf("17"))
		expect(t, auth, foreign, "valid")
	})
}

// A replica accepts a token that another replica has just issued, and refuses
// the replaced one from then on. Both hold before the feed reports the change.
func TestCacheAsksTheStorageBeforeItRefuses(t *testing.T) {
	inBubble(t, tokenauth.Options{}, func(t *testing.T, s *fedStore, auth *tokenauth.Service, _ tokenauth.Invalidator) {
		before := s.foreign(t)
		expect(t, auth, before, "valid")
		now := s.foreign(t) // the feed does not report it
		expect(t, auth, now, "valid")
		for range 3 {
			expect(t, auth, before, "invalid replaced")
			expect(t, auth, now, "valid")
		}
	})
}

// Two look-ups are in progress when a token is replaced. The slower one, which
// has read the old token, must not overwrite the result of the faster one.
func TestSlowReaderDoesNotReplaceANewerEntry(t *testing.T) {
	inBubble(t, tokenauth.Options{}, func(t *testing.T, s *fedStore, auth *tokenauth.Service, _ tokenauth.Invalidator) {
		before := s.foreign(t)
		goOn := make(chan struct{})
		s.found = func(*tokenauth.Token) { s.found = nil; <-goOn }
		slow := make(chan error)
		go func() {
			_, err := auth.Validate(t.Context(), before)
			slow <- err
		}()
		synctest.Wait()
		now := s.foreign(t)
		fast := make(chan error)
		go func() {
			_, err := auth.Validate(t.Context(), now)
			fast <- err
		}()
		close(goOn)
		if err := <-fast; err != nil {
			t.Errorf("the new token: %v", err)
		}
		<-slow
		expect(t, auth, before, "invalid replaced")
		expect(t, auth, before, "invalid replaced")
		expect(t, auth, now, "valid")
	})
}

func TestCacheServesUntilTheLeaseEnds(t *testing.T) {
	inBubble(t, tokenauth.Options{Cache: &tokenauth.CacheOptions{Lease: lease}}, func(t *testing.T, s *fedStore, auth *tokenauth.Service, feed tokenauth.Invalidator) {
		accessToken := s.foreign(t)
		feed.Heartbeat(time.Now())
		expect(t, auth, accessToken, "valid")
		s.asked()
		s.before = func(context.Context, string) error { return errors.New("the database is down") }
		s.Store.RevokeUser(t.Context(), tokenauth.UserKeyOf("17")) // the feed does not report it

		time.Sleep(lease - time.Nanosecond)
		expect(t, auth, accessToken, "valid")
		time.Sleep(time.Nanosecond)
		expect(t, auth, accessToken, "unavailable")
		if stats := auth.CacheStats(); stats.FeedAlive || stats.Bypasses != 1 {
			t.Errorf("after the lease ended: %+v, want FeedAlive false and 1 bypass", stats)
		}
		s.before = nil
		expect(t, auth, accessToken, "invalid")
		feed.Heartbeat(time.Now()) // a late feed reports in order, so it would have reported the revocation before
		expect(t, auth, accessToken, "invalid")
		if !auth.CacheStats().FeedAlive {
			t.Error("the feed is not alive again")
		}
	})
}

// The lease starts at the time that Heartbeat is given, not when Heartbeat is
// called. An older heartbeat never shortens the lease.
func TestLeaseStartsWhenTheHeartbeatWasRequested(t *testing.T) {
	inBubble(t, tokenauth.Options{Cache: &tokenauth.CacheOptions{Lease: lease}}, func(t *testing.T, s *fedStore, auth *tokenauth.Service, feed tokenauth.Invalidator) {
		asked := time.Now()
		time.Sleep(lease - time.Millisecond)
		feed.Heartbeat(asked)
		time.Sleep(time.Millisecond)
		if auth.CacheStats().FeedAlive {
			t.Error("the lease started when Heartbeat was called")
		}
		feed.Heartbeat(time.Now())
		feed.Heartbeat(asked)
		if !auth.CacheStats().FeedAlive {
			t.Error("an older heartbeat shortened the lease")
		}
	})
}

func TestCacheKeepsNoUnknownTokens(t *testing.T) {
	inBubble(t, tokenauth.Options{}, func(t *testing.T, s *fedStore, auth *tokenauth.Service, _ tokenauth.Invalidator) {
		other := newService(t, new(memory.Store), new(staff), nil)
		for i := range 1000 {
			expect(t, auth, issue(t, other, tokenauth.Principal{UserID: fmt.Sprint(i)}, ""), "invalid")
		}
		if n := auth.CacheStats().Entries; n != 0 {
			t.Errorf("%d entries are kept, want 0", n)
		}
		if n := s.asked(); n != 1000 {
			t.Errorf("the storage was asked %d times, want 1000", n)
		}
	})
}

// Of concurrent validations of one token, only the first asks the storage.
func TestConcurrentMissesLoadOnce(t *testing.T) {
	const n = 100
	validateAtOnce := func(t *testing.T, auth *tokenauth.Service, accessToken string, ctx func(i int) context.Context) []error {
		errs := make([]error, n)
		var wg sync.WaitGroup
		for i := range n {
			wg.Go(func() { _, errs[i] = auth.Validate(ctx(i), accessToken) })
			if i == 0 {
				synctest.Wait() // the first one asks the storage
			}
		}
		wg.Wait()
		return errs
	}
	delayed := func(then func(ctx context.Context) error) func(context.Context, string) error {
		return func(ctx context.Context, method string) error {
			if method != "Find" {
				return nil
			}
			select {
			case <-time.After(time.Second):
			case <-ctx.Done():
				return ctx.Err()
			}
			return then(ctx)
		}
	}
	succeed := func(context.Context) error { return nil }
	t.Run("valid", func(t *testing.T) {
		inBubble(t, tokenauth.Options{}, func(t *testing.T, s *fedStore, auth *tokenauth.Service, _ tokenauth.Invalidator) {
			accessToken := s.foreign(t)
			s.before = delayed(succeed)
			for i, err := range validateAtOnce(t, auth, accessToken, func(int) context.Context { return t.Context() }) {
				if err != nil {
					t.Errorf("validation %d: %v", i, err)
				}
			}
			if n := s.asked(); n != 1 {
				t.Errorf("the storage was asked %d times, want 1", n)
			}
		})
	})
	t.Run("the first caller leaves", func(t *testing.T) {
		inBubble(t, tokenauth.Options{}, func(t *testing.T, s *fedStore, auth *tokenauth.Service, _ tokenauth.Invalidator) {
			accessToken := s.foreign(t)
			s.before = delayed(succeed)
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			defer cancel()
			for i, err := range validateAtOnce(t, auth, accessToken, func(i int) context.Context {
				if i == 0 {
					return ctx
				}
				return t.Context()
			}) {
				if (err != nil) != (i == 0) {
					t.Errorf("validation %d: %v", i, err)
				}
			}
		})
	})
	t.Run("a waiting caller leaves", func(t *testing.T) {
		inBubble(t, tokenauth.Options{}, func(t *testing.T, s *fedStore, auth *tokenauth.Service, _ tokenauth.Invalidator) {
			accessToken := s.foreign(t)
			s.before = delayed(succeed)
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			defer cancel()
			for i, err := range validateAtOnce(t, auth, accessToken, func(i int) context.Context {
				if i == 7 {
					return ctx
				}
				return t.Context()
			}) {
				if (err != nil) != (i == 7) {
					t.Errorf("validation %d: %v", i, err)
				}
			}
		})
	})
	t.Run("storage error", func(t *testing.T) {
		inBubble(t, tokenauth.Options{}, func(t *testing.T, s *fedStore, auth *tokenauth.Service, _ tokenauth.Invalidator) {
			accessToken := s.foreign(t)
			s.before = delayed(func(context.Context) error { return errors.New("the database is down") })
			for i, err := range validateAtOnce(t, auth, accessToken, func(int) context.Context { return t.Context() }) {
				if reason(err) != "unavailable" {
					t.Errorf("validation %d: %v", i, err)
				}
			}
			if n := s.asked(); n != 1 {
				t.Errorf("the storage was asked %d times, want 1", n)
			}
		})
	})
	t.Run("panic", func(t *testing.T) {
		inBubble(t, tokenauth.Options{}, func(t *testing.T, s *fedStore, auth *tokenauth.Service, _ tokenauth.Invalidator) {
			accessToken := s.foreign(t)
			var once sync.Once
			s.before = delayed(func(context.Context) error { once.Do(func() { panic("a bug in the storage") }); return nil })
			guard := auth.RequireBearer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
			var wg sync.WaitGroup
			codes := make([]int, n)
			for i := range n {
				wg.Go(func() {
					r := httptest.NewRequest("GET", "/", nil)
					r.Header.Set("Authorization", "Bearer "+accessToken)
					w := httptest.NewRecorder()
					guard.ServeHTTP(w, r)
					codes[i] = w.Code
				})
				if i == 0 {
					synctest.Wait()
				}
			}
			wg.Wait()
			for i, code := range codes {
				if want := map[bool]int{true: 500, false: 200}[i == 0]; code != want {
					t.Errorf("request %d answered %d, want %d", i, code, want)
				}
			}
		})
	})
	// Another replica stores the token after the first look-up read the slot
	// and before the second validation starts.
	t.Run("stored during the look-up", func(t *testing.T) {
		inBubble(t, tokenauth.Options{}, func(t *testing.T, s *fedStore, auth *tokenauth.Service, _ tokenauth.Invalidator) {
			accessToken := s.foreign(t)
			kept, _ := s.Store.Find(t.Context(), tokenauth.SlotOf("17", ""))
			s.RevokeUser(t.Context(), tokenauth.UserKeyOf("17"))
			goOn := make(chan struct{})
			s.found = func(*tokenauth.Token) { s.found = nil; <-goOn }
			first, second := make(chan error), make(chan error)
			validate := func(done chan error) {
				_, err := auth.Validate(t.Context(), accessToken)
				done <- err
			}
			go validate(first)
			synctest.Wait()
			s.Store.Replace(t.Context(), kept)
			go validate(second)
			synctest.Wait()
			close(goOn)
			<-first
			if err := <-second; err != nil {
				t.Errorf("the validation that began after the token was stored: %v", err)
			}
		})
	})
}

// Another process ended the token, and the feed has not reported it yet.
func TestRevokeUserWithTokenToKeepDropsCachedTokens(t *testing.T) {
	inBubble(t, tokenauth.Options{}, func(t *testing.T, s *fedStore, auth *tokenauth.Service, _ tokenauth.Invalidator) {
		ended, kept := issue(t, auth, alice(), "desk"), issue(t, auth, alice(), "mobile")
		token, err := auth.Validate(t.Context(), kept)
		if err != nil {
			t.Fatal(err)
		}
		cached, err := auth.Validate(t.Context(), ended)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Store.Revoke(t.Context(), cached.Slot, cached.Digest); err != nil {
			t.Fatal(err)
		}
		expect(t, auth, ended, "valid")
		if err := auth.RevokeUser(t.Context(), "17", token); err != nil {
			t.Fatal(err)
		}
		expect(t, auth, ended, "invalid")
		expect(t, auth, kept, "valid")
	})
}

func TestCachedTokenExpires(t *testing.T) {
	inBubble(t, tokenauth.Options{Lifetime: time.Hour, Cache: &tokenauth.CacheOptions{Lease: time.Minute}}, func(t *testing.T, s *fedStore, auth *tokenauth.Service, feed tokenauth.Invalidator) {
		accessToken := issue(t, auth, alice(), "")
		time.Sleep(time.Hour - time.Nanosecond)
		feed.Heartbeat(time.Now())
		expect(t, auth, accessToken, "valid")
		expect(t, auth, accessToken, "valid")
		time.Sleep(time.Nanosecond)
		expect(t, auth, accessToken, "invalid expired")
	})
}

func TestCacheKeepsThePrincipalAndRunsTheLiveCheck(t *testing.T) {
	dismissed := false
	inBubble(t, tokenauth.Options{LiveCheck: func(_ context.Context, t tokenauth.Token) error {
		if t.Principal.UserName != "alice" || t.Principal.Stamp != "stamp-1" || t.Digest.IsZero() || t.ExpiresAt.IsZero() {
			return errors.New("the token is incomplete")
		}
		if dismissed {
			return tokenauth.ErrRejected
		}
		return nil
	}}, func(t *testing.T, s *fedStore, auth *tokenauth.Service, _ tokenauth.Invalidator) {
		accessToken := issue(t, auth, alice(), "")
		get := func(roles ...string) int {
			r := httptest.NewRequest("GET", "/", nil)
			r.Header.Set("Authorization", "Bearer "+accessToken)
			w := httptest.NewRecorder()
			auth.RequireRole(roles...)(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if token, ok := tokenauth.FromContext(r.Context()); !ok || token.Principal.UserName != "alice" {
					t.Errorf("FromContext in the handler returned %v, %v", token, ok)
				}
			})).ServeHTTP(w, r)
			return w.Code
		}
		for range 3 { // the first round asks the storage, the others the cache
			if got := [...]int{get("Staff"), get("Nobody", "Reader"), get("staff"), get("alice")}; got != [...]int{200, 200, 403, 403} {
				t.Errorf("the statuses by role are %v, want 200 200 403 403", got)
			}
		}
		if auth.CacheStats().Hits == 0 {
			t.Error("the cache answered no validation")
		}
		dismissed = true
		if got := get("Staff"); got != 401 {
			t.Errorf("a user whom LiveCheck rejects gets %d, want 401", got)
		}
	})
}

func TestCacheKeepsAtMostMaxEntries(t *testing.T) {
	const most = 500
	inBubble(t, tokenauth.Options{Cache: &tokenauth.CacheOptions{MaxEntries: most, Lease: time.Minute}}, func(t *testing.T, s *fedStore, auth *tokenauth.Service, _ tokenauth.Invalidator) {
		hot := make([]string, 20)
		for i := range hot {
			hot[i] = issue(t, auth, tokenauth.Principal{UserID: fmt.Sprint("hot", i)}, "")
		}
		for i := range 20 * most {
			expect(t, auth, issue(t, auth, tokenauth.Principal{UserID: fmt.Sprint(i)}, ""), "valid")
			if i%10 == 0 {
				for _, accessToken := range hot {
					expect(t, auth, accessToken, "valid")
				}
			}
			if n := auth.CacheStats().Entries; n > most {
				t.Fatalf("%d entries, want %d at most", n, most)
			}
		}
		before := auth.CacheStats()
		for _, accessToken := range hot {
			expect(t, auth, accessToken, "valid")
		}
		if n := auth.CacheStats().Hits - before.Hits; n < 18 {
			t.Errorf("the cache kept %d of %d tokens in steady use, want 18 or more", n, len(hot))
		}
		if before.Evictions == 0 || before.Entries < most*9/10 {
			t.Errorf("the cache evicted nothing or is less than 90 %% full: %+v", before)
		}
	})
}

// Without Run there is no feed, so the cache never answers.
func TestCacheServesNothingWithoutRun(t *testing.T) {
	t.Parallel()
	s := new(fedStore)
	auth := newService(t, s, new(staff), &tokenauth.Options{Cache: new(tokenauth.CacheOptions)})
	accessToken := issue(t, auth, alice(), "")
	for range 3 {
		expect(t, auth, accessToken, "valid")
	}
	if n := s.asked(); n != 3 {
		t.Errorf("the storage was asked %d times, want 3", n)
	}
	if stats := auth.CacheStats(); stats.Bypasses != 3 || stats.Hits != 0 || stats.Entries != 0 || stats.FeedAlive {
		t.Errorf("stats are %+v, want 3 bypasses only", stats)
	}
}

// The warning is logged once, and only after the host had time to call Run.
func TestWarnsIfRunNotCalled(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const missed = "because Service.Run was not called"
		logger, printed := logInto()
		auth := newService(t, new(memory.Store), new(staff), &tokenauth.Options{Cache: new(tokenauth.CacheOptions), Logger: logger})
		accessToken := issue(t, auth, alice(), "")
		time.Sleep(30*time.Second - 1)
		expect(t, auth, accessToken, "valid")
		if strings.Contains(printed.String(), missed) {
			t.Errorf("logged too early: %s", printed)
		}
		time.Sleep(time.Nanosecond)
		expect(t, auth, accessToken, "valid")
		expect(t, auth, accessToken, "valid")
		if n := strings.Count(printed.String(), missed); n != 1 || !strings.Contains(printed.String(), "level=WARN") {
			t.Errorf("logged %d times, want 1: %s", n, printed)
		}

		printed.Reset()
		auth = newService(t, new(memory.Store), new(staff), &tokenauth.Options{Cache: new(tokenauth.CacheOptions), Logger: logger})
		accessToken = issue(t, auth, alice(), "")
		ctx, cancel := context.WithCancel(t.Context())
		go auth.Run(ctx)
		synctest.Wait()
		cancel() // as at a shutdown; the last requests ask the storage
		synctest.Wait()
		time.Sleep(time.Hour)
		expect(t, auth, accessToken, "valid")
		if stats := auth.CacheStats(); stats.Bypasses == 0 || strings.Contains(printed.String(), missed) {
			t.Errorf("after Run: stats %+v, logged %s", stats, printed)
		}
	})
}

// A second Run while the first still runs is an error of the host, and is
// logged.
func TestWarnsIfRunIsCalledTwice(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		logger, printed := logInto()
		auth := newService(t, new(memory.Store), new(staff), &tokenauth.Options{Cache: new(tokenauth.CacheOptions), Logger: logger})
		run := func() context.CancelFunc {
			ctx, cancel := context.WithCancel(t.Context())
			go auth.Run(ctx)
			synctest.Wait()
			return cancel
		}
		stop := func(cancel context.CancelFunc) {
			cancel()
			synctest.Wait()
		}
		stop(run())
		first := run() // a second Run after the first ended is allowed
		if strings.Contains(printed.String(), "level=ERROR") {
			t.Errorf("logged %s", printed)
		}
		second := run()
		if n := strings.Count(printed.String(), "while it is already running"); n != 1 || !strings.Contains(printed.String(), "level=ERROR") {
			t.Errorf("logged %d times, want 1: %s", n, printed)
		}
		// Whichever Run ends first, the other one keeps the cache in use.
		stop(first)
		time.Sleep(time.Second)
		if !auth.CacheStats().FeedAlive {
			t.Error("the feed is not alive")
		}
		stop(second)
	})
}

// The log reports once that the feed is lost, and once that it is back. A panic
// of Watch counts as a lost feed.
func TestRunRestartsTheFeedAndLogsItOnce(t *testing.T) {
	logger, printed := logInto()
	inBubble(t, tokenauth.Options{Logger: logger}, func(t *testing.T, s *fedStore, auth *tokenauth.Service, _ tokenauth.Invalidator) {
		began := time.Now()
		for range 10 {
			s.lose <- errors.New("connection refused")
			<-s.feeds
		}
		if took := time.Since(began); took < 3*time.Second || took > 10*time.Second {
			t.Errorf("ten attempts took %v, want 3s to 10s", took)
		}
		s.lose <- errors.New("connection refused")
		(<-s.feeds).Heartbeat(time.Now())
		if lost, back := strings.Count(printed.String(), "feed of changes is lost"), strings.Count(printed.String(), "the cache is in use again"); lost != 1 || back != 1 {
			t.Errorf("the log reports %d losses and %d returns, want 1 and 1: %s", lost, back, printed)
		}
		began = time.Now()
		s.lose <- errors.New("connection refused")
		(<-s.feeds).Heartbeat(time.Now())
		if took := time.Since(began); took > 100*time.Millisecond {
			t.Errorf("after a working feed the next attempt came %v later, want 100ms or less", took)
		}
	})
}

// panicky is a Watcher whose Watch panics.
type panicky struct {
	memory.Store
	times chan int
}

func (p *panicky) Watch(ctx context.Context, _ time.Duration, _ tokenauth.Invalidator) error {
	n := <-p.times
	if n == 0 {
		<-ctx.Done()
		return ctx.Err()
	}
	panic("a bug in the watcher")
}

func TestRunRestartsAPanickingWatcher(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := &panicky{times: make(chan int)}
		logger, printed := logInto()
		auth := newService(t, p, new(staff), &tokenauth.Options{Cache: new(tokenauth.CacheOptions), Logger: logger})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- auth.Run(ctx) }()
		p.times <- 1
		p.times <- 1
		p.times <- 0
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run returned %v", err)
		}
		if !strings.Contains(printed.String(), "panic") || strings.Contains(printed.String(), "a bug in") {
			t.Errorf("the log has no panic, or its text: %s", printed)
		}
	})
}

func TestNewRefusesCacheOptionsOutOfRange(t *testing.T) {
	t.Parallel()
	for field, o := range map[string]tokenauth.CacheOptions{
		"Options.Cache.MaxEntries": {MaxEntries: -1},
		"MaxEntries":               {MaxEntries: 100_000_001},
		"Options.Cache.Lease":      {Lease: 99 * time.Millisecond},
		"Lease":                    {Lease: time.Minute + 1},
	} {
		if _, err := tokenauth.New(new(memory.Store), new(staff), &tokenauth.Options{Cache: &o}); err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("%+v: error %v, want one that names the field", o, err)
		}
	}
	noWatcher := struct{ tokenauth.Storage }{new(memory.Store)}
	if _, err := tokenauth.New(noWatcher, new(staff), &tokenauth.Options{Cache: new(tokenauth.CacheOptions)}); err == nil || !strings.Contains(err.Error(), "Options.Cache") {
		t.Errorf("a storage without Watch: error %v, want one that names Options.Cache", err)
	}
	if stats := newService(t, new(memory.Store), new(staff), nil).CacheStats(); stats != (tokenauth.CacheStats{}) {
		t.Errorf("without a cache the stats are %+v, want zero", stats)
	}
}

// The feed of memory.Store reports a change before the write returns. So all
// replicas over one Store agree as soon as a call returns.
func TestReplicasSeeEachOthersWritesAtOnce(t *testing.T) {
	t.Parallel()
	store := new(memory.Store)
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	replicas := make([]*tokenauth.Service, 3)
	for i := range replicas {
		replicas[i] = newService(t, store, new(staff), &tokenauth.Options{Cache: &tokenauth.CacheOptions{MaxEntries: 8, Lease: time.Minute}})
		running.Go(func() { replicas[i].Run(ctx) })
	}
	defer func() { cancel(); running.Wait() }()
	for _, r := range replicas {
		for !r.CacheStats().FeedAlive {
			time.Sleep(time.Millisecond)
		}
	}
	var wg sync.WaitGroup
	for worker := range 16 {
		wg.Go(func() {
			user := tokenauth.Principal{UserID: fmt.Sprint("user", worker)}
			for round := range 200 {
				a, b, c := replicas[round%3], replicas[(round+1)%3], replicas[(round+2)%3]
				first := issue(t, a, user, "")
				expect(t, b, first, "valid")
				expect(t, c, first, "valid")
				second := issue(t, b, user, "")
				expect(t, a, first, "invalid replaced")
				expect(t, c, first, "invalid replaced")
				expect(t, c, second, "valid")
				if err := c.Revoke(t.Context(), second); err != nil {
					t.Error(err)
				}
				expect(t, a, second, "invalid")
				expect(t, b, second, "invalid")
			}
		})
	}
	wg.Wait()
}

// Two look-ups of one slot are in progress. The later one has read the token.
// Then another replica replaces the token, and the earlier look-up reads that,
// so its validation refuses the token. The later look-up must not put the token
// back into the cache, although the feed has not reported the replacement.
func TestLookupInProgressNeverRestoresARefusedToken(t *testing.T) {
	t.Parallel()
	for name, supersede := range map[string]func(feed tokenauth.Invalidator){
		// An event for this user, or for another one with the same cache
		// generation.
		"after another change": func(feed tokenauth.Invalidator) { feed.Invalidate(tokenauth.UserKeyOf("17")) },
		"after InvalidateAll":  func(feed tokenauth.Invalidator) { feed.InvalidateAll() },
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, tokenauth.Options{}, func(t *testing.T, s *fedStore, auth *tokenauth.Service, feed tokenauth.Invalidator) {
				accessToken := s.foreign(t)

				// The earlier look-up waits before it reads, the later one
				// after it has read.
				read, answer := make(chan struct{}), make(chan struct{})
				finds := 0
				s.before = func(_ context.Context, method string) error {
					if method != "Find" {
						return nil
					}
					if finds++; finds == 1 {
						<-read
					}
					return nil
				}
				s.found = func(*tokenauth.Token) {
					if s.found = nil; finds == 2 {
						<-answer
					}
				}
				validate := func() chan error {
					done := make(chan error, 1)
					go func() {
						_, err := auth.Validate(t.Context(), accessToken)
						done <- err
					}()
					synctest.Wait()
					return done
				}
				earlier := validate()
				supersede(feed)
				later := validate() // has read the token
				s.foreign(t)        // replaces it; the feed has not reported that yet
				s.foreign(t)        // twice, so that the row does not have its digest as Replaced
				close(read)
				if err := <-earlier; !errors.Is(err, tokenauth.ErrInvalidToken) {
					t.Fatalf("the earlier look-up answered %v, want ErrInvalidToken", err)
				}
				close(answer)
				<-later // it began before the refusal, so both results are correct
				time.Sleep(time.Millisecond)
				expect(t, auth, accessToken, "invalid")
			})
		})
	}
}
