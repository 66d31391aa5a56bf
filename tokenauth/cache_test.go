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

// A fed storage is a scripted one whose feed is the test's to write. What the
// test does to its Store is another replica's doing.
type fed struct {
	scripted
	mu    sync.Mutex
	finds int
	feeds chan tokenauth.Invalidator // one for each call of Watch
	lose  chan error                 // ends the Watch under way
}

func (f *fed) Find(ctx context.Context, slot tokenauth.Slot) (tokenauth.Token, error) {
	f.mu.Lock()
	f.finds++
	f.mu.Unlock()
	return f.scripted.Find(ctx, slot)
}

func (f *fed) Watch(ctx context.Context, _ time.Duration, feed tokenauth.Invalidator) error {
	f.feeds <- feed
	select {
	case err := <-f.lose:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// asked returns how often Find was called since it was last asked.
func (f *fed) asked() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := f.finds
	f.finds = 0
	return n
}

// foreign issues a token on another replica.
func (f *fed) foreign(t *testing.T) string {
	t.Helper()
	return issue(t, newService(t, &f.Store, new(staff), nil), alice(), "")
}

// inBubble runs a test of a service with a cache whose feed has just begun.
func inBubble(t *testing.T, o tokenauth.Options, test func(t *testing.T, s *fed, auth *tokenauth.Service, feed tokenauth.Invalidator)) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &fed{feeds: make(chan tokenauth.Invalidator), lose: make(chan error)}
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
		synctest.Wait() // for the purge that Run begins with
		test(t, s, auth, feed)
		cancel()
		wg.Wait()
	})
}

func TestCacheAnswersWithoutTheStorage(t *testing.T) {
	inBubble(t, tokenauth.Options{}, func(t *testing.T, s *fed, auth *tokenauth.Service, _ tokenauth.Invalidator) {
		accessToken := issue(t, auth, alice(), "mobile")
		first, err := auth.Validate(t.Context(), accessToken)
		if err != nil {
			t.Fatal(err)
		}
		s.asked()
		again, err := auth.Validate(t.Context(), accessToken)
		if err != nil || s.asked() != 0 {
			t.Errorf("error %v; the storage was asked", err)
		}
		if fmt.Sprint(again) != fmt.Sprint(first) || again.ClientID != "mobile" || again.Principal.Attributes["tenant"] != "north" {
			t.Errorf("the cache has %v, the storage %v", again, first)
		}
		again.Principal.Roles[0] = "Administrator"
		again.Principal.Attributes["tenant"] = "south"
		if third, _ := auth.Validate(t.Context(), accessToken); fmt.Sprint(third) != fmt.Sprint(first) {
			t.Errorf("a caller changed what the cache has: %v", third)
		}
	})
}

func TestCacheInvalidatesOwnWrites(t *testing.T) {
	inBubble(t, tokenauth.Options{}, func(t *testing.T, s *fed, auth *tokenauth.Service, _ tokenauth.Invalidator) {
		for name, end := range map[string]func(string) error{
			"Revoke":     func(accessToken string) error { return auth.Revoke(t.Context(), accessToken) },
			"RevokeUser": func(string) error { return auth.RevokeUser(t.Context(), "17") },
			"Issue":      func(string) error { _, err := auth.Issue(t.Context(), alice(), ""); return err },
		} {
			accessToken := issue(t, auth, alice(), "")
			expect(t, auth, accessToken, "good")
			if err := end(accessToken); err != nil {
				t.Fatal(err)
			}
			if _, err := auth.Validate(t.Context(), accessToken); err == nil {
				t.Errorf("after %s the token passes", name)
			}
		}
	})
}

// A write that failed may have been done all the same.
func TestCacheInvalidatesFailedWrites(t *testing.T) {
	inBubble(t, tokenauth.Options{}, func(t *testing.T, s *fed, auth *tokenauth.Service, _ tokenauth.Invalidator) {
		accessToken := issue(t, auth, alice(), "")
		expect(t, auth, accessToken, "good")
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

// Another replica replaced the token, and the event has not arrived. There is
// nothing left to revoke, but the caller is told that the token is not valid.
func TestRevokeInvalidatesTokensThatAnotherReplicaEnded(t *testing.T) {
	inBubble(t, tokenauth.Options{}, func(t *testing.T, s *fed, auth *tokenauth.Service, _ tokenauth.Invalidator) {
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
			expect(t, auth, accessToken, "good") // still
			if err := revoke(accessToken, held); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			expect(t, auth, accessToken, "invalid replaced")
			expect(t, auth, newer, "good")
		}
	})
}

// A reader has the old value in hand when the news of its end comes.
func TestCacheDropsALookupThatAnInvalidationOverlaps(t *testing.T) {
	for name, news := range map[string]func(s *fed, auth *tokenauth.Service, feed tokenauth.Invalidator){
		"Changed": func(_ *fed, _ *tokenauth.Service, feed tokenauth.Invalidator) {
			feed.Invalidate(tokenauth.UserKeyOf("17"))
		},
		"ChangedAll": func(_ *fed, _ *tokenauth.Service, feed tokenauth.Invalidator) { feed.InvalidateAll() },
		"own write": func(_ *fed, auth *tokenauth.Service, _ tokenauth.Invalidator) {
			auth.RevokeUser(context.Background(), "17")
		},
		"a new feed": func(s *fed, _ *tokenauth.Service, _ tokenauth.Invalidator) {
			s.lose <- errors.New("connection lost")
			(<-s.feeds).Heartbeat(time.Now())
		},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, tokenauth.Options{}, func(t *testing.T, s *fed, auth *tokenauth.Service, feed tokenauth.Invalidator) {
				accessToken := s.foreign(t)
				goOn := make(chan struct{})
				s.found = func(*tokenauth.Token) { s.found = nil; <-goOn }
				done := make(chan error)
				go func() {
					_, err := auth.Validate(t.Context(), accessToken)
					done <- err
				}()
				synctest.Wait() // it has read the token
				s.RevokeUser(t.Context(), tokenauth.UserKeyOf("17"))
				news(s, auth, feed)
				close(goOn)
				<-done // it began before the end, so either answer is right
				expect(t, auth, accessToken, "invalid")
			})
		})
	}
}

// What changed between the loss of the feed and its return is not told of.
func TestCacheAsksTheStorageWhileTheFeedIsLost(t *testing.T) {
	inBubble(t, tokenauth.Options{}, func(t *testing.T, s *fed, auth *tokenauth.Service, _ tokenauth.Invalidator) {
		accessToken := s.foreign(t)
		expect(t, auth, accessToken, "good")
		s.lose <- errors.New("connection lost")
		synctest.Wait()
		s.asked()
		expect(t, auth, accessToken, "good")
		if s.asked() != 1 {
			t.Error("without a feed the storage was not asked")
		}
		s.RevokeUser(t.Context(), tokenauth.UserKeyOf("17"))
		(<-s.feeds).Heartbeat(time.Now())
		expect(t, auth, accessToken, "invalid")
	})
}

// A write of this replica's is under way while another's comes and goes.
func TestCacheSurvivesOwnWriteRacingForeignWrite(t *testing.T) {
	inBubble(t, tokenauth.Options{}, func(t *testing.T, s *fed, auth *tokenauth.Service, feed tokenauth.Invalidator) {
		before := s.foreign(t)
		expect(t, auth, before, "good")
		goOn := make(chan struct{})
		s.stored = func() { s.stored = nil; <-goOn }
		own := make(chan string)
		go func() { own <- issue(t, auth, alice(), "") }()
		synctest.Wait() // stored, and not yet returned
		foreign := s.foreign(t)
		expect(t, auth, foreign, "good") // cached, behind the own write's back
		close(goOn)
		ours := <-own
		expect(t, auth, foreign, "good")
		expect(t, auth, ours, "invalid replaced")
		expect(t, auth, before, "invalid")
		feed.Invalidate(tokenauth.UserKeyOf("17"))
		expect(t, auth, foreign, "good")
	})
}

// A token that another replica has just issued is good here at once, whatever
// the cache has, and the one before is dead from then on.
func TestCacheAsksTheStorageBeforeItRefuses(t *testing.T) {
	inBubble(t, tokenauth.Options{}, func(t *testing.T, s *fed, auth *tokenauth.Service, _ tokenauth.Invalidator) {
		before := s.foreign(t)
		expect(t, auth, before, "good")
		now := s.foreign(t) // and no news of it
		expect(t, auth, now, "good")
		for range 3 {
			expect(t, auth, before, "invalid replaced")
			expect(t, auth, now, "good")
		}
	})
}

// Two readers are under way when a token is replaced, and the slower one has
// the old value: it must not take back what the faster one brought.
func TestSlowReaderDoesNotReplaceANewerEntry(t *testing.T) {
	inBubble(t, tokenauth.Options{}, func(t *testing.T, s *fed, auth *tokenauth.Service, _ tokenauth.Invalidator) {
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
		expect(t, auth, now, "good")
	})
}

func TestCacheServesUntilTheLeaseEnds(t *testing.T) {
	inBubble(t, tokenauth.Options{Cache: &tokenauth.CacheOptions{Lease: lease}}, func(t *testing.T, s *fed, auth *tokenauth.Service, feed tokenauth.Invalidator) {
		accessToken := s.foreign(t)
		feed.Heartbeat(time.Now())
		expect(t, auth, accessToken, "good")
		s.asked()
		s.before = func(context.Context, string) error { return errors.New("the database is down") }
		s.Store.RevokeUser(t.Context(), tokenauth.UserKeyOf("17")) // and no news of it

		time.Sleep(lease - time.Nanosecond)
		expect(t, auth, accessToken, "good")
		time.Sleep(time.Nanosecond)
		expect(t, auth, accessToken, "unavailable")
		if stats := auth.CacheStats(); stats.FeedAlive || stats.Bypasses != 1 {
			t.Errorf("when the lease is over: %+v", stats)
		}
		s.before = nil
		expect(t, auth, accessToken, "invalid")
		feed.Heartbeat(time.Now()) // a feed that is late comes in order, so news would have come
		expect(t, auth, accessToken, "invalid")
		if !auth.CacheStats().FeedAlive {
			t.Error("the feed is not alive again")
		}
	})
}

// A heartbeat counts from when it was asked for, and an older one never
// shortens the lease.
func TestLeaseStartsWhenTheHeartbeatWasRequested(t *testing.T) {
	inBubble(t, tokenauth.Options{Cache: &tokenauth.CacheOptions{Lease: lease}}, func(t *testing.T, s *fed, auth *tokenauth.Service, feed tokenauth.Invalidator) {
		asked := time.Now()
		time.Sleep(lease - time.Millisecond)
		feed.Heartbeat(asked)
		time.Sleep(time.Millisecond)
		if auth.CacheStats().FeedAlive {
			t.Error("the lease counts from the answer")
		}
		feed.Heartbeat(time.Now())
		feed.Heartbeat(asked)
		if !auth.CacheStats().FeedAlive {
			t.Error("an older heartbeat shortened the lease")
		}
	})
}

func TestCacheKeepsNoUnknownTokens(t *testing.T) {
	inBubble(t, tokenauth.Options{}, func(t *testing.T, s *fed, auth *tokenauth.Service, _ tokenauth.Invalidator) {
		other := newService(t, new(memory.Store), new(staff), nil)
		for i := range 1000 {
			expect(t, auth, issue(t, other, tokenauth.Principal{UserID: fmt.Sprint(i)}, ""), "invalid")
		}
		if n := auth.CacheStats().Entries; n != 0 {
			t.Errorf("%d entries are kept", n)
		}
		if n := s.asked(); n != 1000 {
			t.Errorf("the storage was asked %d times", n)
		}
	})
}

// Of those who want one token at once, one asks.
func TestConcurrentMissesLoadOnce(t *testing.T) {
	const n = 100
	herd := func(t *testing.T, auth *tokenauth.Service, accessToken string, ctx func(i int) context.Context) []error {
		errs := make([]error, n)
		var wg sync.WaitGroup
		for i := range n {
			wg.Go(func() { _, errs[i] = auth.Validate(ctx(i), accessToken) })
			if i == 0 {
				synctest.Wait() // the first one leads
			}
		}
		wg.Wait()
		return errs
	}
	slowly := func(then func(ctx context.Context) error) func(context.Context, string) error {
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
	well := func(context.Context) error { return nil }
	t.Run("good", func(t *testing.T) {
		inBubble(t, tokenauth.Options{}, func(t *testing.T, s *fed, auth *tokenauth.Service, _ tokenauth.Invalidator) {
			accessToken := s.foreign(t)
			s.before = slowly(well)
			for i, err := range herd(t, auth, accessToken, func(int) context.Context { return t.Context() }) {
				if err != nil {
					t.Errorf("validation %d: %v", i, err)
				}
			}
			if n := s.asked(); n != 1 {
				t.Errorf("the storage was asked %d times", n)
			}
		})
	})
	t.Run("the first one goes away", func(t *testing.T) {
		inBubble(t, tokenauth.Options{}, func(t *testing.T, s *fed, auth *tokenauth.Service, _ tokenauth.Invalidator) {
			accessToken := s.foreign(t)
			s.before = slowly(well)
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			defer cancel()
			for i, err := range herd(t, auth, accessToken, func(i int) context.Context {
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
	t.Run("one who waits goes away", func(t *testing.T) {
		inBubble(t, tokenauth.Options{}, func(t *testing.T, s *fed, auth *tokenauth.Service, _ tokenauth.Invalidator) {
			accessToken := s.foreign(t)
			s.before = slowly(well)
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			defer cancel()
			for i, err := range herd(t, auth, accessToken, func(i int) context.Context {
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
	t.Run("trouble", func(t *testing.T) {
		inBubble(t, tokenauth.Options{}, func(t *testing.T, s *fed, auth *tokenauth.Service, _ tokenauth.Invalidator) {
			accessToken := s.foreign(t)
			s.before = slowly(func(context.Context) error { return errors.New("the database is down") })
			for i, err := range herd(t, auth, accessToken, func(int) context.Context { return t.Context() }) {
				if reason(err) != "unavailable" {
					t.Errorf("validation %d: %v", i, err)
				}
			}
			if n := s.asked(); n != 1 {
				t.Errorf("the storage was asked %d times", n)
			}
		})
	})
	t.Run("panic", func(t *testing.T) {
		inBubble(t, tokenauth.Options{}, func(t *testing.T, s *fed, auth *tokenauth.Service, _ tokenauth.Invalidator) {
			accessToken := s.foreign(t)
			var once sync.Once
			s.before = slowly(func(context.Context) error { once.Do(func() { panic("a bug in the storage") }); return nil })
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
	// The token is issued elsewhere after the first one looked, and before
	// the others came.
	t.Run("not there yet", func(t *testing.T) {
		inBubble(t, tokenauth.Options{}, func(t *testing.T, s *fed, auth *tokenauth.Service, _ tokenauth.Invalidator) {
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
				t.Errorf("a token that was issued before: %v", err)
			}
		})
	})
}

func TestCachedTokenExpires(t *testing.T) {
	inBubble(t, tokenauth.Options{Lifetime: time.Hour, Cache: &tokenauth.CacheOptions{Lease: time.Minute}}, func(t *testing.T, s *fed, auth *tokenauth.Service, feed tokenauth.Invalidator) {
		accessToken := issue(t, auth, alice(), "")
		time.Sleep(time.Hour - time.Nanosecond)
		feed.Heartbeat(time.Now())
		expect(t, auth, accessToken, "good")
		expect(t, auth, accessToken, "good")
		time.Sleep(time.Nanosecond)
		expect(t, auth, accessToken, "invalid expired")
	})
}

func TestCacheKeepsThePrincipalAndRunsTheLiveCheck(t *testing.T) {
	dismissed := false
	inBubble(t, tokenauth.Options{LiveCheck: func(_ context.Context, p tokenauth.Principal) error {
		if p.UserName != "alice" || p.Stamp != "stamp-1" {
			return errors.New("the principal is incomplete")
		}
		if dismissed {
			return tokenauth.ErrRejected
		}
		return nil
	}}, func(t *testing.T, s *fed, auth *tokenauth.Service, _ tokenauth.Invalidator) {
		accessToken := issue(t, auth, alice(), "")
		get := func(roles ...string) int {
			r := httptest.NewRequest("GET", "/", nil)
			r.Header.Set("Authorization", "Bearer "+accessToken)
			w := httptest.NewRecorder()
			auth.RequireRole(roles...)(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if token, ok := tokenauth.FromContext(r.Context()); !ok || token.Principal.UserName != "alice" {
					t.Errorf("the handler finds %v, %v", token, ok)
				}
			})).ServeHTTP(w, r)
			return w.Code
		}
		for range 3 { // from the storage, then from the cache
			if got := [...]int{get("Staff"), get("Nobody", "Reader"), get("staff"), get("alice")}; got != [...]int{200, 200, 403, 403} {
				t.Errorf("roles answered %v", got)
			}
		}
		if auth.CacheStats().Hits == 0 {
			t.Error("the cache was not asked")
		}
		dismissed = true
		if got := get("Staff"); got != 401 {
			t.Errorf("a dismissed user gets %d", got)
		}
	})
}

func TestCacheKeepsAtMostMaxEntries(t *testing.T) {
	const most = 500
	inBubble(t, tokenauth.Options{Cache: &tokenauth.CacheOptions{MaxEntries: most, Lease: time.Minute}}, func(t *testing.T, s *fed, auth *tokenauth.Service, _ tokenauth.Invalidator) {
		hot := make([]string, 20)
		for i := range hot {
			hot[i] = issue(t, auth, tokenauth.Principal{UserID: fmt.Sprint("hot", i)}, "")
		}
		for i := range 20 * most {
			expect(t, auth, issue(t, auth, tokenauth.Principal{UserID: fmt.Sprint(i)}, ""), "good")
			if i%10 == 0 {
				for _, accessToken := range hot {
					expect(t, auth, accessToken, "good")
				}
			}
			if n := auth.CacheStats().Entries; n > most {
				t.Fatalf("%d entries, want %d at most", n, most)
			}
		}
		before := auth.CacheStats()
		for _, accessToken := range hot {
			expect(t, auth, accessToken, "good")
		}
		if n := auth.CacheStats().Hits - before.Hits; n < 18 {
			t.Errorf("%d of %d tokens in steady use are kept", n, len(hot))
		}
		if before.Evictions == 0 || before.Entries < most*9/10 {
			t.Errorf("the cache is used badly: %+v", before)
		}
	})
}

// Without Run there is no feed, and the cache never serves.
func TestCacheServesNothingWithoutRun(t *testing.T) {
	t.Parallel()
	s := new(fed)
	auth := newService(t, s, new(staff), &tokenauth.Options{Cache: new(tokenauth.CacheOptions)})
	accessToken := issue(t, auth, alice(), "")
	for range 3 {
		expect(t, auth, accessToken, "good")
	}
	if n := s.asked(); n != 3 {
		t.Errorf("the storage was asked %d times of 3", n)
	}
	if stats := auth.CacheStats(); stats.Bypasses != 3 || stats.Hits != 0 || stats.Entries != 0 || stats.FeedAlive {
		t.Errorf("figures are %+v", stats)
	}
}

// It is told once, and not before the host had time to call Run.
func TestWarnsIfRunNotCalled(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const missed = "because Service.Run was not called"
		logger, printed := logInto()
		auth := newService(t, new(memory.Store), new(staff), &tokenauth.Options{Cache: new(tokenauth.CacheOptions), Logger: logger})
		accessToken := issue(t, auth, alice(), "")
		time.Sleep(30*time.Second - 1)
		expect(t, auth, accessToken, "good")
		if strings.Contains(printed.String(), missed) {
			t.Errorf("too early: %s", printed)
		}
		time.Sleep(time.Nanosecond)
		expect(t, auth, accessToken, "good")
		expect(t, auth, accessToken, "good")
		if n := strings.Count(printed.String(), missed); n != 1 || !strings.Contains(printed.String(), "level=WARN") {
			t.Errorf("told %d times: %s", n, printed)
		}

		printed.Reset()
		auth = newService(t, new(memory.Store), new(staff), &tokenauth.Options{Cache: new(tokenauth.CacheOptions), Logger: logger})
		accessToken = issue(t, auth, alice(), "")
		ctx, cancel := context.WithCancel(t.Context())
		go auth.Run(ctx)
		synctest.Wait()
		cancel() // the process ends, and its last requests ask the storage
		synctest.Wait()
		time.Sleep(time.Hour)
		expect(t, auth, accessToken, "good")
		if stats := auth.CacheStats(); stats.Bypasses == 0 || strings.Contains(printed.String(), missed) {
			t.Errorf("%+v, after Run: %s", stats, printed)
		}
	})
}

// A second Run beside the first is a mistake that shows.
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
		first := run() // one after the other is none
		if strings.Contains(printed.String(), "level=ERROR") {
			t.Errorf("logged %s", printed)
		}
		second := run()
		if n := strings.Count(printed.String(), "while it is already running"); n != 1 || !strings.Contains(printed.String(), "level=ERROR") {
			t.Errorf("told %d times: %s", n, printed)
		}
		// Whichever ends, the other keeps the cache.
		stop(first)
		time.Sleep(time.Second)
		if !auth.CacheStats().FeedAlive {
			t.Error("the cache does not serve")
		}
		stop(second)
	})
}

// The log tells once that the feed is lost, and once that it is back; a
// Watcher that panics is one that lost its feed.
func TestRunRestartsTheFeedAndLogsItOnce(t *testing.T) {
	logger, printed := logInto()
	inBubble(t, tokenauth.Options{Logger: logger}, func(t *testing.T, s *fed, auth *tokenauth.Service, _ tokenauth.Invalidator) {
		began := time.Now()
		for range 10 {
			s.lose <- errors.New("connection refused")
			<-s.feeds
		}
		if took := time.Since(began); took < 3*time.Second || took > 10*time.Second {
			t.Errorf("ten tries took %v", took)
		}
		s.lose <- errors.New("connection refused")
		(<-s.feeds).Heartbeat(time.Now())
		if lost, back := strings.Count(printed.String(), "feed of changes is lost"), strings.Count(printed.String(), "the cache serves again"); lost != 1 || back != 1 {
			t.Errorf("the log has %d losses and %d returns: %s", lost, back, printed)
		}
		began = time.Now()
		s.lose <- errors.New("connection refused")
		(<-s.feeds).Heartbeat(time.Now())
		if took := time.Since(began); took > 100*time.Millisecond {
			t.Errorf("after a feed that worked the next try came %v later", took)
		}
	})
}

// panicky is a Watcher with a bug.
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
			t.Errorf("the log says %s", printed)
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
			t.Errorf("%+v: %v", o, err)
		}
	}
	noWatcher := struct{ tokenauth.Storage }{new(memory.Store)}
	if _, err := tokenauth.New(noWatcher, new(staff), &tokenauth.Options{Cache: new(tokenauth.CacheOptions)}); err == nil || !strings.Contains(err.Error(), "Options.Cache") {
		t.Errorf("a storage without a feed: %v", err)
	}
	if stats := newService(t, new(memory.Store), new(staff), nil).CacheStats(); stats != (tokenauth.CacheStats{}) {
		t.Errorf("without a cache the figures are %+v", stats)
	}
}

// Several replicas over one memory, whose feed tells before a write returns:
// what a reply says is so on all of them from then on.
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
				expect(t, b, first, "good")
				expect(t, c, first, "good")
				second := issue(t, b, user, "")
				expect(t, a, first, "invalid replaced")
				expect(t, c, first, "invalid replaced")
				expect(t, c, second, "good")
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

// Two reads of a slot are in progress, the later one for another validation than
// the earlier. The later read sees the token, then another replica replaces the
// token, and the earlier read sees that. The validation of the earlier read
// refuses the token. The later read, which is older than the refusal, must not
// bring the token back, although the feed is silent.
func TestReadInProgressNeverBringsBackARefusedToken(t *testing.T) {
	t.Parallel()
	for name, supersede := range map[string]func(feed tokenauth.Invalidator){
		// Another event for the user, or for one who shares the generation.
		"after another change": func(feed tokenauth.Invalidator) { feed.Invalidate(tokenauth.UserKeyOf("17")) },
		"after the end of all": func(feed tokenauth.Invalidator) { feed.InvalidateAll() },
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, tokenauth.Options{}, func(t *testing.T, s *fed, auth *tokenauth.Service, feed tokenauth.Invalidator) {
				accessToken := s.foreign(t)

				// The earlier read waits before it reads, the later one after.
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
				later := validate() // has the token in hand
				s.foreign(t)        // replaces it; the feed has not reported that yet
				s.foreign(t)        // twice, so that the row does not name it any more
				close(read)
				if err := <-earlier; !errors.Is(err, tokenauth.ErrInvalidToken) {
					t.Fatalf("the earlier read answered %v", err)
				}
				close(answer)
				<-later // began before the refusal, so either answer is right
				time.Sleep(time.Millisecond)
				expect(t, auth, accessToken, "invalid")
			})
		})
	}
}
