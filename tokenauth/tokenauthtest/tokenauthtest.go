// Package tokenauthtest helps a host test its routes. [New] returns a
// [tokenauth.Service] for a test, [Service.As] adds a valid token to a request,
// [Clock] controls the time, and [FailingStorage] fails on demand.
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
// If the host's own code calls [tokenauth.New], the test can pass [Users], a
// [Clock] and a [FailingStorage] to that code, and get tokens from [Bearer].
//
// Import this package only in tests: it imports [testing] and
// [github.com/bearerkit/bearerkit/storage/memory].
package tokenauthtest

import (
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"github.com/bearerkit/bearerkit/storage/memory"
	"github.com/bearerkit/bearerkit/tokenauth"
)

// A Service is a [tokenauth.Service] whose storage, users and time the test
// controls. [New] returns one.
type Service struct {
	*tokenauth.Service
	Storage *FailingStorage // keeps the tokens in memory
	Users   *Users          // the users who can sign in; empty at first
	Clock   *Clock          // the time of the Service

	t testing.TB
}

// New returns a Service that keeps its tokens in memory. The options may be
// nil, which selects the defaults. If they are invalid, the test fails at once.
//
// Two fields of the options must be nil: [tokenauth.Options.Now], because the
// Service takes the time from its Clock, and [tokenauth.Options.Cache], because
// a [FailingStorage] is not a [tokenauth.Watcher]. If
// [tokenauth.Options.Logger] is nil, the Service logs to the output of the
// test.
func New(t testing.TB, o *tokenauth.Options) *Service {
	t.Helper()
	s := &Service{Storage: &FailingStorage{Storage: new(memory.Store)}, Users: new(Users), Clock: new(Clock), t: t}
	var options tokenauth.Options
	if o != nil {
		options = *o
	}
	if options.Now != nil {
		t.Fatal("tokenauthtest: Options.Now must be nil: the Service takes the time from its Clock")
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

// As issues an access token for the principal, puts it into the request, and
// returns the request. The principal need not be one of [Service.Users]. The
// token is in the Authorization header, behind "Bearer". If
// [tokenauth.Options.Places] does not list that, the token is in the first place
// that it lists.
//
// At most one [tokenauth.IssueOptions] may follow, as for [Bearer]. Each call
// replaces the user's earlier token at the same client and on the same device,
// so earlier requests with that token then get 401. To send several requests
// with one token, use [Bearer].
func (s *Service) As(p tokenauth.Principal, r *http.Request, o ...*tokenauth.IssueOptions) *http.Request {
	s.t.Helper()
	if r.Header == nil {
		r.Header = make(http.Header)
	}
	accessToken := strings.TrimPrefix(Bearer(s.t, s.Service, p, o...), "Bearer ")
	present(r, accessToken, s.Options().Places)
	return r
}
