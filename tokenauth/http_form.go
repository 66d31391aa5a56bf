package tokenauth

import (
	"errors"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/bearerkit/bearerkit/tokenauth/event"
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
			response := (*ErrorResponse)(nil)
			if !errors.As(err, &response) {
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
}

// readForm reads the body of a request, and the Basic authentication beside
// it, if there is any. The order of its checks is part of the contract: what
// is refused first is refused without looking further.
func (s *Service) readForm(w http.ResponseWriter, r *http.Request, rules *formRules) (body []byte, basic *userPass, err error) {
	// The deadline stays if the body is refused, for the server then reads on
	// for a while before it closes the connection. Once the body is read it
	// goes: the server watches for the client to leave, and hashing may take
	// longer. A middleware that hides the connection from
	// http.ResponseController leaves the server's own ReadTimeout.
	conn := http.NewResponseController(w)
	conn.SetReadDeadline(time.Now().Add(s.options.BodyTimeout))
	if !slices.Contains(rules.methods, r.Method) {
		refusal := early(http.StatusMethodNotAllowed, rules.wrongMethod)
		refusal.header = http.Header{"Allow": {strings.Join(rules.methods, ", ")}}
		return nil, nil, refusal
	}
	basic, ok := parseAuthorization(r.Header["Authorization"])
	if !ok {
		return nil, nil, early(http.StatusBadRequest, wire.AuthorizationMalformed)
	}
	if refusal := checkContentHeaders(r.Header, rules.wrongEncoding); refusal != nil {
		return nil, nil, refusal
	}
	switch query := r.URL.RawQuery; {
	case len(query) > maxQuery:
		// It is not looked at, and may have credentials: the answer to those is
		// 400, and so it is here, not 414 (RFC 9110 §15.5.15).
		return nil, nil, early(http.StatusBadRequest, wire.QueryTooLong)
	case queryHas(query, credentialNames...):
		return nil, nil, early(http.StatusBadRequest, wire.CredentialsInQuery)
	}
	body, err = s.readBody(r)
	if err != nil {
		return nil, nil, err
	}
	conn.SetReadDeadline(time.Time{})
	return body, basic, nil
}

// readBody reads at most maxBodySize bytes.
func (s *Service) readBody(r *http.Request) ([]byte, error) {
	if r.ContentLength > maxBodySize {
		return nil, early(http.StatusRequestEntityTooLarge, wire.BodyTooLarge)
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, maxBodySize+1))
	switch {
	case len(body) > maxBodySize:
		return nil, early(http.StatusRequestEntityTooLarge, wire.BodyTooLarge)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, early(http.StatusRequestTimeout, wire.BodyTooSlow)
	case err != nil:
		return nil, early(http.StatusBadRequest, wire.BodyUnreadable)
	}
	return body, nil
}
