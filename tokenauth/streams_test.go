package tokenauth_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bearerkit/bearerkit/storage/memory"
	"github.com/bearerkit/bearerkit/tokenauth"
)

// openStream opens a stream with the access token. The returned context is that
// of its handler, and ends when the caller calls the func, as when the client
// disconnects.
func openStream(t testing.TB, auth *tokenauth.Service, accessToken string) (context.Context, context.CancelFunc) {
	t.Helper()
	ctx, disconnect := context.WithCancel(t.Context())
	r := httptest.NewRequest("GET", "/events", nil).WithContext(ctx)
	r.Header.Set("Authorization", "Bearer "+accessToken)
	authorized, refusal := auth.Authorizer(tokenauth.Requirement{Stream: true})(r)
	if refusal != nil {
		t.Fatalf("the guard answered %d: %v", refusal.Status, refusal.Err)
	}
	return authorized.Context(), disconnect
}

// endsWith waits up to a time for the end of a stream. The reason is as in
// reason.
func endsWith(t testing.TB, stream context.Context, within time.Duration, want string) {
	t.Helper()
	select {
	case <-stream.Done():
		if got := reason(context.Cause(stream)); got != want {
			t.Errorf("the stream ended with %q (%v), want %q", got, context.Cause(stream), want)
		}
	case <-time.After(within):
		t.Errorf("the stream did not end within %v", within)
	}
}

func goesOn(t testing.TB, stream context.Context, d time.Duration) {
	t.Helper()
	select {
	case <-stream.Done():
		t.Errorf("the stream ended: %v", context.Cause(stream))
	case <-time.After(d):
	}
}

// inStreamBubble runs a test in a synctest bubble, on a storage with a feed and
// on one without. Within how long the end of a token must end its streams is an
// argument of the test: elsewhere for a change by another replica.
func inStreamBubble(t *testing.T, o tokenauth.Options, test func(t *testing.T, s *scripted, auth *tokenauth.Service, here, elsewhere time.Duration)) {
	t.Parallel()
	for name, fed := range map[string]bool{"with a feed": true, "without a feed": false} {
		for name, cache := range map[string]*tokenauth.CacheOptions{name: nil, name + " and a cache": new(tokenauth.CacheOptions)} {
			if cache != nil && !fed {
				continue
			}
			t.Run(name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					o := o
					o.Cache = cache
					if o.Logger == nil {
						o.Logger, _ = logInto()
					}
					store := new(scripted)
					var storage tokenauth.Storage = store
					if !fed {
						storage = withoutFeed{store}
					}
					auth := newService(t, storage, new(reloading), &o)
					auth.Authorizer(tokenauth.Requirement{Stream: true})
					ctx, cancel := context.WithCancel(t.Context())
					var wg sync.WaitGroup
					wg.Go(func() { auth.Run(ctx) })
					synctest.Wait()
					elsewhere := 5*time.Second + 50*time.Millisecond
					if fed {
						elsewhere = 50 * time.Millisecond
					}
					test(t, store, auth, 50*time.Millisecond, elsewhere)
					cancel()
					wg.Wait()
				})
			})
		}
	}
}

// onCall makes the storage call a func at the start of each call.
func (s *scripted) onCall(f func(ctx context.Context, method string) error) { s.hook.Store(&f) }

// withoutFeed hides Watch.
type withoutFeed struct{ *scripted }

func (withoutFeed) Watch() {}

func TestStreamEndsWithItsToken(t *testing.T) {
	inStreamBubble(t, tokenauth.Options{}, func(t *testing.T, s *scripted, auth *tokenauth.Service, here, elsewhere time.Duration) {
		other := newService(t, &s.Store, new(staff), nil) // another replica
		for name, end := range map[string]struct {
			by   func(ctx context.Context, accessToken string, auth *tokenauth.Service) error
			want string
		}{
			"Revoke": {func(ctx context.Context, accessToken string, auth *tokenauth.Service) error {
				return auth.Revoke(ctx, accessToken)
			}, "invalid"},
			"RevokeUser": {func(ctx context.Context, _ string, auth *tokenauth.Service) error {
				return auth.RevokeUser(ctx, "17")
			}, "invalid"},
			"RevokeClient": {func(ctx context.Context, _ string, auth *tokenauth.Service) error {
				return auth.RevokeClient(ctx, "")
			}, "invalid"},
			"Issue": {func(ctx context.Context, _ string, auth *tokenauth.Service) error {
				_, err := auth.Issue(ctx, alice(), nil)
				return err
			}, "invalid replaced"},
		} {
			for where, by := range map[string]*tokenauth.Service{"here": auth, "elsewhere": other} {
				within := elsewhere
				if by == auth {
					within = here
				}
				accessToken := issue(t, auth, alice(), "")
				first, disconnect := openStream(t, auth, accessToken)
				defer disconnect()
				second, disconnect := openStream(t, auth, accessToken)
				defer disconnect()
				bobs, disconnect := openStream(t, auth, issue(t, auth, bob(), ""))
				time.Sleep(61 * time.Second) // no multiple of the interval
				goesOn(t, first, 0)
				if err := end.by(t.Context(), accessToken, by); err != nil {
					t.Fatal(err)
				}
				t.Log(name, where)
				endsWith(t, first, within, end.want)
				endsWith(t, second, time.Millisecond, end.want)
				if name != "RevokeClient" {
					goesOn(t, bobs, 10*time.Second)
				}
				disconnect()
			}
		}
	})
}

// A storage that fails prolongs no stream, not even of a token that may live on.
func TestStreamEndsWhenItsTokenExpires(t *testing.T) {
	for name, o := range map[string]tokenauth.Options{
		"a token of an hour":       {Lifetime: time.Hour},
		"a token that may live on": {Lifetime: time.Hour, MaxLifetime: 24 * time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			inStreamBubble(t, o, func(t *testing.T, s *scripted, auth *tokenauth.Service, _, _ time.Duration) {
				stream, disconnect := openStream(t, auth, issue(t, auth, alice(), ""))
				defer disconnect()
				time.Sleep(time.Second)
				s.onCall(func(context.Context, string) error { return errors.New("the storage is down") })
				goesOn(t, stream, time.Hour-3*time.Second)
				endsWith(t, stream, 3*time.Second, "invalid expired")
			})
		})
	}
}

// A token that lives on while it is used does so with an open stream, too, if
// other requests use it.
func TestStreamLivesOnWithItsToken(t *testing.T) {
	inStreamBubble(t, tokenauth.Options{Lifetime: 3 * time.Hour, MaxLifetime: 24 * time.Hour}, func(t *testing.T, s *scripted, auth *tokenauth.Service, _, _ time.Duration) {
		accessToken := issue(t, auth, alice(), "")
		stream, disconnect := openStream(t, auth, accessToken)
		defer disconnect()
		for range 5 {
			goesOn(t, stream, time.Hour)
			expect(t, auth, accessToken, "valid")
		}
		endsWith(t, stream, 5*time.Hour, "invalid expired")
	})
}

func TestStorageErrorEndsNoStream(t *testing.T) {
	logger, logged := logInto()
	inStreamBubble(t, tokenauth.Options{Logger: logger}, func(t *testing.T, s *scripted, auth *tokenauth.Service, here, _ time.Duration) {
		logged.Reset()
		accessToken := issue(t, auth, alice(), "")
		stream, disconnect := openStream(t, auth, accessToken)
		defer disconnect()
		time.Sleep(time.Minute)
		var failing atomic.Bool
		failing.Store(true)
		s.onCall(func(_ context.Context, method string) error {
			if method == "Find" && failing.Load() {
				return errors.New("the storage is down")
			}
			return nil
		})
		if err := auth.RevokeUser(t.Context(), "17"); err != nil {
			t.Fatal(err)
		}
		goesOn(t, stream, time.Minute)
		failing.Store(false)
		endsWith(t, stream, time.Second+here, "invalid")
		if n := strings.Count(logged.String(), "checking the tokens of open streams failed"); n != 1 {
			t.Errorf("the failure was logged %d times, want once: %s", n, logged)
		}
		failing.Store(true)
		again, disconnect2 := openStream(t, auth, issueUnchecked(t, s, auth))
		defer disconnect2()
		goesOn(t, again, time.Minute)
	})
}

// issueUnchecked issues a token whose check fails from the start.
func issueUnchecked(t *testing.T, s *scripted, auth *tokenauth.Service) string {
	t.Helper()
	accessToken := issue(t, auth, alice(), "")
	before := *s.hook.Load()
	var once atomic.Bool
	s.onCall(func(ctx context.Context, method string) error {
		if method == "Find" && !once.Swap(true) {
			return nil
		}
		return before(ctx, method)
	})
	return accessToken
}

func TestStreamIsLiveCheckedAtTheInterval(t *testing.T) {
	var rejected atomic.Bool
	var asked atomic.Int64
	inStreamBubble(t, tokenauth.Options{StreamInterval: time.Second, LiveCheck: func(context.Context, tokenauth.Token) error {
		asked.Add(1)
		if rejected.Load() {
			return tokenauth.ErrRejected
		}
		return nil
	}}, func(t *testing.T, s *scripted, auth *tokenauth.Service, _, _ time.Duration) {
		rejected.Store(false)
		stream, disconnect := openStream(t, auth, issue(t, auth, alice(), ""))
		defer disconnect()
		synctest.Wait()
		asked.Store(0)
		goesOn(t, stream, 10*time.Second)
		if n := asked.Load(); n < 9 || n > 11 {
			t.Errorf("LiveCheck was asked %d times in ten intervals", n)
		}
		rejected.Store(true)
		endsWith(t, stream, time.Second+50*time.Millisecond, "invalid")
	})
}

func TestStreamNeedsRun(t *testing.T) {
	t.Parallel()
	logger, logged := logInto()
	auth := newService(t, new(memory.Store), new(staff), &tokenauth.Options{Logger: logger})
	guarded := tokenauth.Requirement{Stream: true}.Guard(auth)(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		t.Error("the handler was called")
	}))
	r := httptest.NewRequest("GET", "/", nil)
	r.Header.Set("Authorization", "Bearer "+issue(t, auth, alice(), ""))
	w := httptest.NewRecorder()
	guarded.ServeHTTP(w, r)
	if w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") == "" {
		t.Errorf("answered %d %v", w.Code, w.Header())
	}
	if !strings.Contains(logged.String(), "streams need Service.Run") {
		t.Errorf("logged %s", logged)
	}
}

func TestStreamsEndWhenRunReturns(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		auth := newService(t, new(memory.Store), new(staff), nil)
		ctx, stop := context.WithCancel(t.Context())
		go auth.Run(ctx)
		synctest.Wait()
		stream, disconnect := openStream(t, auth, issue(t, auth, alice(), ""))
		defer disconnect()
		goesOn(t, stream, time.Minute)
		stop()
		endsWith(t, stream, time.Millisecond, "unavailable")
		synctest.Wait()
	})
}

// The feed is lost without an error, and a token ends meanwhile.
func TestStreamsAreCheckedAtTheIntervalWhileTheFeedIsLost(t *testing.T) {
	for name, lose := range map[string]func(t *testing.T, s *fedStore){
		"with an error": func(t *testing.T, s *fedStore) {
			s.lose <- errors.New("connection lost")
			go func() {
				select {
				case <-s.feeds: // the new feed has no heartbeat
				case <-t.Context().Done(): // the stream ended before it began
				}
			}()
		},
		"without an error": func(*testing.T, *fedStore) { time.Sleep(lease + time.Second) },
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, tokenauth.Options{}, func(t *testing.T, s *fedStore, auth *tokenauth.Service, feed tokenauth.Invalidator) {
				stream, disconnect := openStream(t, auth, issue(t, auth, alice(), ""))
				defer disconnect()
				for range 30 {
					time.Sleep(time.Second)
					feed.Heartbeat(time.Now())
				}
				s.asked()
				feed.Heartbeat(time.Now())
				goesOn(t, stream, time.Second)
				if n := s.asked(); n != 0 {
					t.Errorf("the token was looked up %d times while the feed was alive", n)
				}
				lose(t, s)
				s.foreign(t)
				endsWith(t, stream, 5*time.Second+lease, "invalid replaced")
			})
		})
	}
}

// If the feed was lost and is back, the tokens that ended in between end their streams.
func TestStreamsAreCheckedWhenTheFeedIsBack(t *testing.T) {
	inBubble(t, tokenauth.Options{StreamInterval: time.Hour}, func(t *testing.T, s *fedStore, auth *tokenauth.Service, _ tokenauth.Invalidator) {
		stream, disconnect := openStream(t, auth, issue(t, auth, alice(), ""))
		defer disconnect()
		goesOn(t, stream, 1100*time.Millisecond) // the loss is looked for every half second, and must not be seen
		s.lose <- errors.New("connection lost")
		s.foreign(t)
		(<-s.feeds).Heartbeat(time.Now())
		endsWith(t, stream, 50*time.Millisecond, "invalid replaced")
	})
}

// Without a cache, the log of a lost feed names what the loss does to streams.
func TestLogOfALostFeedWithoutACache(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		logger, printed := logInto()
		s := &fedStore{feeds: make(chan tokenauth.Invalidator), lose: make(chan error)}
		auth := newService(t, s, new(staff), &tokenauth.Options{Logger: logger})
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		go auth.Run(ctx)
		synctest.Wait()
		_, disconnect := openStream(t, auth, issue(t, auth, alice(), ""))
		defer disconnect()
		(<-s.feeds).Heartbeat(time.Now())
		s.lose <- errors.New("connection lost")
		(<-s.feeds).Heartbeat(time.Now())
		log := printed.String()
		if !strings.Contains(log, "lost; until it is back, open streams are checked at an interval") ||
			!strings.Contains(log, "the feed of changes is back") || strings.Contains(log, "cache") || strings.Contains(log, "each validation") {
			t.Errorf("logged %s", log)
		}
		stop()
		synctest.Wait()
	})
}

func TestManyStreamsAreCheckedSpreadOverASecond(t *testing.T) {
	inBubble(t, tokenauth.Options{}, func(t *testing.T, s *fedStore, auth *tokenauth.Service, feed tokenauth.Invalidator) {
		const n = 10_000
		streams := make([]context.Context, n)
		for i, accessToken := range issueMany(t, auth, n) {
			var disconnect func()
			streams[i], disconnect = openStream(t, auth, accessToken)
			defer disconnect()
		}
		feed.Heartbeat(time.Now().Add(time.Minute))
		synctest.Wait()
		time.Sleep(10 * time.Second)
		s.asked()
		feed.InvalidateAll()
		last := 0
		for range 10 {
			time.Sleep(101 * time.Millisecond)
			if part := s.asked(); part > n/8 {
				t.Errorf("%d tokens were looked up in a tenth of a second", part)
			} else {
				last += part
			}
		}
		if last != n {
			t.Errorf("%d tokens were looked up, want %d", last, n)
		}
		for _, stream := range streams {
			goesOn(t, stream, 0)
		}
	})
}

// The guard of a handler that returned, or whose client left, keeps nothing.
func TestStreamsLeaveNothingBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		auth := newService(t, new(memory.Store), new(staff), nil)
		ctx, stop := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { auth.Run(ctx) })
		synctest.Wait()
		accessTokens := issueMany(t, auth, 10_000)
		measure := func() (goroutines int, heap uint64) {
			runtime.GC()
			runtime.GC()
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			return runtime.NumGoroutine(), m.HeapAlloc
		}
		goroutines, before := measure()
		disconnect := make([]context.CancelFunc, len(accessTokens))
		for i, accessToken := range accessTokens {
			_, disconnect[i] = openStream(t, auth, accessToken)
		}
		synctest.Wait()
		open, during := measure()
		if open > goroutines {
			t.Errorf("%d open streams have %d goroutines", len(accessTokens), open-goroutines)
		}
		t.Logf("%d bytes for each open stream, with its request", (during-before)/uint64(len(accessTokens)))
		for _, d := range disconnect {
			d()
		}
		clear(disconnect)
		synctest.Wait()
		after, left := measure()
		if after > goroutines || left > before+(during-before)/4 {
			t.Errorf("%d goroutines and %d bytes stay", after-goroutines, int64(left)-int64(before))
		}
		stop()
		wg.Wait()
	})
}

// A revocation between the validation of a token and the registration of its
// stream is not missed.
func TestStreamOfATokenThatEndsMeanwhileEnds(t *testing.T) {
	inStreamBubble(t, tokenauth.Options{}, func(t *testing.T, s *scripted, auth *tokenauth.Service, here, _ time.Duration) {
		accessToken := issue(t, auth, alice(), "")
		expect(t, auth, accessToken, "valid")
		var ended atomic.Bool
		synctest.Wait()
		s.found = func(*tokenauth.Token) {
			if !ended.Swap(true) {
				if err := s.Store.RevokeUser(context.Background(), tokenauth.UserKeyOf("17")); err != nil {
					t.Error(err)
				}
			}
		}
		stream, disconnect := openStream(t, auth, accessToken)
		defer disconnect()
		endsWith(t, stream, here, "invalid")
	})
}

func TestAnonymousStream(t *testing.T) {
	t.Parallel()
	auth := newService(t, new(memory.Store), new(staff), nil)
	for _, q := range []tokenauth.Requirement{{Stream: true, Guests: true}, {Stream: true, Optional: true}} {
		r, refusal := auth.Authorizer(q)(httptest.NewRequest("GET", "/", nil))
		if refusal != nil {
			t.Fatal(refusal.Err)
		}
		if _, ok := tokenauth.FromContext(r.Context()); ok || r.Context().Err() != nil {
			t.Error("the request has a token, or has ended")
		}
	}
}

func TestStreamsUnderStress(t *testing.T) {
	t.Parallel()
	auth := newService(t, new(memory.Store), new(staff), &tokenauth.Options{StreamInterval: 100 * time.Millisecond})
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var running, wg sync.WaitGroup
	running.Go(func() { auth.Run(ctx) })
	waitForRun(t, auth)
	for i := range 8 {
		p := tokenauth.Principal{UserID: fmt.Sprint(i), UserName: fmt.Sprint(i)}
		wg.Go(func() {
			for range 50 {
				accessToken := issue(t, auth, p, "")
				var streams []context.Context
				for range 5 {
					stream, disconnect := openStream(t, auth, accessToken)
					defer disconnect()
					streams = append(streams, stream)
				}
				if err := auth.RevokeUser(t.Context(), p.UserID); err != nil {
					t.Error(err)
				}
				for _, stream := range streams {
					endsWith(t, stream, 10*time.Second, "invalid")
				}
			}
		})
	}
	wg.Wait()
	stop()
	running.Wait()
}

func waitForRun(t testing.TB, auth *tokenauth.Service) {
	t.Helper()
	r := httptest.NewRequest("GET", "/", nil)
	r.Header.Set("Authorization", "Bearer "+issue(t, auth, bob(), "wait"))
	for range 1000 {
		if _, refusal := auth.Authorizer(tokenauth.Requirement{Stream: true})(r); refusal == nil {
			return
		}
		time.Sleep(time.Millisecond)
	}
	t.Fatal("Run does not begin")
}
