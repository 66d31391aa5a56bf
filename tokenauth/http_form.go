package tokenauth

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"
)

// formHandler returns the handler of an endpoint that takes a form. Answer
// returns the body of the 200, or why there is none.
func (s *Service) formHandler(answer func(http.ResponseWriter, *http.Request) ([]byte, error)) http.Handler {
	s.mustNotBeNil()
	recovering := func(w http.ResponseWriter, r *http.Request) (body []byte, err error) {
		defer s.recovered(r.Context(), &err)
		return answer(w, r)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if len(r.TransferEncoding) > 0 {
			// There may have been a Content-Length, too. The server goes by
			// the chunks and does not tell; somebody before it may have gone
			// by the length, and take what follows for another request
			// (RFC 9112 §6.1).
			w.Header().Set("Connection", "close")
		}
		body, err := recovering(w, r)
		if errors.Is(err, errPanic) {
			s.observeUnread(r, EventUnavailable, err)
		}
		if err != nil {
			s.refuseForm(w, err)
			return
		}
		noStore(w.Header())
		writeJSON(w, http.StatusOK, body)
	})
}

// A requestRefusal is a Refusal that was made before the body was read to its
// end. The connection is closed after it, so that no byte of the body is ever
// taken for the next request.
type requestRefusal struct {
	*Refusal
	header http.Header // further headers, or nil
}

func (s *Service) refuseForm(w http.ResponseWriter, err error) {
	var refusal *Refusal
	if early := (*requestRefusal)(nil); errors.As(err, &early) {
		refusal = early.Refusal
		w.Header().Set("Connection", "close")
		for name, values := range early.header {
			w.Header()[name] = values
		}
	} else if !errors.As(err, &refusal) {
		refusal = s.refusalOf(err)
	}
	refusal.setHeaders(w.Header())
	var body jsonObject
	body.text("error", refusal.Code)
	body.text("error_description", refusal.Description)
	writeJSON(w, refusal.Status, body.done())
}

// observeUnread tells of a request of which no method of the Service told: it
// was refused before any was called, or one of them panicked.
func (s *Service) observeUnread(r *http.Request, refused EventKind, err error) error {
	e := Event{RemoteAddr: clientAddr(r, s.options.TrustedProxies), Err: err}
	e.Kind, e.Reason = reasonOf(err, refused)
	s.observe(r.Context(), &e)
	return err
}

// formRules are what is particular to an endpoint that takes a form.
type formRules struct {
	methods       []string
	wrongMethod   string // descriptions
	wrongEncoding string
}

const (
	maxBodySize   = 8 << 10
	maxParameters = 32
)

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
		return nil, nil, &requestRefusal{
			invalidRequest(http.StatusMethodNotAllowed, rules.wrongMethod),
			http.Header{"Allow": {strings.Join(rules.methods, ", ")}},
		}
	}
	basic, ok := parseAuthorization(r.Header["Authorization"])
	if !ok {
		return nil, nil, early(http.StatusBadRequest, "The Authorization header is malformed, or there are several.")
	}
	if refusal := checkContentHeaders(r.Header, rules.wrongEncoding); refusal != nil {
		return nil, nil, refusal
	}
	for _, name := range credentialNames {
		if queryHas(r.URL.RawQuery, name) {
			return nil, nil, early(http.StatusBadRequest, "Credentials belong in the body, never in the query.")
		}
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
		return nil, early(http.StatusRequestEntityTooLarge, descriptionTooLarge)
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, maxBodySize+1))
	switch {
	case len(body) > maxBodySize:
		return nil, early(http.StatusRequestEntityTooLarge, descriptionTooLarge)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, early(http.StatusRequestTimeout, "The body took too long to arrive.")
	case err != nil:
		return nil, early(http.StatusBadRequest, "The body could not be read.")
	}
	return body, nil
}

const descriptionTooLarge = "The body has more than 8192 bytes."

// readClient authenticates the client of a request, which says who it is by
// Basic authentication or in the body, and not by both (RFC 6749 §2.3). It
// returns a Refusal, with a challenge if that is asked for (§5.2), or
// ErrUnavailable.
func (s *Service) readClient(ctx context.Context, inBody clientCredentials, basic *userPass, challenge bool) (*Client, error) {
	readings := []clientCredentials{inBody}
	if basic != nil {
		readings = basic.readings()
		named := slices.ContainsFunc(readings, func(reading clientCredentials) bool { return reading.id == inBody.id })
		if inBody.secret.Reveal() != "" || inBody.id != "" && !named {
			return nil, invalidRequest(http.StatusBadRequest, "The client is named by Basic authentication or in the body, not by both.")
		}
	}
	c, err := s.authenticateClient(ctx, readings...)
	if errors.Is(err, ErrInvalidClient) {
		if challenge {
			return nil, s.challengeClient()
		}
		return nil, s.refusalOf(err)
	}
	return c, err
}

// challengeClient is the refusal of a client that is asked to authenticate.
func (s *Service) challengeClient() *Refusal {
	refusal := s.refusalOf(ErrInvalidClient)
	refusal.Status, refusal.Challenge = http.StatusUnauthorized, s.challenges.basic
	return refusal
}

func invalidRequest(status int, description string) *Refusal {
	return &Refusal{Status: status, Code: codeInvalidRequest, Description: description, Err: errMalformed}
}

func early(status int, description string) error {
	return &requestRefusal{invalidRequest(status, description), nil}
}
