package tokenauth

import (
	"errors"
	"net/http"
	"slices"
	"strings"

	"github.com/bearerkit/bearerkit/tokenauth/event"
	"github.com/bearerkit/bearerkit/tokenauth/internal/request"
	"github.com/bearerkit/bearerkit/tokenauth/internal/wire"
)

// formHandler returns the handler of an endpoint that takes a form. Answer
// returns the body of the 200, or the error.
func (s *Service) formHandler(answer func(http.ResponseWriter, *http.Request) ([]byte, error)) http.Handler {
	s.mustNotBeNil()
	recovering := func(w http.ResponseWriter, r *http.Request) (body []byte, err error) {
		defer s.recovered(r.Context(), &err)
		return answer(w, r)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r = request.Complete(r)
		if len(r.TransferEncoding) > 0 {
			// The request may also have a Content-Length, which the server
			// ignores. A proxy that went by it takes what follows for another
			// request (RFC 9112 §6.1).
			w.Header().Set("Connection", "close")
		}
		body, err := recovering(w, r)
		if errors.Is(err, errPanic) {
			s.observeUnread(r, event.Unavailable, err)
		}
		if err != nil {
			response, ok := err.(*ErrorResponse) // one that an error wraps is another Service's
			if !ok {
				response = s.errorResponse(err)
			}
			response.writeForm(w)
			return
		}
		noStore(w.Header())
		writeJSON(w, http.StatusOK, body)
	})
}

// observeUnread reports a request that no method of the Service reported: it was
// refused before one was called, or one of them panicked.
func (s *Service) observeUnread(r *http.Request, refused event.Kind, err error) error {
	e := Event{RemoteAddr: clientAddr(r, &s.options)}
	e.setError(err, refused)
	s.observe(r.Context(), &e)
	return err
}

// formRules are what is particular to an endpoint that takes a form.
type formRules struct {
	methods       []string
	wrongMethod   string // descriptions
	wrongEncoding string
	required      string   // the parameter that each form of this endpoint has
	known         []string // the parameters that must not be doubled
}

// A formRequest is what an endpoint was sent.
type formRequest struct {
	form          map[string]string // the known parameters
	authorization string            // the line, or ""
	client        *userPass         // from that, with a registry of clients
	cut           bool              // the form is not all that was sent
}

// readForm reads a request. The order of its checks is part of the contract: what
// is refused first is refused without looking further.
func (s *Service) readForm(w http.ResponseWriter, r *http.Request, rules *formRules) (*formRequest, error) {
	f, body := new(formRequest), formBody{}
	refusal := s.readHead(f, r, rules)
	if refusal == nil {
		body, refusal = s.readBody(w, r)
	}
	if refusal != nil {
		if refusal.early && refusal.Status != http.StatusRequestTimeout {
			s.limitUnread(w, r)
		}
		return nil, refusal
	}
	f.cut = body.cut
	if f.form, refusal = body.parameters(rules.known); refusal == nil && f.form[rules.required] != "" {
		if f.cut && s.options.Clients != nil && f.client == nil && f.form["client_id"] == "" {
			s.securityLog.bodyGone(r.Context()) // the answer is that of an unknown client
		}
		return f, nil
	}
	switch {
	case body.cut:
		return nil, s.bodyGone(r)
	case body.looksLikeJSON():
		// It may break any of the rules, and its sender needs to hear which it did
		// not know of.
		return nil, invalidRequest(http.StatusBadRequest, rules.wrongEncoding)
	case refusal != nil:
		return nil, refusal
	}
	return f, nil // which parameter is missing is the endpoint's to say
}

// missing is the response to a form without a parameter that its endpoint needs.
// The host's code may have taken the part of the body that has it.
func (f *formRequest) missing(s *Service, r *http.Request, description string) *ErrorResponse {
	if f.cut {
		return s.bodyGone(r)
	}
	return invalidRequest(http.StatusBadRequest, description)
}

// readHead checks all but the body, and reads the Basic authentication of the
// client, if there is any. Without a registry of clients Basic may be the user's.
// Then the body decides whether it is read (readCredentials).
func (s *Service) readHead(f *formRequest, r *http.Request, rules *formRules) *ErrorResponse {
	if !slices.Contains(rules.methods, r.Method) {
		refusal := early(http.StatusMethodNotAllowed, rules.wrongMethod)
		refusal.header = http.Header{"Allow": {strings.Join(rules.methods, ", ")}}
		return refusal
	}
	lines := r.Header["Authorization"]
	if len(lines) > 0 {
		f.authorization = lines[0]
	}
	wellFormed := len(lines) <= 1
	if wellFormed && s.options.Clients != nil {
		f.client, wellFormed = parseBasic(f.authorization)
	}
	if !wellFormed {
		return early(http.StatusBadRequest, wire.AuthorizationMalformed)
	}
	if refusal := checkContentHeaders(r.Header, rules.wrongEncoding); refusal != nil {
		return refusal
	}
	if hasMultipart(r) {
		return early(http.StatusBadRequest, rules.wrongEncoding)
	}
	switch query := r.URL.RawQuery; {
	case len(query) > maxQuery:
		// It is not looked at, and may have credentials: the answer to those is
		// 400, and so it is here, not 414 (RFC 9110 §15.5.15).
		return early(http.StatusBadRequest, wire.QueryTooLong)
	case queryHas(query, credentialNames...):
		return early(http.StatusBadRequest, wire.CredentialsInQuery)
	}
	return nil
}
