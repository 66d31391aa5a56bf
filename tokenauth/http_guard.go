package tokenauth

import (
	"errors"
	"net/http"
	"slices"

	"github.com/bearerkit/bearerkit/tokenauth/internal/request"
	"github.com/bearerkit/bearerkit/tokenauth/internal/wire"
)

// A Requirement selects the requests that a guard lets through, for
// [Service.Authorizer]. The zero value lets every request with a valid access
// token through.
type Requirement struct {
	// Roles lists the roles of which the user needs at least one, compared
	// exactly. Nil requires none, so a list that the host computes must not be
	// nil. An empty list that is not nil panics. [Service.RequireRole] panics
	// in both cases.
	Roles []string
	// Clients lists the client IDs to which the token may have been issued. Nil
	// requires none; an empty list that is not nil panics. It needs
	// [Options.Clients]: without registered clients, sign-ins issue tokens
	// without a client ID, and the guard refuses those. It also refuses
	// requests that [Options.Fallback] authenticated.
	Clients []string
	// Optional also lets anonymous requests through: those without a token, and
	// those whose token is expired or otherwise not valid. It excludes Roles
	// and Clients.
	Optional bool
}

// check panics if a list is empty but not nil, if a list has an empty string,
// or if Optional is set beside a list.
func (q *Requirement) check() {
	for _, list := range []struct {
		what  string
		names []string
	}{{"role", q.Roles}, {"client", q.Clients}} {
		switch {
		case list.names == nil:
		case len(list.names) == 0:
			panic("tokenauth: the list of " + list.what + "s that a guard requires is empty")
		case slices.Contains(list.names, ""):
			panic("tokenauth: the list of " + list.what + "s that a guard requires has an empty string")
		case q.Optional:
			panic("tokenauth: Requirement.Optional must not be set beside a list of " + list.what + "s")
		}
	}
}

// Authorizer returns a func that decides about requests, for adapters to other
// frameworks. It is safe for concurrent use. It returns one of two:
//
//   - The request to pass on, with the token in its context ([FromContext]).
//     Call [SetCacheHeaders] for its response.
//   - The error response to write, with [ErrorResponse.ServeHTTP] for example.
//
// Authorizer panics if a list of the [Requirement] is empty but not nil, if a
// list has an empty string, or if Optional is set beside a list.
func (s *Service) Authorizer(q Requirement) func(*http.Request) (*http.Request, *ErrorResponse) {
	s.mustNotBeNil()
	q.check()
	q.Roles, q.Clients = slices.Clone(q.Roles), slices.Clone(q.Clients)
	return func(r *http.Request) (*http.Request, *ErrorResponse) {
		authorized, refusal := s.authorize(request.Complete(r), &q)
		if refusal != nil {
			refusal.guarded = true
			if s.options.RenderError != nil {
				refusal.render = s.render
			}
		}
		return authorized, refusal
	}
}

func (s *Service) authorize(r *http.Request, q *Requirement) (*http.Request, *ErrorResponse) {
	authorized, refusal := s.authenticate(r)
	switch {
	case refusal != nil && q.Optional:
		return s.passAnonymous(r, refusal)
	case refusal != nil:
		s.observeRefusal(r, refusal.Err, nil)
		return nil, refusal
	}
	token := lastAuthorized(authorized.Context()).token
	if refusal := s.missing(token, q); refusal != nil {
		s.observeRefusal(r, refusal.Err, token)
		return nil, refusal
	}
	return authorized, nil
}

// missing returns the 403 response if the token lacks a required role or
// client, or nil.
func (s *Service) missing(t *Token, q *Requirement) *ErrorResponse {
	var description string
	var cause error
	switch {
	case len(q.Roles) > 0 && !t.Principal.HasRole(q.Roles...):
		description, cause = wire.RoleMissing, &roleError{q.Roles, slices.Clone(t.Principal.Roles)}
	case len(q.Clients) > 0 && !slices.Contains(q.Clients, t.ClientID):
		description, cause = wire.ClientNotAdmitted, errUnauthorizedClient
	default:
		return nil
	}
	return &ErrorResponse{
		Status: http.StatusForbidden, Code: wire.InsufficientScope, Description: description,
		Challenge: s.challenges.insufficientScope, Err: cause,
	}
}

// passAnonymous lets a request without a valid token through. It refuses the
// request if an error prevented the decision.
func (s *Service) passAnonymous(r *http.Request, refusal *ErrorResponse) (*http.Request, *ErrorResponse) {
	if !errors.Is(refusal.Err, errNoCredentials) {
		s.observeRefusal(r, refusal.Err, nil)
	}
	if refusal.Status >= http.StatusInternalServerError {
		return nil, refusal
	}
	if a := lastAuthorized(r.Context()); a != nil && a.token != nil {
		// The token in the context is another Service's, or belongs to another
		// request from whose context this one was made. Hide it from the
		// handler.
		r = r.WithContext(&authorized{Context: r.Context(), service: s})
	}
	return r, nil
}

// RequireBearer lets only requests with a valid access token through to next
// (RFC 6750). The handler gets the token from [FromContext]. The guard answers
// other requests itself:
//
//   - 401 without a token, and for a token that is not valid
//   - 400 for a malformed Authorization header
//   - 503 if the storage, LiveCheck or Fallback failed ([Options])
//
// [Options.Fallback], if set, may authenticate requests without a bearer token
// of this Service.
func (s *Service) RequireBearer(next http.Handler) http.Handler {
	return s.require(Requirement{})(next)
}

// RequireRole returns a guard that lets only users with at least one of the
// roles through. Other users with a valid access token get 403. Roles are
// compared exactly.
//
// RequireRole authenticates requests like [Service.RequireBearer]. Behind
// another guard on the same request, it does not look up the token again.
//
// It panics if there is no role, or an empty one.
func (s *Service) RequireRole(anyOf ...string) func(http.Handler) http.Handler {
	return s.require(Requirement{Roles: append([]string{}, anyOf...)})
}

// RequireClient returns a guard that lets only access tokens through that were
// issued to one of the clients. Other valid tokens get 403. It needs
// [Options.Clients]: without registered clients, sign-ins issue tokens without
// a client ID.
//
// RequireClient authenticates requests like [Service.RequireBearer]. It panics
// if there is no client, or an empty one.
func (s *Service) RequireClient(anyOf ...string) func(http.Handler) http.Handler {
	return s.require(Requirement{Clients: append([]string{}, anyOf...)})
}

// Optional lets requests with and without a valid access token through to next.
// For a request without a valid token, [FromContext] returns false.
//
// So a caller whose token has expired, or was revoked or replaced, becomes
// anonymous. The caller gets no 401 and is not asked to sign in again. Use
// [Service.RequireBearer] where a caller must notice that.
//
// If the storage, LiveCheck or Fallback failed ([Options]), the response is
// 503.
func (s *Service) Optional(next http.Handler) http.Handler {
	return s.require(Requirement{Optional: true})(next)
}

func (s *Service) require(q Requirement) func(http.Handler) http.Handler {
	authorize := s.Authorizer(q)
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			authorized, refusal := authorize(r)
			if refusal != nil {
				refusal.ServeHTTP(w, r)
				return
			}
			SetCacheHeaders(w.Header(), authorized)
			if r != nil {
				// The server removes the uploaded files of its own request
				// only, so give it the form that the handler parsed.
				defer func() { r.MultipartForm = authorized.MultipartForm }()
			}
			next.ServeHTTP(w, authorized)
		})
	}
}
