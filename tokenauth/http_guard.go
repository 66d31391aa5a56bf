package tokenauth

import (
	"errors"
	"net/http"
	"slices"

	"github.com/bearerkit/bearerkit/tokenauth/internal/request"
	"github.com/bearerkit/bearerkit/tokenauth/internal/wire"
)

// A Requirement says which requests a guard lets through. The zero value lets
// those with a valid access token through.
type Requirement struct {
	// Roles are those of which the user needs one, compared exactly. Nil requires
	// none, so a list that the host computes must not be nil; RequireRole takes
	// such a list and panics if it is empty.
	Roles []string
	// Clients are those of which the token must be issued to one. Nil requires
	// none, as of Roles.
	Clients []string
	// Optional also lets anonymous requests through: those without a valid token.
	// It excludes Roles and Clients.
	Optional bool
}

// check panics if a list is empty but not nil, or has an empty string, and for
// Optional beside a list.
func (q *Requirement) check() {
	for _, list := range []struct {
		what  string
		names []string
	}{{"role", q.Roles}, {"client", q.Clients}} {
		switch {
		case list.names == nil:
		case len(list.names) == 0:
			panic("tokenauth: a " + list.what + " is required, but none is given")
		case slices.Contains(list.names, ""):
			panic("tokenauth: a " + list.what + " that is required is empty")
		case q.Optional:
			panic("tokenauth: Requirement.Optional excludes a " + list.what)
		}
	}
}

// Authorizer returns a func that decides about requests, for adapters to other
// frameworks. The func returns either the request to pass on, whose context has
// the token and whose response needs SetCacheHeaders, or the answer to write. It
// panics if a list of the requirement is empty but not nil, or has an empty
// string, and if Optional is beside a list.
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

// missing returns the refusal of a token without the role or the client.
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

// passAnonymous lets a request without a valid token through, unless it could not
// be decided.
func (s *Service) passAnonymous(r *http.Request, refusal *ErrorResponse) (*http.Request, *ErrorResponse) {
	if !errors.Is(refusal.Err, errNoCredentials) {
		s.observeRefusal(r, refusal.Err, nil)
	}
	if refusal.Status >= http.StatusInternalServerError {
		return nil, refusal
	}
	if a := lastAuthorized(r.Context()); a != nil && a.token != nil {
		// The token is another Service's, or that of another request on whose
		// context this one was made.
		r = r.WithContext(&authorized{Context: r.Context(), service: s})
	}
	return r, nil
}

// RequireBearer lets only requests with a valid access token through to next,
// which finds the token by FromContext (RFC 6750). Others get 401, and malformed
// ones 400. A token gets 503 if the storage failed when it was asked for it.
func (s *Service) RequireBearer(next http.Handler) http.Handler {
	return s.require(Requirement{})(next)
}

// RequireRole lets only requests with a valid access token of a user with at
// least one of the roles through; others with a valid token get 403. Roles are
// compared exactly. It authenticates by itself. It does not look up again a token
// that RequireBearer found before it, if the request still presents that.
//
// It panics if there is no role, or an empty one.
func (s *Service) RequireRole(anyOf ...string) func(http.Handler) http.Handler {
	return s.require(Requirement{Roles: append([]string{}, anyOf...)})
}

// RequireClient lets only requests with a valid access token that was issued to
// one of the clients through; others with a valid token get 403. Like
// RequireRole it authenticates by itself, and panics if there is no client, or
// an empty one.
func (s *Service) RequireClient(anyOf ...string) func(http.Handler) http.Handler {
	return s.require(Requirement{Clients: append([]string{}, anyOf...)})
}

// Optional lets every request through to next. One with a valid access token has
// it in its context; others are anonymous. If the storage failed, the answer is
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
				// The server removes the files of a form that it finds in its own r.
				defer func() { r.MultipartForm = authorized.MultipartForm }()
			}
			next.ServeHTTP(w, authorized)
		})
	}
}
