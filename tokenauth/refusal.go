package tokenauth

import (
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// A Refusal is an answer of the server other than success, in the words of
// RFC 6749 §5.2 and RFC 6750 §3.1. Everything in it but Err is a constant or
// comes from the configuration, and may be shown to anybody.
type Refusal struct {
	// Status is the HTTP status code.
	Status int
	// Code is the "error" of the RFCs: "invalid_grant", "invalid_token", …; ""
	// for a request without credentials, which is to be told no more than
	// that (RFC 6750 §3.1).
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
}

// Error describes the refusal without its cause.
func (f *Refusal) Error() string {
	if f.Code == "" {
		return "tokenauth: " + strconv.Itoa(f.Status) + " " + http.StatusText(f.Status)
	}
	return "tokenauth: " + strconv.Itoa(f.Status) + " " + f.Code + ": " + f.Description
}

// Unwrap returns Err.
func (f *Refusal) Unwrap() error { return f.Err }

// The codes of RFC 6749 §5.2 and §4.1.2.1, and of RFC 6750 §3.1.
const (
	codeInvalidRequest         = "invalid_request"
	codeInvalidClient          = "invalid_client"
	codeUnauthorizedClient     = "unauthorized_client"
	codeInvalidGrant           = "invalid_grant"
	codeUnsupportedGrantType   = "unsupported_grant_type"
	codeTemporarilyUnavailable = "temporarily_unavailable"
	codeServerError            = "server_error"
	codeInvalidToken           = "invalid_token"
	codeInsufficientScope      = "insufficient_scope"
)

// retryAfter is in seconds: long enough to not add to the load, short enough
// for a person who waits.
const retryAfter = 2

// retryAfterThrottled is in whole seconds, from 1 to an hour.
func retryAfterThrottled(err error) int {
	var throttled *ThrottledError
	if !errors.As(err, &throttled) {
		return retryAfter
	}
	seconds := (throttled.RetryAfter + time.Second - 1) / time.Second
	return int(min(max(1, seconds), maxRetryAfter/time.Second))
}

// errPanic is the cause of the refusal that a panic in the host's code becomes.
var errPanic = errors.New("tokenauth: panic")

// refusalOf is the one place where an error of the Service becomes an answer.
// What it does not know is a 503: it says nothing about the credentials.
func (s *Service) refusalOf(err error) *Refusal {
	bearer := func(status int, code, description, challenge string) *Refusal {
		return &Refusal{Status: status, Code: code, Description: description, Challenge: challenge, Err: err}
	}
	switch {
	case errors.Is(err, ErrRejected):
		return &Refusal{Status: http.StatusBadRequest, Code: codeInvalidGrant, Description: "The user name or password is incorrect.", Err: err}
	case errors.Is(err, ErrInvalidClient):
		return &Refusal{Status: http.StatusBadRequest, Code: codeInvalidClient, Description: "The client is unknown, or its secret is wrong.", Err: err}
	case errors.Is(err, ErrThrottled):
		return &Refusal{
			Status:      http.StatusTooManyRequests,
			Code:        codeTemporarilyUnavailable,
			Description: "Too many failed sign-ins. Try again later.",
			RetryAfter:  retryAfterThrottled(err),
			Err:         err,
		}
	case errors.Is(err, ErrExpiredToken):
		return bearer(http.StatusUnauthorized, codeInvalidToken, descriptionExpired, s.challenges.expired)
	case errors.Is(err, ErrReplacedToken):
		return bearer(http.StatusUnauthorized, codeInvalidToken, descriptionReplaced, s.challenges.replaced)
	case errors.Is(err, ErrInvalidToken):
		return bearer(http.StatusUnauthorized, codeInvalidToken, descriptionInvalid, s.challenges.invalid)
	case errors.Is(err, errPanic), errors.Is(err, ErrInvalidPrincipal):
		return &Refusal{Status: http.StatusInternalServerError, Code: codeServerError, Description: "The server met an unexpected condition.", Err: err}
	}
	return &Refusal{
		Status:      http.StatusServiceUnavailable,
		Code:        codeTemporarilyUnavailable,
		Description: "The server is temporarily unable to handle the request. Try again later.",
		RetryAfter:  retryAfter,
		Err:         err,
	}
}

// The three reasons why a token is refused (RFC 6750 §3.1, invalid_token).
const (
	descriptionInvalid  = "The access token is invalid."
	descriptionExpired  = "The access token has expired."
	descriptionReplaced = "The access token was replaced by a newer sign-in."
)

// challenges are the WWW-Authenticate headers of a realm, made once.
type challenges struct {
	none, invalidRequest, invalid, expired, replaced, insufficientScope string

	basic string // of a client (RFC 7617 §2.1)
}

func newChallenges(realm string) challenges {
	bearer := `Bearer realm="` + realm + `"`
	refused := func(code, description string) string {
		return bearer + `, error="` + code + `", error_description="` + description + `"`
	}
	return challenges{
		none:              bearer,
		invalidRequest:    refused(codeInvalidRequest, descriptionMalformed),
		invalid:           refused(codeInvalidToken, descriptionInvalid),
		expired:           refused(codeInvalidToken, descriptionExpired),
		replaced:          refused(codeInvalidToken, descriptionReplaced),
		insufficientScope: bearer + `, error="` + codeInsufficientScope + `"`,
		basic:             `Basic realm="` + realm + `", charset="UTF-8"`,
	}
}

// setHeaders sets what every refusal has, whoever writes its body.
func (f *Refusal) setHeaders(h http.Header) {
	noStore(h)
	if f.Challenge != "" {
		h.Set("WWW-Authenticate", f.Challenge)
	}
	if f.RetryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(f.RetryAfter))
	}
	if errors.Is(f.Err, errPanic) {
		h.Set("Connection", "close")
	}
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
	// Spelled as Katana does.
	h.Set("Content-Type", "application/json;charset=UTF-8")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	w.Write(body)
}

// hasPrefixFold is strings.HasPrefix with ASCII letters in any case.
func hasPrefixFold(s, prefix string) bool {
	return len(s) >= len(prefix) && (s[:len(prefix)] == prefix || strings.EqualFold(s[:len(prefix)], prefix))
}
