package tokenauthtest_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bearerkit/bearerkit/storage/memory"
	"github.com/bearerkit/bearerkit/storage/storagetest"
	"github.com/bearerkit/bearerkit/tokenauth"
	"github.com/bearerkit/bearerkit/tokenauth/tokenauthtest"
)

var alice = tokenauth.Principal{UserID: "17", UserName: "alice", Roles: []string{"Auditor"}}

func signIn(userName, password string) *http.Request {
	form := url.Values{"grant_type": {"password"}, "username": {userName}, "password": {password}}
	return httptest.NewRequest("POST", "/Token", strings.NewReader(form.Encode()))
}

func TestUsersSignIn(t *testing.T) {
	t.Parallel()
	auth := tokenauthtest.New(t, nil)
	expect(t, auth.TokenHandler(), signIn("alice", "correct horse"), http.StatusBadRequest) // nobody yet
	auth.Users.Add(alice, "correct horse")
	expect(t, auth.TokenHandler(), signIn("alice", "correct horse"), http.StatusOK)
	expect(t, auth.TokenHandler(), signIn("alice", ""), http.StatusBadRequest)
	expect(t, auth.TokenHandler(), signIn("alice", "wrong"), http.StatusBadRequest)
	auth.Users.Add(alice, "battery staple")
	expect(t, auth.TokenHandler(), signIn("alice", "correct horse"), http.StatusBadRequest)
	expect(t, auth.TokenHandler(), signIn("alice", "battery staple"), http.StatusOK)
	auth.Users.Remove("alice")
	expect(t, auth.TokenHandler(), signIn("alice", "battery staple"), http.StatusBadRequest)
}

func TestUsersAreLookedAtAgain(t *testing.T) {
	t.Parallel()
	users := new(tokenauthtest.Users)
	users.Add(alice, "correct horse")
	changed := alice
	changed.Stamp = "2"
	for _, test := range []struct {
		name   string
		change func()
		want   error
	}{
		{"unchanged", func() {}, nil},
		{"another stamp", func() { users.Add(changed, "correct horse") }, tokenauth.ErrRejected},
		{"gone", func() { users.Remove("alice") }, tokenauth.ErrRejected},
		{"another user of the name", func() { users.Add(tokenauth.Principal{UserID: "42", UserName: "alice"}, "correct horse") }, tokenauth.ErrRejected},
	} {
		test.change()
		if err := users.Recheck(t.Context(), alice); !errors.Is(err, test.want) {
			t.Errorf("%s: %v, want %v", test.name, err, test.want)
		}
	}
}

// Everything but the storage is the host's own.
func TestBearerWithAServiceOfTheHosts(t *testing.T) {
	t.Parallel()
	var clock tokenauthtest.Clock
	auth, err := tokenauth.New(new(memory.Store), new(tokenauthtest.Users), &tokenauth.Options{
		Prefix: "host_", Now: clock.Now, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequest("GET", "/reports", nil)
	r.Header.Set("Authorization", tokenauthtest.Bearer(t, auth, alice))
	h := auth.RequireBearer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if token, ok := tokenauth.FromContext(r.Context()); !ok || token.Principal.UserName != "alice" || !token.Principal.HasRole("Auditor") {
			t.Errorf("the handler sees %+v", token.Principal)
		}
	}))
	expect(t, h, r, http.StatusOK)

	newer := httptest.NewRequest("GET", "/reports", nil)
	newer.Header.Set("Authorization", tokenauthtest.Bearer(t, auth, alice))
	expect(t, h, newer, http.StatusOK)
	expect(t, h, newer.Clone(t.Context()), http.StatusOK) // one token for two requests
	expect(t, h, r, http.StatusUnauthorized)              // it was replaced
}

func TestClock(t *testing.T) {
	t.Parallel()
	var clock tokenauthtest.Clock
	began := clock.Now()
	if want := time.Date(2020, 9, 13, 9, 35, 33, 0, time.UTC); began != want || clock.Now() != want {
		t.Errorf("it begins at %v, and is then at %v", began, clock.Now())
	}
	var wg sync.WaitGroup
	for range 100 {
		wg.Go(func() { clock.Advance(time.Second) })
	}
	wg.Wait()
	if got := clock.Now().Sub(began); got != 100*time.Second {
		t.Errorf("it advanced %v", got)
	}
	expectPanic(t, "backwards", func() { clock.Advance(-1) })
}

func TestFailingStorageIsAStorage(t *testing.T) {
	t.Parallel()
	storagetest.Run(t, func(*testing.T) tokenauth.Storage { return &tokenauthtest.FailingStorage{Storage: new(memory.Store)} })
}

func TestFailingStorageFails(t *testing.T) {
	t.Parallel()
	s, trouble := &tokenauthtest.FailingStorage{Storage: new(memory.Store)}, errors.New("connection refused")
	ctx, token := context.Background(), tokenauth.Token{Slot: tokenauth.SlotOf("17", ""), Digest: tokenauth.Digest{1}}
	if err := s.Replace(ctx, token); err != nil {
		t.Fatal(err)
	}
	newer := token
	newer.Digest = tokenauth.Digest{2}
	s.Fail(trouble)
	_, err := s.Find(ctx, token.Slot)
	for name, err := range map[string]error{
		"Find": err, "Replace": s.Replace(ctx, newer),
		"Revoke": s.Revoke(ctx, token.Slot, token.Digest), "RevokeUser": s.RevokeUser(ctx, token.Slot.User),
	} {
		if err != trouble {
			t.Errorf("%s returns %v", name, err)
		}
	}
	s.Heal()
	if got, err := s.Find(ctx, token.Slot); err != nil || got.Digest != token.Digest {
		t.Errorf("after Heal there is %v, %v: a call that failed did something", got.Digest, err)
	}
	expectPanic(t, "with an error", func() { s.Fail(nil) })
}

// A host's own test ends at once if it is wrong.
func TestNewRefusesWhatIsNotTheHosts(t *testing.T) {
	t.Parallel()
	for says, options := range map[string]*tokenauth.Options{
		"Options.Now must be nil": {Now: time.Now},
		"Options.Lifetime":        {Lifetime: time.Second},
		"Options.Cache":           {Cache: &tokenauth.CacheOptions{}},
	} {
		r := &recorder{TB: t}
		r.run(func() { tokenauthtest.New(r, options) })
		if !strings.Contains(r.fatal, says) {
			t.Errorf("want an end that says %q, got %q", says, r.fatal)
		}
	}
	r := &recorder{TB: t}
	auth := tokenauthtest.New(r, nil)
	r.run(func() { auth.As(tokenauth.Principal{}, httptest.NewRequest("GET", "/", nil)) })
	if !strings.Contains(r.fatal, "UserID") {
		t.Errorf("a principal that cannot be stored: %q", r.fatal)
	}
}

// A recorder is a test that notes why it ended.
type recorder struct {
	testing.TB
	fatal string
}

func (r *recorder) Fatal(args ...any)                 { r.end(fmt.Sprint(args...)) }
func (r *recorder) Fatalf(format string, args ...any) { r.end(fmt.Sprintf(format, args...)) }
func (r *recorder) end(why string)                    { r.fatal = why; panic(r) }

func (r *recorder) run(f func()) {
	defer func() {
		if p := recover(); p != nil && p != any(r) {
			panic(p)
		}
	}()
	f()
}

func expectPanic(t *testing.T, says string, f func()) {
	t.Helper()
	defer func() {
		t.Helper()
		if p := recover(); p == nil || !strings.Contains(fmt.Sprint(p), says) {
			t.Errorf("panicked with %v, want %q", p, says)
		}
	}()
	f()
}
