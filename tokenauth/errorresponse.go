package tokenauth

import (
	"errors"
	"maps"
	"net/http"
	"strconv"

	"github.com/bearerkit/bearerkit/tokenauth/internal/request"
	"github.com/bearerkit/bearerkit/tokenauth/internal/wire"
)

// An ErrorResponse is an answer other than success, in the words of RFC 6749
// §5.2 and RFC 6750 §3.1. All of it but Err is constant or comes from the
// configuration, and anybody may see it.
type ErrorResponse struct {
	// Status is the HTTP status code, from 200 to 999; any other number means 500.
	Status int
	// Code is the "error" of the RFCs: "invalid_grant", "invalid_token", …; ""
	// for a request without credentials, which is told nothing more (RFC 6750
	// §3.1).
	Code string
	// Description is the "error_description", for people who read logs.
	Description string
	// Challenge is the WWW-Authenticate header; "" for none.
	Challenge string
	// RetryAfter is the Retry-After header in seconds; 0 for none.
	RetryAfter int
	// Err is the cause, for the host's log and for errors.Is. It is not for
	// the client.
	Err error

	header http.Header // more headers, or nil
	// early says that the body was not read to its end. The connection is then
	// closed, so that no byte of the body is taken for the next request.
	early bool
	// guarded says that the request was one of a protected route.
	guarded bool
	render  func(http.ResponseWriter, *http.Request, *ErrorResponse) // by Options.RenderError, or nil
}

// Error describes the response without its cause.
func (e *ErrorResponse) Error() string {
	if e == nil { // an Authorizer's, in place of no error
		return "tokenauth: no refusal"
	}
	if e.Code == "" {
		return "tokenauth: " + strconv.Itoa(e.Status) + " " + http.StatusText(e.Status)
	}
	return "tokenauth: " + strconv.Itoa(e.Status) + " " + e.Code + ": " + e.Description
}

// Unwrap returns Err.
func (e *ErrorResponse) Unwrap() error {
	if e == nil {
		return nil
	}
	return e.Err
}

// SetHeaders sets the headers that the protocol asks for, for a host that writes
// status and body itself. It does nothing without a header.
func (e *ErrorResponse) SetHeaders(h http.Header) {
	if h == nil {
		return
	}
	noStore(h)
	if e.guarded {
		varyByAuthorization(h, nil)
	}
	maps.Copy(h, e.header)
	if e.Challenge != "" {
		h.Set("WWW-Authenticate", e.Challenge)
	}
	if e.RetryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(e.RetryAfter))
	}
	if e.early || errors.Is(e.Err, errPanic) {
		h.Set("Connection", "close")
	}
}

// ServeHTTP writes the answer of a protected route: the headers, the status, and
// the body as clients of ASP.NET Web API know it. The response of an Authorizer
// has Options.RenderError write it instead, with one that does not.
func (e *ErrorResponse) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	e.SetHeaders(w.Header())
	if e.render != nil {
		plain := *e
		plain.render = nil // RenderError may call ServeHTTP for what it does not render
		e.render(w, request.Complete(r), &plain)
		return
	}
	var body jsonObject
	if e.Code != "" {
		body.text("error", e.Code)
		body.text("error_description", e.Description)
	}
	switch e.Status {
	case http.StatusUnauthorized, http.StatusForbidden:
		body.text("Message", wire.Denied)
	default:
		body.text("Message", e.Description)
	}
	writeJSON(w, e.status(), body.done())
}

// status returns a status that can be written, and that ends the answer.
func (e *ErrorResponse) status() int {
	if e.Status < 200 || e.Status > 999 {
		return http.StatusInternalServerError
	}
	return e.Status
}

// writeForm writes the answer of an endpoint (RFC 6749 §5.2).
func (e *ErrorResponse) writeForm(w http.ResponseWriter) {
	e.SetHeaders(w.Header())
	var body jsonObject
	body.text("error", e.Code)
	body.text("error_description", e.Description)
	writeJSON(w, e.status(), body.done())
}

// noStore keeps answers out of every cache (RFC 6749 §5.1).
func noStore(h http.Header) {
	h.Set("Cache-Control", "no-store")
	h.Set("Pragma", "no-cache")
	h.Set("X-Content-Type-Options", "nosniff")
}

// writeJSON writes a body made by jsonObject.
func writeJSON(w http.ResponseWriter, status int, body []byte) {
	h := w.Header()
	h.Set("Content-Type", "application/json;charset=UTF-8") // as Katana spells it
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	w.Write(body)
}

// invalidRequest is the response to a request that breaks the protocol.
func invalidRequest(status int, description string) *ErrorResponse {
	return &ErrorResponse{Status: status, Code: wire.InvalidRequest, Description: description, Err: errMalformed}
}

// early is invalidRequest before the body was read to its end.
func early(status int, description string) *ErrorResponse {
	e := invalidRequest(status, description)
	e.early = true
	return e
}

// unauthorizedClient is the response to a client that may not do this.
func unauthorizedClient(description string) *ErrorResponse {
	return &ErrorResponse{Status: http.StatusBadRequest, Code: wire.UnauthorizedClient, Description: description, Err: errUnauthorizedClient}
}

// challenges are the WWW-Authenticate headers of a realm, made once.
type challenges struct {
	none, malformed, invalid, expired, replaced, insufficientScope string

	basic string // of a client
}

func newChallenges(realm string) challenges {
	return challenges{
		none:              wire.BearerChallenge(realm, "", ""),
		malformed:         wire.BearerChallenge(realm, wire.InvalidRequest, wire.BearerMalformed),
		invalid:           wire.BearerChallenge(realm, wire.InvalidToken, wire.TokenInvalid),
		expired:           wire.BearerChallenge(realm, wire.InvalidToken, wire.TokenExpired),
		replaced:          wire.BearerChallenge(realm, wire.InvalidToken, wire.TokenReplaced),
		insufficientScope: wire.BearerChallenge(realm, wire.InsufficientScope, ""),
		basic:             wire.BasicChallenge(realm),
	}
}
