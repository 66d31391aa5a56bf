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
	"github.com/bearerkit/bearerkit/tokenauth/event"
	"github.com/bearerkit/bearerkit/tokenauth/tokenauthtest"
)

// A batching storage is one in memory with FindBatch. Its calls take a
// millisecond.
type batching struct {
	memory.Store
	mu    sync.Mutex
	sizes []int // the number of slots of each batch
	// found changes a result, or fails the call with its error.
	found func(*tokenauth.Found) error
}

func (b *batching) FindBatch(ctx context.Context, slots []tokenauth.Slot) ([]tokenauth.Found, error) {
	b.mu.Lock()
	b.sizes = append(b.sizes, len(slots))
	b.mu.Unlock()
	time.Sleep(time.Millisecond)
	all := make([]tokenauth.Found, len(slots))
	for i, slot := range slots {
		all[i].Token, all[i].Err = b.Find(ctx, slot)
		if b.found != nil {
			if err := b.found(&all[i]); err != nil {
				return nil, err
			}
		}
	}
	return all, nil
}

// findsItself is a wrapper that overrides Find, but embeds FindBatch.
type findsItself struct{ *batching }

func (f *findsItself) Find(ctx context.Context, slot tokenauth.Slot) (tokenauth.Token, error) {
	t, err := f.batching.Find(ctx, slot)
	t.Principal.UserName = "found by the wrapper"
	return t, err
}

type findsBoth struct{ findsItself }

func (f *findsBoth) FindBatch(ctx context.Context, slots []tokenauth.Slot) ([]tokenauth.Found, error) {
	found, err := f.findsItself.FindBatch(ctx, slots)
	for i := range found {
		found[i].Token.Principal.UserName = "found by the wrapper"
	}
	return found, err
}

// FailingStorage is a wrapper whose type has the same name as the wrapped one.
type FailingStorage struct{ *tokenauthtest.FailingStorage }

func (f FailingStorage) Find(ctx context.Context, slot tokenauth.Slot) (tokenauth.Token, error) {
	t, err := f.FailingStorage.Find(ctx, slot)
	t.Principal.UserName = "found by the wrapper"
	return t, err
}

type wholeStorage interface {
	tokenauth.Storage
	tokenauth.BatchFinder
}

func userN(i int) tokenauth.Principal {
	return tokenauth.Principal{UserID: fmt.Sprint("user", i), UserName: fmt.Sprint("name", i)}
}

// issueMany issues a token for each of n users.
func issueMany(t *testing.T, auth *tokenauth.Service, n int) (accessTokens []string) {
	t.Helper()
	for i := range n {
		accessTokens = append(accessTokens, issue(t, auth, userN(i), ""))
	}
	return accessTokens
}

// validateAll validates all access tokens concurrently. It returns the results
// in the same order.
func validateAll(ctx context.Context, auth *tokenauth.Service, accessTokens []string) ([]tokenauth.Token, []error) {
	tokens, errs := make([]tokenauth.Token, len(accessTokens)), make([]error, len(accessTokens))
	var wg sync.WaitGroup
	for i, accessToken := range accessTokens {
		wg.Go(func() { tokens[i], errs[i] = auth.Validate(ctx, accessToken) })
	}
	wg.Wait()
	return tokens, errs
}

// Concurrent look-ups share one call of FindBatch, and each caller gets its own
// result.
func TestConcurrentLookupsShareACall(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := new(batching)
		auth := newService(t, store, new(staff), nil)
		accessTokens := issueMany(t, auth, 100)
		store.sizes = nil
		tokens, errs := validateAll(t.Context(), auth, accessTokens)
		for i := range tokens {
			if errs[i] != nil || tokens[i].Principal.UserID != userN(i).UserID {
				t.Errorf("validation %d found %q, error %v", i, tokens[i].Principal.UserID, errs[i])
			}
		}
		if n := len(store.sizes); n < 3 || n > 5 {
			t.Errorf("100 concurrent validations made calls with %v slots", store.sizes)
		}
	})
}

// An error for one slot reaches only the callers that asked for it. An error of
// the call reaches all, and is never a refusal.
func TestBatchErrorsReachTheirCallers(t *testing.T) {
	t.Parallel()
	broken := errors.New("the connection broke")
	odd := func(f *tokenauth.Found) bool { return f.Token.Principal.UserID == userN(7).UserID }
	for name, test := range map[string]struct {
		found    func(*tokenauth.Found) error
		own, all string // reasons of the error of user 7, and of the others
	}{
		"corrupt": {func(f *tokenauth.Found) error {
			if odd(f) {
				f.Err = fmt.Errorf("%w: a column", tokenauth.ErrCorrupt)
			}
			return nil
		}, "invalid", "valid"},
		"missing": {func(f *tokenauth.Found) error {
			if odd(f) {
				*f = tokenauth.Found{Err: tokenauth.ErrNotFound}
			}
			return nil
		}, "invalid", "valid"},
		"unreadable": {func(f *tokenauth.Found) error {
			if odd(f) {
				f.Err = broken
			}
			return nil
		}, "unavailable", "valid"},
		"another user's": {func(f *tokenauth.Found) error {
			if odd(f) {
				f.Token.Slot = tokenauth.SlotOf("user8", "")
			}
			return nil
		}, "unavailable", "valid"},
		"zero": {func(f *tokenauth.Found) error {
			if odd(f) {
				*f = tokenauth.Found{}
			}
			return nil
		}, "unavailable", "valid"},
		"failed call":                  {func(*tokenauth.Found) error { return broken }, "unavailable", "unavailable"},
		"failed call, ErrNotFound":     {func(*tokenauth.Found) error { return tokenauth.ErrNotFound }, "unavailable", "unavailable"},
		"failed call, ErrCorrupt":      {func(*tokenauth.Found) error { return tokenauth.ErrCorrupt }, "unavailable", "unavailable"},
		"failed call, ErrInvalidToken": {func(*tokenauth.Found) error { return tokenauth.ErrInvalidToken }, "unavailable", "unavailable"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				store := new(batching)
				auth := newService(t, store, new(staff), nil)
				accessTokens := issueMany(t, auth, 50)
				store.found = test.found
				_, errs := validateAll(t.Context(), auth, accessTokens)
				for i, err := range errs {
					want := test.all
					if i == 7 {
						want = test.own
					}
					got := "valid"
					if err != nil {
						got = reason(err)
					}
					if got != want {
						t.Errorf("validation %d is %s, want %s: %v", i, got, want, err)
					}
				}
			})
		})
	}
}

// If FindBatch panics, all its requests are answered with 500. The stack is
// logged once per call, and later requests succeed.
func TestPanicOfABatchAnswers500(t *testing.T) {
	t.Parallel()
	for name, value := range map[string]any{"a bug": "a bug of the storage", "an abort": http.ErrAbortHandler} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				store := new(batching)
				logger, printed := logInto()
				auth := newService(t, store, new(staff), &tokenauth.Options{Logger: logger})
				accessTokens := issueMany(t, auth, 64)
				guard := auth.RequireBearer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
				serve := func(code int) {
					var wg sync.WaitGroup
					for i, accessToken := range accessTokens {
						wg.Go(func() {
							r := httptest.NewRequest("GET", "/", nil)
							r.Header.Set("Authorization", "Bearer "+accessToken)
							w := httptest.NewRecorder()
							guard.ServeHTTP(w, r)
							if w.Code != code {
								t.Errorf("request %d answered %d, want %d", i, w.Code, code)
							}
						})
					}
					wg.Wait()
				}
				store.sizes, store.found = nil, func(*tokenauth.Found) error { panic(value) }
				serve(500)
				calls := len(store.sizes)
				store.found = nil
				serve(200)
				if n := strings.Count(printed.String(), "panic in the storage"); n != calls || calls > 5 {
					t.Errorf("the panics of %d calls were logged %d times, want once per call and at most 5 calls", calls, n)
				}
				if !strings.Contains(printed.String(), "FindBatch") {
					t.Error("the log has no stack")
				}
			})
		})
	}
}

// A panic of the storage has the same response and event at each endpoint,
// whether the storage has FindBatch or not.
func TestPanicOfALookupAtEachEndpoint(t *testing.T) {
	t.Parallel()
	single, batch := new(scripted), new(batching)
	panicking := func(context.Context, string) error { panic("a bug of the storage") }
	for _, test := range []struct {
		storage tokenauth.Storage
		breaks  func(broken bool)
	}{
		{single, func(broken bool) {
			single.before = nil
			if broken {
				single.before = panicking
			}
		}},
		{batch, func(broken bool) {
			batch.found = nil
			if broken {
				batch.found = func(*tokenauth.Found) error { panic("a bug of the storage") }
			}
		}},
	} {
		var seen []tokenauth.Event
		logger, printed := logInto()
		auth := newService(t, test.storage, new(staff), &tokenauth.Options{
			Logger:    logger,
			Clients:   registered{"web": all},
			Observers: []func(context.Context, tokenauth.Event){func(_ context.Context, e tokenauth.Event) { seen = append(seen, e) }},
		})
		accessToken := issue(t, auth, alice(), "web")
		for path, handler := range map[string]http.Handler{
			"/":           auth.RequireBearer(http.NotFoundHandler()),
			"/revoke":     endpoint(t, auth, "/revoke"),
			"/introspect": endpoint(t, auth, "/introspect"),
		} {
			r := httptest.NewRequest("POST", path, strings.NewReader("token="+accessToken))
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			if path == "/" {
				r.Header.Set("Authorization", "Bearer "+accessToken)
			} else {
				r.SetBasicAuth("web", registeredSecret.Reveal())
			}
			seen = nil
			printed.Reset()
			w := httptest.NewRecorder()
			test.breaks(true)
			handler.ServeHTTP(w, r)
			test.breaks(false)
			if w.Code != 500 || len(seen) != 1 || seen[0].Kind != event.Unavailable || seen[0].Reason != event.ReasonInternal {
				t.Errorf("%T, %s: answered %d, observed %+v", test.storage, path, w.Code, seen)
			}
			if n := strings.Count(printed.String(), "panic in the storage"); n != 1 {
				t.Errorf("%T, %s: the panic was logged %d times, want 1", test.storage, path, n)
			}
		}
	}
}

// A wrapper that overrides Find is not bypassed by the embedded FindBatch.
func TestFindOfAWrapperIsNotBypassed(t *testing.T) {
	t.Parallel()
	itself := &findsItself{new(batching)}
	for _, s := range []tokenauth.Storage{
		itself,
		&findsBoth{findsItself{new(batching)}},
		struct{ FailingStorage }{FailingStorage{&tokenauthtest.FailingStorage{Storage: new(batching)}}},
		struct{ wholeStorage }{itself},
		&tokenauthtest.FailingStorage{Storage: itself},
	} {
		logger, _ := logInto()
		auth := newService(t, s, new(staff), &tokenauth.Options{Logger: logger})
		got, err := auth.Validate(t.Context(), issue(t, auth, alice(), ""))
		if err != nil || got.Principal.UserName != "found by the wrapper" {
			t.Errorf("%T: found %q, error %v; want the result of the wrapper's Find", s, got.Principal.UserName, err)
		}
	}
}

// A caller whose context ends returns at once. The shared call continues for
// the other callers.
func TestCallerCanLeaveASharedCall(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := new(batching)
		auth := newService(t, store, new(staff), nil)
		accessTokens := issueMany(t, auth, 20)
		store.found = func(*tokenauth.Found) error { time.Sleep(10 * time.Millisecond); return nil }
		leaving, leave := context.WithCancel(t.Context())
		impatient, cancel := context.WithTimeout(t.Context(), 3*time.Millisecond)
		defer cancel()
		began := time.Now()
		var wg sync.WaitGroup
		validate := func(ctx context.Context, i int, answered time.Duration) {
			wg.Go(func() {
				_, err := auth.Validate(ctx, accessTokens[i])
				if took := time.Since(began); (err != nil) != (answered > 0) || answered > 0 && (took != answered || !errors.Is(err, tokenauth.ErrUnavailable)) {
					t.Errorf("validation %d took %v, error %v", i, took, err)
				}
			})
			synctest.Wait()
		}
		validate(impatient, 0, 3*time.Millisecond) // makes a call of its own
		for i := 1; i < 18; i++ {
			validate(t.Context(), i, 0)
		}
		validate(leaving, 18, 2*time.Millisecond)
		validate(leaving, 19, 2*time.Millisecond)
		time.Sleep(2 * time.Millisecond)
		leave()
		wg.Wait()
	})
}

// A revocation is completed although its caller leaves while the look-up waits
// for others.
func TestRevocationIsFinishedWhileItsCallerLeaves(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := new(batching)
		auth := newService(t, store, new(staff), nil)
		accessTokens := issueMany(t, auth, 3)
		var wg sync.WaitGroup
		for _, accessToken := range accessTokens[1:] { // these make calls of their own, so the revocation must wait
			wg.Go(func() { auth.Validate(t.Context(), accessToken) })
		}
		synctest.Wait()
		ctx, leave := context.WithCancel(t.Context())
		wg.Go(func() {
			if err := auth.Revoke(ctx, accessTokens[0]); err != nil {
				t.Errorf("the revocation failed: %v", err)
			}
		})
		synctest.Wait()
		leave()
		wg.Wait()
		if _, err := auth.Validate(t.Context(), accessTokens[0]); !errors.Is(err, tokenauth.ErrInvalidToken) {
			t.Errorf("the token is still valid: error %v", err)
		}
		if err := auth.Revoke(ctx, accessTokens[1]); reason(err) != "unavailable" {
			t.Errorf("with a context that has ended: error %v, want ErrUnavailable", err)
		}
	})
}
