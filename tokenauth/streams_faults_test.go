package tokenauth_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bearerkit/bearerkit/storage/memory"
	"github.com/bearerkit/bearerkit/tokenauth"
)

// All checks wait for the storage until their timeout. Expired tokens end in
// time nevertheless.
func TestExpiryEndsStreamsWhileTheStorageHangs(t *testing.T) {
	for _, longest := range []time.Duration{0, 2 * time.Hour} {
		t.Run(longest.String(), func(t *testing.T) {
			inStreamBubble(t, tokenauth.Options{Lifetime: 2 * time.Hour, MaxLifetime: longest, StreamInterval: time.Minute}, func(t *testing.T, s *scripted, auth *tokenauth.Service, _, _ time.Duration) {
				var streams []context.Context
				for _, accessToken := range issueMany(t, auth, 300) {
					stream, disconnect := openStream(t, auth, accessToken)
					defer disconnect()
					streams = append(streams, stream)
				}
				time.Sleep(2*time.Hour - 10*time.Minute)
				s.onCall(func(ctx context.Context, method string) error {
					if method == "Find" {
						<-ctx.Done()
					}
					return nil
				})
				if err := auth.RevokeClient(t.Context(), "other"); err != nil { // all tokens are to be checked
					t.Fatal(err)
				}
				time.Sleep(9 * time.Minute)
				for _, stream := range streams {
					goesOn(t, stream, 0)
				}
				time.Sleep(time.Minute + auth.Options().Timeout + 3*time.Second)
				for _, stream := range streams {
					if endsWith(t, stream, time.Millisecond, "invalid expired"); t.Failed() {
						break
					}
				}
				s.onCall(nil)
			})
		})
	}
}

// The storage does not return, whatever its context says.
func TestStreamsEndWithRunWhileTheStorageHangs(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := new(scripted)
		auth := newService(t, withoutFeed{s}, new(staff), nil)
		ctx, stop := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { auth.Run(ctx) })
		synctest.Wait()
		accessToken, returns := issue(t, auth, alice(), ""), make(chan struct{})
		stream, disconnect := openStream(t, auth, accessToken)
		defer disconnect()
		synctest.Wait()
		s.onCall(func(_ context.Context, method string) error {
			if method == "Find" {
				<-returns
			}
			return nil
		})
		goesOn(t, stream, time.Minute)
		stop()
		endsWith(t, stream, time.Millisecond, "unavailable")
		close(returns)
		running.Wait()
	})
}

// A panic in the storage or in LiveCheck does not end the stream, or the process.
func TestPanicEndsNoStream(t *testing.T) {
	var panics atomic.Bool
	inStreamBubble(t, tokenauth.Options{StreamInterval: time.Second, LiveCheck: func(context.Context, tokenauth.Token) error {
		if panics.Load() {
			panic("live check")
		}
		return nil
	}}, func(t *testing.T, s *scripted, auth *tokenauth.Service, _, _ time.Duration) {
		accessToken := issue(t, auth, alice(), "")
		stream, disconnect := openStream(t, auth, accessToken)
		defer disconnect()
		goesOn(t, stream, 10*time.Second)
		panics.Store(true)
		goesOn(t, stream, 10*time.Second)
		panics.Store(false)
		s.onCall(func(_ context.Context, method string) error {
			if method == "Find" {
				panic("storage")
			}
			return nil
		})
		goesOn(t, stream, 10*time.Second)
		s.onCall(nil)
		if err := auth.Revoke(t.Context(), accessToken); err != nil {
			t.Fatal(err)
		}
		endsWith(t, stream, time.Second+50*time.Millisecond, "invalid")
	})
}

// The clock of the host, or of a machine that was suspended, is set forwards.
func TestStreamEndsWhenTheClockIsSetPastTheExpiry(t *testing.T) {
	for _, longest := range []time.Duration{0, 12 * time.Hour} {
		t.Run(longest.String(), func(t *testing.T) {
			var ahead atomic.Int64
			now := func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
			inStreamBubble(t, tokenauth.Options{Now: now, Lifetime: 12 * time.Hour, MaxLifetime: longest}, func(t *testing.T, s *scripted, auth *tokenauth.Service, _, _ time.Duration) {
				ahead.Store(0)
				stream, disconnect := openStream(t, auth, issue(t, auth, alice(), ""))
				defer disconnect()
				time.Sleep(time.Minute)
				ahead.Store(int64(-time.Hour))
				goesOn(t, stream, time.Minute)
				ahead.Store(int64(11 * time.Hour))
				goesOn(t, stream, time.Minute)
				ahead.Store(int64(13 * time.Hour))
				endsWith(t, stream, 2*time.Second, "invalid expired")
			})
		})
	}
}

// While Run runs twice, each call takes over the work of the other.
func TestStreamsOfTwoRuns(t *testing.T) {
	t.Parallel()
	for _, during := range []string{"an idle time", "a check"} {
		t.Run(during, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := new(scripted)
				auth := newService(t, withoutFeed{s}, new(staff), nil)
				ctx, stopAll := context.WithCancel(t.Context())
				var running sync.WaitGroup
				run := func() context.CancelFunc {
					ctx, stop := context.WithCancel(ctx)
					running.Go(func() { auth.Run(ctx) })
					synctest.Wait()
					return stop
				}
				stop := run()
				for range 30 {
					accessToken, returns := issue(t, auth, alice(), ""), make(chan struct{})
					if during == "a check" {
						var once atomic.Bool
						s.onCall(func(_ context.Context, method string) error {
							if method == "Find" && once.Swap(true) {
								<-returns
							}
							return nil
						})
					}
					other := stop
					if during == "an idle time" {
						stop = run()
					}
					stream, disconnect := openStream(t, auth, accessToken)
					synctest.Wait()
					if during == "a check" {
						stop = run()
					}
					other()
					synctest.Wait()
					s.onCall(nil)
					close(returns)
					goesOn(t, stream, time.Minute)
					if err := s.Store.RevokeUser(t.Context(), tokenauth.UserKeyOf("17")); err != nil {
						t.Fatal(err)
					}
					endsWith(t, stream, 6*time.Second, "invalid")
					disconnect()
				}
				stopAll()
				running.Wait()
			})
		})
	}
}

// A client disconnects while the check of its token fails. Later failures are
// logged nevertheless.
func TestFailureIsLoggedAfterADisconnect(t *testing.T) {
	logger, logged := logInto()
	inStreamBubble(t, tokenauth.Options{Logger: logger}, func(t *testing.T, s *scripted, auth *tokenauth.Service, _, _ time.Duration) {
		for range 2 {
			logged.Reset()
			accessToken, fails := issue(t, auth, alice(), ""), make(chan struct{})
			var once atomic.Bool
			s.onCall(func(_ context.Context, method string) error {
				switch {
				case method != "Find":
					return nil
				case !once.Swap(true):
					return nil
				}
				<-fails
				return errors.New("the storage is down")
			})
			stream, disconnect := openStream(t, auth, accessToken)
			synctest.Wait()
			disconnect()
			<-stream.Done()
			synctest.Wait()
			close(fails)
			synctest.Wait()
			if n := strings.Count(logged.String(), "checking the tokens of open streams failed"); n != 1 {
				t.Errorf("the failure was logged %d times, want once: %s", n, logged)
			}
			s.onCall(nil)
		}
	})
}

// Some servers and tests never end the context of a request. The guard does, when
// the handler has returned.
func TestStreamEndsWithItsHandler(t *testing.T) {
	inStreamBubble(t, tokenauth.Options{}, func(t *testing.T, s *scripted, auth *tokenauth.Service, _, _ time.Duration) {
		var stream context.Context
		guard := tokenauth.Requirement{Stream: true}.Guard(auth)
		handler := guard(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { stream = r.Context() }))
		r := httptest.NewRequest("GET", "/", nil).WithContext(context.Background())
		r.Header.Set("Authorization", "Bearer "+issue(t, auth, alice(), ""))
		handler.ServeHTTP(httptest.NewRecorder(), r)
		if stream.Err() == nil {
			t.Error("the context of the request has not ended")
		}
	})
}

// A guard with Stream may stand before and behind other guards, also before one of
// another Service.
func TestStreamAmongOtherGuards(t *testing.T) {
	inStreamBubble(t, tokenauth.Options{}, func(t *testing.T, s *scripted, auth *tokenauth.Service, here, elsewhere time.Duration) {
		replica := newService(t, &s.Store, new(staff), nil) // it accepts the same tokens
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		go replica.Run(ctx)
		replica.Authorizer(tokenauth.Requirement{Stream: true})
		synctest.Wait()
		plain, streamed := tokenauth.Requirement{}, tokenauth.Requirement{Stream: true}
		type guard struct {
			q tokenauth.Requirement
			s *tokenauth.Service
		}
		for i, guards := range [][]guard{
			{{plain, auth}, {streamed, auth}}, {{streamed, auth}, {plain, auth}}, {{streamed, auth}, {streamed, auth}},
			{{streamed, auth}, {plain, replica}}, {{plain, replica}, {streamed, auth}}, {{streamed, replica}, {streamed, auth}},
			{{streamed, auth}, {tokenauth.Requirement{Optional: true, Stream: true}, replica}},
		} {
			accessToken := issue(t, auth, alice(), "")
			ctx, disconnect := context.WithCancel(t.Context())
			r := httptest.NewRequest("GET", "/", nil).WithContext(ctx)
			r.Header.Set("Authorization", "Bearer "+accessToken)
			for _, g := range guards {
				authorized, refusal := g.s.Authorizer(g.q)(r)
				if refusal != nil {
					t.Fatal(i, refusal.Err)
				}
				r = authorized
			}
			if token, ok := tokenauth.FromContext(r.Context()); !ok || token.Principal.UserID != "17" {
				t.Errorf("%d: the handler gets %v, %v", i, token, ok)
			}
			goesOn(t, r.Context(), time.Minute)
			if err := auth.Revoke(t.Context(), accessToken); err != nil {
				t.Fatal(err)
			}
			endsWith(t, r.Context(), max(here, elsewhere), "invalid")
			disconnect()
		}
	})
}

// Streams are opened and their tokens end while calls of Run begin and end.
func TestStreamsUnderStressOfRun(t *testing.T) {
	t.Parallel()
	auth := newService(t, new(memory.Store), new(staff), &tokenauth.Options{StreamInterval: 100 * time.Millisecond})
	var running, wg sync.WaitGroup
	all, stopAll := context.WithCancel(t.Context())
	defer stopAll()
	running.Go(func() { // always one or two calls of Run
		for all.Err() == nil {
			ctx, stop := context.WithTimeout(t.Context(), 15*time.Millisecond)
			running.Go(func() { auth.Run(ctx); stop() })
			time.Sleep(5 * time.Millisecond)
		}
	})
	open := auth.Authorizer(tokenauth.Requirement{Stream: true})
	for i := range 8 {
		p := tokenauth.Principal{UserID: fmt.Sprint(i), UserName: fmt.Sprint(i)}
		wg.Go(func() {
			for range 50 {
				accessToken := issue(t, auth, p, "")
				ctx, disconnect := context.WithCancel(t.Context())
				r := httptest.NewRequest("GET", "/", nil).WithContext(ctx)
				r.Header.Set("Authorization", "Bearer "+accessToken)
				stream, refusal := open(r)
				for refusal != nil && refusal.Status == http.StatusServiceUnavailable { // between two calls of Run
					time.Sleep(time.Millisecond)
					stream, refusal = open(r)
				}
				if refusal != nil {
					disconnect()
					t.Error(refusal.Err)
					return
				}
				if err := auth.RevokeUser(t.Context(), p.UserID); err != nil {
					t.Error(err)
				}
				select {
				case <-stream.Context().Done():
				case <-time.After(20 * time.Second):
					t.Error("the stream did not end within 20 s")
				}
				disconnect()
			}
		})
	}
	wg.Wait()
	stopAll()
	running.Wait()
}

// Checks at the interval take longer than the interval. The stream of a revoked
// token does not wait for them.
func TestRevocationDoesNotWaitForOtherChecks(t *testing.T) {
	inStreamBubble(t, tokenauth.Options{LiveCheck: func(context.Context, tokenauth.Token) error {
		time.Sleep(100 * time.Millisecond)
		return nil
	}}, func(t *testing.T, s *scripted, auth *tokenauth.Service, here, _ time.Duration) {
		accessTokens := issueMany(t, auth, 500)
		streams := make([]context.Context, len(accessTokens))
		for i, accessToken := range accessTokens {
			var disconnect func()
			streams[i], disconnect = openStream(t, auth, accessToken)
			defer disconnect()
		}
		time.Sleep(time.Minute)
		for i := range 10 {
			if err := auth.Revoke(t.Context(), accessTokens[i]); err != nil {
				t.Fatal(err)
			}
			// A check in progress ends first.
			endsWith(t, streams[i], 100*time.Millisecond+here, "invalid")
		}
		goesOn(t, streams[10], time.Minute)
	})
}

// A LiveCheck that ignores its context keeps only the streams of its own tokens
// open.
func TestLiveCheckThatHangsDoesNotStopOtherChecks(t *testing.T) {
	hangs := make(chan struct{})
	inStreamBubble(t, tokenauth.Options{LiveCheck: func(_ context.Context, token tokenauth.Token) error {
		if token.Principal.UserID != "17" && time.Now().After(token.IssuedAt.Add(time.Minute)) {
			<-hangs
		}
		return nil
	}}, func(t *testing.T, s *scripted, auth *tokenauth.Service, _, _ time.Duration) {
		hangs = make(chan struct{})
		for _, accessToken := range issueMany(t, auth, 200) {
			_, disconnect := openStream(t, auth, accessToken)
			defer disconnect()
		}
		time.Sleep(2 * time.Minute)
		accessToken := issue(t, auth, alice(), "")
		stream, disconnect := openStream(t, auth, accessToken)
		defer disconnect()
		goesOn(t, stream, 2*time.Minute)
		if err := auth.Revoke(t.Context(), accessToken); err != nil {
			t.Fatal(err)
		}
		endsWith(t, stream, 2*auth.Options().Timeout, "invalid")
		close(hangs)
	})
}
