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
	// Roles lists the roles of which the user needs at least one. They are
	// compared exactly. Nil requires no role, so make sure that a computed list
	// is not nil. [Service.Authorizer] panics if the list is empty but not nil.
	// [Service.RequireRole] panics if it is empty or nil.
	Roles []string
	// Clients lists the client IDs to which the token may have been issued. Nil
	// allows every token. [Service.Authorizer] panics if the list is empty but
	// not nil. Clients needs [Options.Clients]: without registered clients,
	// sign-ins issue tokens without a client ID, and the guard refuses such
	// tokens. It also refuses requests that [Options.Fallback] authenticated.
	Clients []string
	// Keys also lets requests with an API key through ([Options.Keys]), if the
	// key has one of the Roles. False means that only sign-ins may pass: a request
	// with a valid key gets 403. Each guard that a request passes needs Keys.
	// A key belongs to no client, so a guard with Clients refuses it.
	//
	// Routes that change the password, make keys or end devices should take no
	// keys. [Token.Key] tells a handler whether the caller used one.
	Keys bool
	// Guests also lets requests through that present no token. A request with a
	// token that is expired or otherwise not valid gets 401, so that its client
	// signs in again. Guests cannot be combined with another
	// field except Keys and Stream.
	Guests bool
	// Optional also lets anonymous requests through: those without a token, and
	// those whose token is expired or otherwise not valid. It cannot be
	// combined with another field except Keys and Stream. A valid API key gets 403
	// without Keys.
	Optional bool
	// Stream is for a request that stays open, such as a WebSocket or
	// server-sent events. Its context ends when the token ends: [context.Cause]
	// then returns an [ErrInvalidToken], or an [ErrExpiredToken] or
	// [ErrReplacedToken] if that is known. It ends with [ErrUnavailable] when
	// [Service.Run] returns, as at a shutdown.
	//
	//   - A revocation, a newer sign-in, a rejection by [Options.LiveCheck] and
	//     the expiry end the context. With a storage that has a feed (a
	//     [Watcher]), that takes milliseconds in every replica, with or without
	//     [Options.Cache]. After [Service.RevokeClient] and [Service.RevokeAll],
	//     it takes up to a second. Without a feed, and for LiveCheck, it takes up
	//     to [Options.StreamInterval].
	//   - A failure of the storage does not end it. While the feed is lost,
	//     tokens are checked at the interval.
	//   - Run must be running in this process. Otherwise the response is 503.
	//   - An open stream is not a use of its token. A token that ends without
	//     further requests ([Options.IdleTimeout], [Options.MaxLifetime]) ends its
	//     streams.
	//   - The context of an API key also ends when the key loses the Roles, because
	//     its owner lost them.
	//   - If [Options.Fallback] authenticated the request, or if it has no token,
	//     the context ends with the request only.
	//
	// The handler must return when the context ends. A handler that may be
	// blocked in a write needs more: [context.AfterFunc] can set a write deadline
	// ([http.ResponseController]) or close the connection. The handshake of a
	// WebSocket removes a deadline, so call AfterFunc behind it. Before the handler
	// returns, it stops that func or waits for it: afterwards the server may use
	// the connection for another request. Stream may be combined with the other
	// fields.
	Stream bool
}

// check panics if a list is empty but not nil, if a list has an empty string,
// or if Guests or Optional is combined with a list or with each other.
func (q *Requirement) check() {
	if q.Guests && q.Optional {
		panic("tokenauth: Requirement.Guests must not be combined with Optional")
	}
	for _, list := range []struct {
		what  string
		names []string
	}{{"role", q.Roles}, {"client", q.Clients}} {
		switch {
		case list.names == nil:
		case len(list.names) == 0:
			panic("tokenauth: the list of " + list.what + "s that a guard requires is empty; name at least one")
		case slices.Contains(list.names, ""):
			panic("tokenauth: the list of " + list.what + "s that a guard requires has an empty string")
		case q.Guests || q.Optional:
			panic("tokenauth: Requirement.Guests and Optional must not be combined with a list of " + list.what + "s")
		}
	}
}

// Authorizer returns a func that decides about requests, for adapters to other
// frameworks. The func is safe for concurrent use. It returns one of the
// following two results, and nil for the other:
//
//   - The request to pass on, with the token in its context ([FromContext]).
//     Call [SetCacheHeaders] for its response.
//   - The error response to write, with [ErrorResponse.ServeHTTP] for example.
//
// Behind another guard of the same request, the func neither validates the same
// credentials nor reports their refusal a second time.
//
// With [Requirement.Stream], the Service knows the request until its context
// ends. So the context of each request must end after its handler has returned,
// as it does in an [http.Server].
//
// Authorizer panics if a list of the [Requirement] is empty but not nil, if a
// list has an empty string, or if Guests or Optional is combined with another
// field except Keys and Stream.
func (s *Service) Authorizer(q Requirement) func(*http.Request) (*http.Request, *ErrorResponse) {
	authorize := s.authorizer(q)
	return func(r *http.Request) (*http.Request, *ErrorResponse) {
		authorized, _, refusal := authorize(r)
		return authorized, refusal
	}
}

// authorizer is [Service.Authorizer]. The func also returns a func to call when
// the handler has returned.
func (s *Service) authorizer(q Requirement) func(*http.Request) (*http.Request, func(), *ErrorResponse) {
	s.mustNotBeNil()
	q.check()
	q.Roles, q.Clients = slices.Clone(q.Roles), slices.Clone(q.Clients)
	if q.Stream {
		s.streams.wanted.Store(true)
		if s.feed != nil {
			s.feed.want()
		}
	}
	return func(r *http.Request) (*http.Request, func(), *ErrorResponse) {
		authorized, done, refusal := s.authorize(request.Complete(r), &q)
		if refusal != nil {
			refusal.vary = s.places.Vary()
			if s.options.RenderError != nil {
				refusal.render = s.render
			}
		}
		return authorized, done, refusal
	}
}

func (s *Service) authorize(r *http.Request, q *Requirement) (authorized *http.Request, done func(), _ *ErrorResponse) {
	done = func() {}
	authorized, refusal := s.authenticate(r)
	switch {
	case refusal != nil && (q.Optional || q.Guests && errors.Is(refusal.Err, errNoCredentials)):
		authorized, refusal := s.passAnonymous(r, refusal)
		return authorized, done, refusal
	case refusal != nil:
		s.reportRefusal(r, refusal)
		return nil, done, refusal
	}
	token := lastAuthorized(authorized.Context()).token
	if refusal := s.missing(token, q); refusal != nil {
		s.observeRefusal(r, refusal.Err, token)
		return nil, done, refusal
	}
	if token.Key != "" && len(q.Roles) > 0 && s.streams.wanted.Load() {
		for _, st := range openedFor(authorized.Context(), &token.Digest) {
			s.streams.require(st, q.Roles)
		}
		authorized = requiring(authorized, token.Digest, q.Roles, nil)
	}
	if q.Stream && !token.Digest.IsZero() {
		stream, done, err := s.streams.open(authorized, token)
		if err != nil {
			refusal := s.errorResponse(unavailable("opening a stream", err))
			s.reportRefusal(r, refusal)
			return nil, done, refusal
		}
		return stream, done, nil
	}
	return authorized, done, nil
}

// missing returns a 403 response if the token is an API key that is not admitted, if
// the user has none of the required roles, or if the token was not issued to one of
// the required clients. Otherwise it returns nil.
func (s *Service) missing(t *Token, q *Requirement) *ErrorResponse {
	var description string
	var cause error
	switch {
	case t.Key != "" && !q.Keys:
		description, cause = wire.KeyNotAdmitted, errKeyNotAdmitted
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

// passAnonymous lets a request without a valid token through. But if a failure
// left open whether the token is valid, it refuses the request.
func (s *Service) passAnonymous(r *http.Request, refusal *ErrorResponse) (*http.Request, *ErrorResponse) {
	if !errors.Is(refusal.Err, errNoCredentials) {
		s.reportRefusal(r, refusal)
	}
	if refusal.Status >= http.StatusInternalServerError || errors.Is(refusal.Err, errCrossSite) {
		return nil, refusal
	}
	d := s.refused(r, refusal)
	// A token in the context does not belong to this request. Either a guard of
	// another Service put it there, or a handler made this request with the
	// context of an earlier request. So hide the token from the handler.
	// [SetCacheHeaders] needs the Service for Vary.
	if a := lastAuthorized(r.Context()); d != nil || a != nil && (a.token != nil || a.service != s) || s.options.Places != nil {
		a := authorized{Context: r.Context(), service: s, refused: d}
		r = r.WithContext(newAuthorized(a, secrets{header: r.Header}))
	}
	return r, nil
}

// refused returns what a further guard of r needs to know about the refusal. It
// returns nil if another guard of r has stored that already, or if there is
// nothing to know: a request without credentials is refused without a look-up.
func (s *Service) refused(r *http.Request, refusal *ErrorResponse) *refused {
	if s.options.Fallback == nil && errors.Is(refusal.Err, errNoCredentials) {
		return nil
	}
	accessToken, malformed := s.presented(r)
	foreign := s.options.Fallback != nil && s.isForeign(accessToken, malformed)
	if a := s.decided(r.Context()); a != nil && a.isOf(r) && a.refused.again(r, accessToken, malformed, foreign) != nil {
		return nil
	}
	d := &refused{NewSecret(accessToken), nil, *refusal}
	if foreign {
		d.evidence = evidenceOf(r)
	}
	return d
}

// reportRefusal reports the refusal to the log and to [Options.Observers],
// unless an earlier guard of the same request has reported it.
func (s *Service) reportRefusal(r *http.Request, refusal *ErrorResponse) {
	if !refusal.reported {
		refusal.reported = true
		s.observeRefusal(r, refusal.Err, nil)
	}
}

// RequireBearer lets only requests with a valid access token through to next
// (RFC 6750). The handler gets the token from [FromContext]. The guard answers
// other requests itself:
//
//   - 401 for a missing token, or a token that is not valid
//   - 400 for a malformed Authorization header, or several tokens
//   - 403 if another site's page may have made the browser send the token
//     ([place.Cookie])
//   - 503 if the storage, LiveCheck or Fallback failed ([Options])
//
// The token is in the Authorization header, or in one of [Options.Places].
// [Options.Fallback], if set, may authenticate requests without a token of this
// Service.
func (s *Service) RequireBearer(next http.Handler) http.Handler {
	return Requirement{}.Guard(s)(next)
}

// RequireRole returns a guard that lets only users with at least one of the
// roles through. Other users with a valid access token get 403. Roles are
// compared exactly.
//
// RequireRole authenticates requests like [Service.RequireBearer]. Behind
// another guard, it looks up the token again only if the request no longer
// presents the token that the first guard validated.
//
// It panics if anyOf is empty or contains an empty role.
func (s *Service) RequireRole(anyOf ...string) func(http.Handler) http.Handler {
	return Requirement{Roles: append([]string{}, anyOf...)}.Guard(s)
}

// RequireClient returns a guard that lets only access tokens through that were
// issued to one of the clients. Other valid tokens get 403. It needs
// [Options.Clients]: without registered clients, sign-ins issue tokens without
// a client ID.
//
// RequireClient authenticates requests like [Service.RequireBearer]. It panics
// if anyOf is empty or contains an empty client ID.
func (s *Service) RequireClient(anyOf ...string) func(http.Handler) http.Handler {
	return Requirement{Clients: append([]string{}, anyOf...)}.Guard(s)
}

// Optional lets requests with and without a valid access token through to next.
// For a request without a valid token, [FromContext] returns false.
//
// So a caller whose token has expired, or was revoked or replaced, becomes
// anonymous. The caller gets no 401, and no hint to sign in again. Use
// [Requirement.Guests] to refuse such a token, and [Service.RequireBearer] on
// routes that need a user.
//
// If the storage, LiveCheck or Fallback failed ([Options]), the response is 503.
// If another site's page may have made the browser send the token, it is 403
// ([place.Cookie]).
func (s *Service) Optional(next http.Handler) http.Handler {
	return Requirement{Optional: true}.Guard(s)(next)
}

// Guard returns a guard of the [Service] that lets only requests through that
// meet the requirement. The guard answers other requests itself, as
// [Service.RequireBearer] does. Guard panics as [Service.Authorizer] does.
//
//	guests := tokenauth.Requirement{Guests: true}.Guard(auth)
//	mux.Handle("GET /articles", guests(articles))
func (q Requirement) Guard(s *Service) func(http.Handler) http.Handler {
	authorize := s.authorizer(q)
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			authorized, done, refusal := authorize(r)
			if refusal != nil {
				refusal.ServeHTTP(w, r)
				return
			}
			defer done() // the context of a server that is not net/http may never end
			SetCacheHeaders(w.Header(), authorized)
			if r != nil {
				// The handler may store uploaded files in the form of the new
				// request. The server removes only the files in the original
				// request's form, so copy the form back.
				defer func() { r.MultipartForm = authorized.MultipartForm }()
			}
			next.ServeHTTP(w, authorized)
		})
	}
}
