package tokenauth

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"
)

// RequireBearer lets only requests with a good access token through to next,
// which finds the token by FromContext (RFC 6750). Others get 401; malformed
// ones 400; and 503 if the storage could not be asked.
func (s *Service) RequireBearer(next http.Handler) http.Handler {
	return s.guard(s.Authorize, next)
}

// RequireRole lets only requests with a good access token of a user who has at
// least one of the roles through; others with a good token get 403. Roles are
// compared exactly. It needs no RequireBearer before it, but a token found
// good by one is not looked up again.
//
// It panics if there is no role, or an empty one: a list that a host computed
// must not turn out to mean "anybody".
func (s *Service) RequireRole(anyOf ...string) func(http.Handler) http.Handler {
	authorize := s.RoleAuthorizer(anyOf...)
	return func(next http.Handler) http.Handler { return s.guard(authorize, next) }
}

// RequireClient lets only requests with a good access token that was issued to
// one of the clients through; others with a good token get 403. Like
// RequireRole it authenticates by itself, and panics if there is no client, or
// an empty one.
func (s *Service) RequireClient(anyOf ...string) func(http.Handler) http.Handler {
	authorize := s.ClientAuthorizer(anyOf...)
	return func(next http.Handler) http.Handler { return s.guard(authorize, next) }
}

// Optional lets every request through to next. One with a good access token
// has it in its context; one with a bad token, or with none, is anonymous.
// If the storage could not be asked, the answer is 503.
func (s *Service) Optional(next http.Handler) http.Handler {
	return s.guard(s.AuthorizeOptional, next)
}

// An Authorizer decides about a request without writing an answer, for
// adapters to other frameworks. It returns the request whose context has the
// token, or the refusal to give to Refuse.
type Authorizer func(*http.Request) (*http.Request, *Refusal)

func (s *Service) guard(authorize Authorizer, next http.Handler) http.Handler {
	s.mustNotBeNil()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		authorized, refusal := authorize(r)
		if refusal != nil {
			s.Refuse(w, r, refusal)
			return
		}
		// The server removes the files of a form that it finds in its own r.
		defer func() { r.MultipartForm = authorized.MultipartForm }()
		next.ServeHTTP(w, authorized)
	})
}

// Authorize is the Authorizer of RequireBearer.
func (s *Service) Authorize(r *http.Request) (*http.Request, *Refusal) {
	authorized, refusal := s.authenticate(r)
	if refusal != nil {
		s.observeRefusal(r, refusal, nil)
	}
	return authorized, refusal
}

// RoleAuthorizer returns the Authorizer of RequireRole. It panics as that does.
func (s *Service) RoleAuthorizer(anyOf ...string) Authorizer {
	return s.authorizer("role", anyOf, missingRole, "The user does not have the role that this needs.", held.hasRole)
}

// ClientAuthorizer returns the Authorizer of RequireClient. It panics as that
// does.
func (s *Service) ClientAuthorizer(anyOf ...string) Authorizer {
	return s.authorizer("client", anyOf, func([]string, held) error { return errUnauthorizedClient }, "The access token was issued to a client that may not do this.", func(t held, anyOf []string) bool {
		return slices.Contains(anyOf, t.client())
	})
}

func (s *Service) authorizer(what string, anyOf []string, cause func([]string, held) error, otherwise string, has func(held, []string) bool) Authorizer {
	s.mustNotBeNil()
	if len(anyOf) == 0 {
		panic("tokenauth: a " + what + " is required, but none is given")
	}
	if slices.Contains(anyOf, "") {
		panic("tokenauth: a " + what + " that is required is empty")
	}
	anyOf = slices.Clone(anyOf)
	return func(r *http.Request) (*http.Request, *Refusal) {
		r, refusal := s.Authorize(r)
		if refusal != nil {
			return nil, refusal
		}
		if token := s.authorized(r.Context()).token; !has(token, anyOf) {
			refusal = &Refusal{
				Status:      http.StatusForbidden,
				Code:        codeInsufficientScope,
				Description: otherwise,
				Challenge:   s.challenges.insufficientScope,
				Err:         cause(anyOf, token),
			}
			s.observeRefusal(r, refusal, token)
			return nil, refusal
		}
		return r, nil
	}
}

// AuthorizeOptional is the Authorizer of Optional.
func (s *Service) AuthorizeOptional(r *http.Request) (*http.Request, *Refusal) {
	known, refusal := s.authenticate(r)
	if refusal == nil {
		return known, nil
	}
	if !errors.Is(refusal.Err, errNoCredentials) { // which is all right here
		s.observeRefusal(r, refusal, nil)
	}
	if refusal.Status >= http.StatusInternalServerError {
		return nil, refusal
	}
	if _, ok := FromContext(r.Context()); ok {
		// Another Service's guard let it through; here it is anonymous.
		r = r.WithContext(&authorized{r.Context(), s, nil})
	}
	return r, nil
}

// authenticate finds out who is calling. It tells nobody of a refusal.
func (s *Service) authenticate(r *http.Request) (*http.Request, *Refusal) {
	if a := s.authorized(r.Context()); a != nil {
		return r, nil
	}
	accessToken, refusal := s.bearer(r)
	if s.options.Fallback != nil && s.isForeign(accessToken, refusal) {
		return s.fallBack(r, refusal)
	}
	if refusal != nil {
		return nil, refusal
	}
	began := s.beginning()
	token, err := s.validateGuarded(r.Context(), accessToken)
	if err != nil {
		return nil, s.refusalOf(&tokenError{err, token, began})
	}
	if s.observed() {
		s.observeToken(r.Context(), &Event{Kind: EventValidated, Duration: time.Since(began)}, token)
	}
	return r.WithContext(&authorized{r.Context(), s, token}), nil
}

// beginning returns the time if anybody wants to hear how long something took.
func (s *Service) beginning() (began time.Time) {
	if s.observed() {
		began = time.Now()
	}
	return began
}

// A tokenError is why a token was refused, the token where it is known, and
// when it was begun to look at.
type tokenError struct {
	error
	token held // or nil
	began time.Time
}

func (e *tokenError) Unwrap() error { return e.error }

// observeRefusal tells of a request on a protected route that was refused, and
// of the token if it is known.
func (s *Service) observeRefusal(r *http.Request, f *Refusal, token held) {
	e := Event{Err: f.Err}
	e.Kind, e.Reason = reasonOf(f.Err, EventRefused)
	if withToken := (*tokenError)(nil); errors.As(f.Err, &withToken) {
		token = withToken.token
		if !withToken.began.IsZero() {
			e.Duration = time.Since(withToken.began)
		}
	}
	if !s.observed() && !s.securityLog.wants(r.Context(), &e) {
		return
	}
	e.RemoteAddr = clientAddr(r, s.options.TrustedProxies)
	s.observeToken(r.Context(), &e, token)
}

func (s *Service) observeToken(ctx context.Context, e *Event, t held) {
	if t != nil {
		t.describe(e)
	}
	s.observe(ctx, e)
}

// authorized returns what a guard of this very Service left in the context;
// another Service's word does not count here.
func (s *Service) authorized(ctx context.Context) *authorized {
	if a, ok := ctx.Value(authorizedKey{}).(*authorized); ok && a.service == s && a.token != nil {
		return a
	}
	return nil
}

const descriptionMalformed = "The request needs one Authorization header with one bearer token."

// bearer reads the Authorization header (RFC 6750 §2.1). The token is never
// looked for in the query, a form or a cookie; one in the query beside the
// header is a second way of sending it, which RFC 6750 §2 forbids.
func (s *Service) bearer(r *http.Request) (accessToken string, refusal *Refusal) {
	const scheme = "Bearer"
	lines := r.Header["Authorization"]
	if len(lines) == 0 || len(lines) == 1 && !hasPrefixFold(lines[0], scheme) {
		return "", s.noCredentials()
	}
	if len(lines) > 1 {
		return "", s.malformed()
	}
	rest := lines[0][len(scheme):]
	accessToken = strings.Trim(rest, " ")
	switch {
	case rest != "" && rest[0] != ' ' && rest[0] != '\t':
		return "", s.noCredentials() // another scheme that begins with the same letters
	case accessToken == "" || hasSeparator(accessToken):
		return "", s.malformed()
	case r.URL.RawQuery != "" && queryHas(r.URL.RawQuery, "access_token"):
		return "", s.malformed()
	}
	return accessToken, nil
}

// hasSeparator does what strings.ContainsAny would do in ten times the time.
func hasSeparator(s string) bool {
	return strings.IndexByte(s, ' ') >= 0 || strings.IndexByte(s, '\t') >= 0 || strings.IndexByte(s, ',') >= 0
}

func (s *Service) noCredentials() *Refusal {
	return &Refusal{Status: http.StatusUnauthorized, Challenge: s.challenges.none, Err: errNoCredentials}
}

func (s *Service) malformed() *Refusal {
	return &Refusal{
		Status:      http.StatusBadRequest,
		Code:        codeInvalidRequest,
		Description: descriptionMalformed,
		Challenge:   s.challenges.invalidRequest,
		Err:         errMalformed,
	}
}

// validateGuarded is validate with a panic of the host's storage or live check
// turned into an error. A panic of the handler behind the guard is the host's.
func (s *Service) validateGuarded(ctx context.Context, accessToken string) (t held, err error) {
	defer s.recovered(ctx, &err)
	return s.validate(ctx, accessToken)
}

// recovered is deferred around calls of the host's code. The stack goes to the
// log, and nothing of the request with it.
func (s *Service) recovered(ctx context.Context, err *error) {
	p := recover()
	if p == nil {
		return
	}
	if p == http.ErrAbortHandler {
		panic(p)
	}
	s.securityLog.panicked(ctx, culprit(), p)
	*err = errPanic
}

// messageDenied is the sentence that clients of ASP.NET Web API know.
const messageDenied = "Authorization has been denied for this request."

// Refuse writes the answer to a request on a protected route that an
// Authorizer refused: the headers that the protocol asks for, and a body as
// Options.RenderRefusal has it.
func (s *Service) Refuse(w http.ResponseWriter, r *http.Request, f *Refusal) {
	s.PrepareRefusal(w, r, f)
	if s.options.RenderRefusal != nil {
		s.options.RenderRefusal(w, r, f)
		return
	}
	var body jsonObject
	if f.Code != "" {
		body.text("error", f.Code)
		body.text("error_description", f.Description)
	}
	switch f.Status {
	case http.StatusUnauthorized, http.StatusForbidden:
		body.text("Message", messageDenied)
	default:
		body.text("Message", f.Description)
	}
	writeJSON(w, f.Status, body.done())
}

// PrepareRefusal does what Refuse does but for status and body: it sets the
// headers. It is for adapters that render in their own way.
func (s *Service) PrepareRefusal(w http.ResponseWriter, _ *http.Request, f *Refusal) {
	f.setHeaders(w.Header())
}
