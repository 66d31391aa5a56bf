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

// reports stands for a handler of the host, with a route that needs a role.
func reports(auth *tokenauth.Service) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/reports", auth.RequireRole("Auditor")(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {})))
	return mux
}

func expect(t *testing.T, h http.Handler, r *http.Request, status int) {
	t.Helper()
	if got := statusOf(h, r); got != status {
		t.Errorf("%s %s: got %d, want %d", r.Method, r.URL, got, status)
	}
}

// TestReports shows how a host tests a protected route.
func TestReports(t *testing.T) {
	t.Parallel()
	auth := tokenauthtest.New(t, nil)
	h := reports(auth.Service)
	get := func() *http.Request { return httptest.NewRequest("GET", "/reports", nil) }
	auditor := auth.As(tokenauth.Principal{UserID: "17", Roles: []string{"Auditor"}}, get())
	reader := auth.As(tokenauth.Principal{UserID: "42", Roles: []string{"Reader"}}, get())

	expect(t, h, get(), http.StatusUnauthorized) // no token
	expect(t, h, reader, http.StatusForbidden)   // not an Auditor
	expect(t, h, auditor, http.StatusOK)
	auth.Storage.Fail(errors.New("connection refused"))
	expect(t, h, auditor, http.StatusServiceUnavailable)
	auth.Storage.Heal()
	expect(t, h, auditor, http.StatusOK)
	auth.Clock.Advance(15 * 24 * time.Hour)
	expect(t, h, auditor, http.StatusUnauthorized) // expired
}

var alice = tokenauth.Principal{UserID: "17", UserName: "alice", Roles: []string{"Auditor"}}

func signIn(userName, password string) *http.Request {
	form := url.Values{"grant_type": {"password"}, "username": {userName}, "password": {password}}
	return httptest.NewRequest("POST", "/Token", strings.NewReader(form.Encode()))
}

func TestUsersSignIn(t *testing.T) {
	t.Parallel()
	auth := tokenauthtest.New(t, nil)
	expect(t, auth.TokenHandler(), signIn("alice", "correct horse"), http.StatusBadRequest) // no users yet
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

func TestRecheckRejectsChangedUsers(t *testing.T) {
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
		{"changed stamp", func() { users.Add(changed, "correct horse") }, tokenauth.ErrRejected},
		{"removed", func() { users.Remove("alice") }, tokenauth.ErrRejected},
		{"another user with the same name", func() { users.Add(tokenauth.Principal{UserID: "42", UserName: "alice"}, "correct horse") }, tokenauth.ErrRejected},
	} {
		test.change()
		if err := users.Recheck(t.Context(), alice); !errors.Is(err, test.want) {
			t.Errorf("%s: Recheck returns %v, want %v", test.name, err, test.want)
		}
	}
}

// Bearer works with a Service that the host made by tokenauth.New.
func TestBearerWorksWithAnyService(t *testing.T) {
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
			t.Errorf("the handler got the principal %+v, %v, want %+v", token.Principal, ok, alice)
		}
	}))
	expect(t, h, r, http.StatusOK)

	newer := httptest.NewRequest("GET", "/reports", nil)
	newer.Header.Set("Authorization", tokenauthtest.Bearer(t, auth, alice))
	expect(t, h, newer, http.StatusOK)
	expect(t, h, newer.Clone(t.Context()), http.StatusOK) // a second request with the same token
	expect(t, h, r, http.StatusUnauthorized)              // its token was replaced
}

func TestClockAdvances(t *testing.T) {
	t.Parallel()
	var clock tokenauthtest.Clock
	began := clock.Now()
	if want := time.Date(2020, 9, 13, 9, 35, 33, 0, time.UTC); began != want || clock.Now() != want {
		t.Errorf("the first two calls of Now return %v and %v, want %v for both", began, clock.Now(), want)
	}
	var wg sync.WaitGroup
	for range 100 {
		wg.Go(func() { clock.Advance(time.Second) })
	}
	wg.Wait()
	if got := clock.Now().Sub(began); got != 100*time.Second {
		t.Errorf("after 100 calls of Advance(1s) the clock is %v later, want 100s", got)
	}
	expectPanic(t, "backwards", func() { clock.Advance(-1) })
}

func TestFailingStoragePassesStoragetest(t *testing.T) {
	t.Parallel()
	storagetest.Run(t, func(*testing.T) tokenauth.Storage { return &tokenauthtest.FailingStorage{Storage: new(memory.Store)} })
}

func TestFailingStorageFails(t *testing.T) {
	t.Parallel()
	s, failure := &tokenauthtest.FailingStorage{Storage: new(memory.Store)}, errors.New("connection refused")
	ctx, token := context.Background(), tokenauth.Token{Slot: tokenauth.SlotOf("17", ""), Digest: tokenauth.Digest{1}}
	if err := s.Replace(ctx, token); err != nil {
		t.Fatal(err)
	}
	newer := token
	newer.Digest = tokenauth.Digest{2}
	s.Fail(failure)
	_, err := s.Find(ctx, token.Slot)
	found, batchErr := s.FindBatch(ctx, []tokenauth.Slot{token.Slot})
	if batchErr != nil || len(found) != 1 {
		t.Fatalf("after Fail, FindBatch returns %v, %v, want one result", found, batchErr)
	}
	_, listErr := s.List(ctx, token.Slot.User)
	_, purgeErr := s.Purge(ctx, time.Now())
	_, unusedErr := s.RevokeUnused(ctx, time.Now())
	_, findErr := s.FindRefresh(ctx, []tokenauth.Slot{token.Slot})
	_, refreshErr := s.Refresh(ctx, token, newer)
	for name, err := range map[string]error{
		"Find": err, "FindBatch": found[0].Err, "Replace": s.Replace(ctx, newer),
		"Revoke": s.Revoke(ctx, token.Slot, token.Digest), "RevokeUser": s.RevokeUser(ctx, token.Slot.User),
		"List": listErr, "Purge": purgeErr, "RevokeUnused": unusedErr, "FindRefresh": findErr, "Refresh": refreshErr,
		"RevokeClient": s.RevokeClient(ctx, ""), "RevokeAll": s.RevokeAll(ctx), "RecordUses": s.RecordUses(ctx, nil),
		"Rename": s.Rename(ctx, token.Slot, token.Digest, "name"),
	} {
		if err != failure {
			t.Errorf("after Fail, %s returns %v, want %v", name, err, failure)
		}
	}
	s.Heal()
	if got, err := s.Find(ctx, token.Slot); err != nil || got.Digest != token.Digest {
		t.Errorf("after Heal, Find returns digest %v, %v, want %v: a failed call must not change the storage", got.Digest, err, token.Digest)
	}
	expectPanic(t, "nil error", func() { s.Fail(nil) })
}

// A FailingStorage of a storage with only the four methods of Storage returns
// an error for each method that would have to answer or to end tokens.
func TestFailingStorageOfSmallStorage(t *testing.T) {
	t.Parallel()
	ctx, s := t.Context(), &tokenauthtest.FailingStorage{Storage: struct{ tokenauth.Storage }{new(memory.Store)}}
	_, listErr := s.List(ctx, tokenauth.UserKeyOf("17"))
	_, unusedErr := s.RevokeUnused(ctx, time.Now())
	_, findErr := s.FindRefresh(ctx, []tokenauth.Slot{tokenauth.SlotOf("17", "")})
	_, refreshErr := s.Refresh(ctx, tokenauth.Token{}, tokenauth.Token{})
	for _, test := range []struct {
		method string
		err    error
		want   string
	}{
		{"List", listErr, "tokenauth.Lister"},
		{"RevokeClient", s.RevokeClient(ctx, ""), "tokenauth.BulkRevoker"},
		{"RevokeAll", s.RevokeAll(ctx), "tokenauth.BulkRevoker"},
		{"RevokeUnused", unusedErr, "tokenauth.UseRecorder"},
		{"FindRefresh", findErr, "tokenauth.Refresher"},
		{"Refresh", refreshErr, "tokenauth.Refresher"},
		{"Rename", s.Rename(ctx, tokenauth.Slot{}, tokenauth.Digest{}, "name"), "tokenauth.Renamer"},
	} {
		if test.err == nil || !strings.Contains(test.err.Error(), test.want) {
			t.Errorf("%s returns %v, want an error that names %s", test.method, test.err, test.want)
		}
	}
	if n, err := s.Purge(ctx, time.Now()); n != 0 || err != nil {
		t.Errorf("Purge returns %d, %v, want 0 and no error", n, err)
	}
	if err := s.RecordUses(ctx, []tokenauth.Use{{Slot: tokenauth.SlotOf("17", "")}}); err != nil {
		t.Errorf("RecordUses returns %v, want no error", err)
	}
}

// As and Bearer issue the token with the options of Issue.
func TestIssueOptions(t *testing.T) {
	t.Parallel()
	auth := tokenauthtest.New(t, &tokenauth.Options{Devices: new(tokenauth.DeviceOptions)})
	options := &tokenauth.IssueOptions{ClientID: "mobile", Device: "phone", DeviceName: "Ann's phone", Lifetime: time.Hour}
	h := auth.RequireBearer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		got, _ := tokenauth.FromContext(r.Context())
		if got.ClientID != "mobile" || got.Device != "phone" || got.DeviceName != "Ann's phone" || got.ExpiresAt.Sub(got.IssuedAt).Round(time.Second) != time.Hour {
			t.Errorf("got the token %+v, want one with the options %+v", got, *options)
		}
	}))
	expect(t, h, auth.As(alice, httptest.NewRequest("GET", "/", nil), options), http.StatusOK)

	r := &recorder{TB: t}
	r.run(func() { tokenauthtest.Bearer(r, auth.Service, alice, options, options) })
	if want := "at most one"; !strings.Contains(r.fatal, want) {
		t.Errorf("Bearer with two IssueOptions ends the test with %q, want a message with %q", r.fatal, want)
	}
	r.run(func() { tokenauthtest.Bearer(r, auth.Service, alice, &tokenauth.IssueOptions{Device: "\n"}) })
	if want := "the device must"; !strings.Contains(r.fatal, want) {
		t.Errorf("Bearer with an invalid device ends the test with %q, want a message with %q", r.fatal, want)
	}
}

// The options that need abilities of the storage work with the storage of New,
// and its abilities reach the storage in memory.
func TestNewRecordsUses(t *testing.T) {
	t.Parallel()
	auth := tokenauthtest.New(t, &tokenauth.Options{Devices: new(tokenauth.DeviceOptions), MaxLifetime: 30 * 24 * time.Hour, IdleTimeout: 24 * time.Hour})
	if got := auth.Options(); got.Devices == nil || got.MaxLifetime == 0 || got.IdleTimeout == 0 {
		t.Errorf("New drops options: got %+v", got)
	}
	issued, err := auth.Issue(t.Context(), alice, nil)
	if err != nil {
		t.Fatal(err)
	}
	use := tokenauth.Use{Slot: issued.Token.Slot, Digest: issued.Token.Digest, At: issued.Token.IssuedAt.Add(time.Hour).Truncate(time.Hour)}
	if err := auth.Storage.RecordUses(t.Context(), []tokenauth.Use{use}); err != nil {
		t.Fatal(err)
	}
	tokens, err := auth.Tokens(t.Context(), "17")
	if err != nil || len(tokens) != 1 || !tokens[0].LastSeen.Equal(use.At) {
		t.Errorf("Tokens returns %+v, %v, want one token that was last seen at %v", tokens, err, use.At)
	}
	if ended, err := auth.Storage.RevokeUnused(t.Context(), use.At.Add(time.Hour)); ended != 1 || err != nil {
		t.Errorf("RevokeUnused ends %d tokens, error %v, want 1", ended, err)
	}
}

// Invalid options and principals end a host's test at once, with a message that
// names the field.
func TestNewRejectsInvalidOptions(t *testing.T) {
	t.Parallel()
	for want, options := range map[string]*tokenauth.Options{
		"Options.Now must be nil": {Now: time.Now},
		"Options.Lifetime":        {Lifetime: time.Second},
		"Options.Cache":           {Cache: &tokenauth.CacheOptions{}},
	} {
		r := &recorder{TB: t}
		r.run(func() { tokenauthtest.New(r, options) })
		if !strings.Contains(r.fatal, want) {
			t.Errorf("New(%+v) ends the test with %q, want a message with %q", options, r.fatal, want)
		}
	}
	r := &recorder{TB: t}
	auth := tokenauthtest.New(r, nil)
	r.run(func() { auth.As(tokenauth.Principal{}, httptest.NewRequest("GET", "/", nil)) })
	if !strings.Contains(r.fatal, "UserID") {
		t.Errorf("As with a principal without UserID ends the test with %q, want a message with UserID", r.fatal)
	}
}

// A recorder is a testing.TB that records the message with which the test ended.
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

func expectPanic(t *testing.T, want string, f func()) {
	t.Helper()
	defer func() {
		t.Helper()
		if p := recover(); p == nil || !strings.Contains(fmt.Sprint(p), want) {
			t.Errorf("panicked with %v, want a message with %q", p, want)
		}
	}()
	f()
}
