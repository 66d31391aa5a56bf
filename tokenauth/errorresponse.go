package tokenauth

import (
	"errors"
	"maps"
	"net/http"
	"strconv"

	"github.com/bearerkit/bearerkit/tokenauth/internal/request"
	"github.com/bearerkit/bearerkit/tokenauth/internal/wire"
)

// An ErrorResponse is an HTTP error response, in the format of RFC 6749 §5.2
// and RFC 6750 §3.1. [Service.Authorizer] returns it for a refused request, and
// [Options.RenderError] receives it.
//
// All fields except Err are constants, or come from the configuration or a
// [Rejection], so they are safe to send to any client.
type ErrorResponse struct {
	// Status is the HTTP status code, from 200 to 999; any other number means
	// 500.
	Status int
	// Code is the value of "error" in the RFCs, such as "invalid_grant" or
	// "invalid_token". It is "" for a request without credentials (RFC 6750
	// §3.1).
	Code string
	// Description is the value of "error_description", for developers who read
	// logs. It is not meant for users. It is "" if Code is.
	Description string
	// Challenge is the value of the WWW-Authenticate header; "" means none.
	Challenge string
	// RetryAfter is the value of the Retry-After header in seconds; 0 means
	// none.
	RetryAfter int
	// Err is the cause, for the host's log and for [errors.Is]. Do not send it
	// to the client.
	Err error

	header http.Header // additional headers, or nil
	// early is set if the body was not read to its end. The server then closes
	// the connection, so that the rest of the body is not mistaken for the next
	// request.
	early bool
	vary  string // headers for Vary, for a request on a protected route; or empty
	// reported is set if the log and the observers have the refusal already,
	// from an earlier guard of the same request.
	reported bool
	render   func(http.ResponseWriter, *http.Request, *ErrorResponse) // calls Options.RenderError; or nil
}

// Error returns the status, Code and Description, without the cause.
func (e *ErrorResponse) Error() string {
	if e == nil { // an Authorizer returns nil for an accepted request
		return "tokenauth: no error"
	}
	if e.Code == "" {
		return "tokenauth: " + strconv.Itoa(e.Status) + " " + http.StatusText(e.Status)
	}
	return "tokenauth: " + strconv.Itoa(e.Status) + " " + e.Code + ": " + e.Description
}

// Unwrap returns [ErrorResponse.Err].
func (e *ErrorResponse) Unwrap() error {
	if e == nil {
		return nil
	}
	return e.Err
}

// SetHeaders sets the headers that the protocol requires, such as
// Cache-Control, Vary, WWW-Authenticate and Retry-After. It is for a host that
// writes the status and the body itself. A host that answers with a status
// below 400 deletes WWW-Authenticate and Retry-After. [Options.RenderError] need
// not delete them. SetHeaders does nothing if h is nil.
func (e *ErrorResponse) SetHeaders(h http.Header) {
	if h == nil {
		return
	}
	noStore(h)
	varyBy(h, e.vary, nil)
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

// ServeHTTP writes the response of a protected route: the headers of
// [ErrorResponse.SetHeaders], the status, and a JSON body in the format of
// ASP.NET Web API. If the response comes from [Service.Authorizer] and
// [Options.RenderError] is set, RenderError writes the status and the body.
func (e *ErrorResponse) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	e.SetHeaders(w.Header())
	if e.render != nil {
		plain := *e
		plain.render = nil // RenderError may call ServeHTTP for the default body
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

// status returns Status, or 500 if Status is not a final status
// ([ErrorResponse.Status]).
func (e *ErrorResponse) status() int {
	if e.Status < 200 || e.Status > 999 {
		return http.StatusInternalServerError
	}
	return e.Status
}

// writeForm writes the response of an endpoint that takes a form (RFC 6749
// §5.2).
func (e *ErrorResponse) writeForm(w http.ResponseWriter) {
	e.SetHeaders(w.Header())
	var body jsonObject
	body.text("error", e.Code)
	body.text("error_description", e.Description)
	writeJSON(w, e.status(), body.done())
}

// noStore prevents every cache from storing the response (RFC 6749 §5.1).
func noStore(h http.Header) {
	h.Set("Cache-Control", "no-store")
	h.Set("Pragma", "no-cache")
	h.Set("X-Content-Type-Options", "nosniff")
}

// writeJSON writes a response with the status and a body that a jsonObject
// built.
func writeJSON(w http.ResponseWriter, status int, body []byte) {
	h := w.Header()
	h.Set("Content-Type", "application/json;charset=UTF-8") // the spelling of ASP.NET Katana
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	w.Write(body)
}

// invalidRequest returns the response to a request that breaks the protocol.
func invalidRequest(status int, description string) *ErrorResponse {
	return &ErrorResponse{Status: status, Code: wire.InvalidRequest, Description: description, Err: errMalformed}
}

// early returns the same response as invalidRequest, and sets its early field.
// It is for a request whose body was not read to its end.
func early(status int, description string) *ErrorResponse {
	e := invalidRequest(status, description)
	e.early = true
	return e
}

// unauthorizedClient returns the response to a client that may not make the
// request.
func unauthorizedClient(description string) *ErrorResponse {
	return &ErrorResponse{Status: http.StatusBadRequest, Code: wire.UnauthorizedClient, Description: description, Err: errUnauthorizedClient}
}

// challenges are the WWW-Authenticate values for a realm. They are built only
// once, because they are the same for all requests.
type challenges struct {
	none, malformed, invalid, expired, replaced, insufficientScope string

	malformedText string // the error_description in malformed
	replacedText  string // the error_description in replaced; empty means wire.TokenReplaced
	basic         string // for a client that must authenticate
}

// newChallenges returns the values for a Service, which has places if [Options.Places] is
// set, and refreshes if [Options.Refresh] is set.
func newChallenges(realm string, places, refreshes bool) challenges {
	malformed, replaced := wire.BearerMalformed, wire.TokenReplaced
	if places {
		malformed = wire.TokenTwice
	}
	if refreshes {
		replaced = wire.TokenSucceeded // a refresh is not a sign-in
	}
	return challenges{
		none:              wire.BearerChallenge(realm, "", ""),
		malformed:         wire.BearerChallenge(realm, wire.InvalidRequest, malformed),
		malformedText:     malformed,
		invalid:           wire.BearerChallenge(realm, wire.InvalidToken, wire.TokenInvalid),
		expired:           wire.BearerChallenge(realm, wire.InvalidToken, wire.TokenExpired),
		replaced:          wire.BearerChallenge(realm, wire.InvalidToken, replaced),
		replacedText:      replaced,
		insufficientScope: wire.BearerChallenge(realm, wire.InsufficientScope, ""),
		basic:             wire.BasicChallenge(realm),
	}
}
