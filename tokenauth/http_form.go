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

// formHandler returns the handler of an endpoint that takes a form. The
// argument answer is a func that returns the body of a 200 response, or an
// error.
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
			// ignores. A proxy that trusts the Content-Length may mistake the
			// rest of the body for another request (RFC 9112 §6.1), so close
			// the connection.
			w.Header().Set("Connection", "close")
		}
		body, err := recovering(w, r)
		if errors.Is(err, errPanic) {
			s.observeUnread(r, event.Unavailable, err)
		}
		if err != nil {
			response, ok := err.(*ErrorResponse) // a wrapped ErrorResponse comes from another Service
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

// observeUnread reports a request that no [Service] method has reported. Either
// the request was refused before any such method was called, or that method
// panicked. observeUnread returns err.
func (s *Service) observeUnread(r *http.Request, refused event.Kind, err error) error {
	e := Event{RemoteAddr: clientAddr(r, &s.options)}
	e.setError(err, refused)
	s.observe(r.Context(), &e)
	return err
}

// formRules are the rules that differ between the endpoints that take a form.
type formRules struct {
	methods       []string
	wrongMethod   string   // error_description for any other method
	wrongEncoding string   // error_description for a body that is not form-urlencoded
	required      string   // the parameter that each form must have
	known         []string // the parameters that may occur once
}

// A formRequest is a parsed request to an endpoint.
type formRequest struct {
	form          map[string]string // the known parameters
	authorization string            // the header; may be ""
	client        *userPass         // Basic authentication; nil without it, or without a client registry
	cut           bool              // the form is shorter than the Content-Length
}

// readForm reads a request. The order of its checks is part of the HTTP
// contract: the first failed check decides the response.
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
			s.securityLog.bodyGone(r.Context()) // the response itself only says that the client is unknown
		}
		return f, nil
	}
	switch {
	case body.cut:
		return nil, s.bodyGone(r)
	case body.looksLikeJSON():
		// A JSON body breaks other rules, too, but its sender most needs to
		// know that the encoding is wrong.
		return nil, invalidRequest(http.StatusBadRequest, rules.wrongEncoding)
	case refusal != nil:
		return nil, refusal
	}
	return f, nil // the endpoint reports the missing parameter
}

// missing returns the error response for a form that lacks a required
// parameter. If the host's code has read part of the body, the response says so
// instead, because the parameter may have been in that part.
func (f *formRequest) missing(s *Service, r *http.Request, description string) *ErrorResponse {
	if f.cut {
		return s.bodyGone(r)
	}
	return invalidRequest(http.StatusBadRequest, description)
}

// readHead checks everything except the body. With a client registry, it also
// parses the client's Basic authentication. Without a registry, Basic
// authentication may carry the user's name and password instead. If the body
// has neither, readCredentials parses the header.
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
		// A query that is too long is not parsed, so it may have credentials.
		// The status for credentials in the query is 400, so the status here is
		// also 400, not 414 (RFC 9110 §15.5.15).
		return early(http.StatusBadRequest, wire.QueryTooLong)
	case queryHas(query, credentialNames...), queryHas(query, inLowerCase(s.options.Parameters)...),
		queryHas(query, s.options.Refresh.parameters()...):
		return early(http.StatusBadRequest, wire.CredentialsInQuery)
	}
	return nil
}
