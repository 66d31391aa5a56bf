// Package tokenauthtest is for the tests of a host: a Service that is ready in
// one line, requests that carry a good token, a clock that the test moves, and a
// storage that fails when told to.
//
//	func TestReports(t *testing.T) {
//		auth := tokenauthtest.New(t, nil)
//		h := auth.RequireRole("Auditor")(reports)
//		get := auth.As(tokenauth.Principal{UserID: "17", Roles: []string{"Auditor"}}, httptest.NewRequest("GET", "/reports", nil))
//		expect(t, h, get, http.StatusOK)
//		auth.Storage.Fail(errors.New("connection refused"))
//		expect(t, h, get, http.StatusServiceUnavailable)
//		auth.Storage.Heal()
//		auth.Clock.Advance(15 * 24 * time.Hour)
//		expect(t, h, get, http.StatusUnauthorized) // expired
//	}
//
// A host that makes its Service itself uses the parts: [Bearer], [Clock],
// [Users], [FailingStorage].
//
// It is the one package beside the core that imports a storage,
// storage/memory, and it imports testing: it has no business in a binary.
package tokenauthtest

import (
	"log/slog"
	"net/http"
	"testing"

	"github.com/bearerkit/bearerkit/storage/memory"
	"github.com/bearerkit/bearerkit/tokenauth"
)

// A Service is a tokenauth.Service whose storage, users and time are the test's.
type Service struct {
	*tokenauth.Service
	Storage *FailingStorage // keeps the tokens in memory
	Users   *Users          // none, until some are added
	Clock   *Clock

	t testing.TB
}

// New returns a Service that keeps its tokens in memory, and fails the test if
// the options are wrong. Options may be nil. Options.Now must be nil, since
// Clock tells the time, and Options.Cache too, since a FailingStorage has no
// feed. Without a Logger, the log goes to the test's output.
func New(t testing.TB, o *tokenauth.Options) *Service {
	t.Helper()
	s := &Service{Storage: &FailingStorage{Storage: new(memory.Store)}, Users: new(Users), Clock: new(Clock), t: t}
	var options tokenauth.Options
	if o != nil {
		options = *o
	}
	if options.Now != nil {
		t.Fatal("tokenauthtest: Options.Now must be nil: the Service's Clock tells the time")
	}
	options.Now = s.Clock.Now
	if options.Logger == nil {
		options.Logger = slog.New(slog.NewTextHandler(t.Output(), nil))
	}
	var err error
	if s.Service, err = tokenauth.New(s.Storage, s.Users, &options); err != nil {
		t.Fatal(err)
	}
	return s
}

// As puts a valid access token of the principal into the request, and returns the
// request. The user need not be one of Users.
//
// A newer token replaces the one before: of two requests of one user that are made
// one after the other and sent later, the first gets 401. Bearer is for several
// requests with one token.
func (s *Service) As(p tokenauth.Principal, r *http.Request) *http.Request {
	s.t.Helper()
	if r.Header == nil {
		r.Header = make(http.Header)
	}
	r.Header.Set("Authorization", Bearer(s.t, s.Service, p))
	return r
}
