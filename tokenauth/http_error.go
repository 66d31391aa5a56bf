package tokenauth

import (
	"cmp"
	"errors"
	"net/http"
	"time"

	"github.com/bearerkit/bearerkit/tokenauth/internal/limiter"
	"github.com/bearerkit/bearerkit/tokenauth/internal/wire"
)

// ErrorResponseOf returns the response of the token endpoint to an error of
// [Service.SignIn]. It is for a login handler of the host that writes its own
// bodies:
//
//	e := tokenauth.ErrorResponseOf(err)
//	e.SetHeaders(w.Header())
//	w.WriteHeader(e.Status)
//
// It also accepts the errors of other methods of a [Service], such as
// [Service.Issue] and [Service.Extend]. The response has no Challenge, because
// the error does not tell the realm. Any other error becomes a 503. If err is
// an *ErrorResponse, ErrorResponseOf returns it. If err wraps one, it returns a
// copy whose Err is err. If err is nil, it returns nil.
func ErrorResponseOf(err error) *ErrorResponse {
	if err == nil {
		return nil
	}
	if e, ok := err.(*ErrorResponse); ok {
		return e
	}
	if wrapped := (*ErrorResponse)(nil); errors.As(err, &wrapped) && wrapped != nil {
		e := *wrapped
		e.Err = err
		return &e
	}
	return new(challenges).errorResponse(err)
}

// retryAfter is the Retry-After of a 503 in seconds. It is long enough that
// retries add little load, and short enough for a user who is waiting.
const retryAfter = 2

// retryAfterThrottled returns the Retry-After of a [ThrottledError] in whole
// seconds, from 1 second to an hour. For any other error it returns retryAfter.
func retryAfterThrottled(err error) int {
	var throttled *ThrottledError
	if !errors.As(err, &throttled) {
		return retryAfter
	}
	seconds := (throttled.RetryAfter + time.Second - 1) / time.Second
	return int(min(max(1, seconds), limiter.MaxWait/time.Second))
}

// errorResponse returns the HTTP response to an error of the Service.
func (s *Service) errorResponse(err error) *ErrorResponse { return s.challenges.errorResponse(err) }

// errorResponse returns the HTTP response to an error of a [Service]. An
// unknown error becomes a 503, since it leaves open whether the credentials are
// valid.
func (c *challenges) errorResponse(err error) *ErrorResponse {
	unauthorized := func(description, challenge string) *ErrorResponse {
		return &ErrorResponse{Status: http.StatusUnauthorized, Code: wire.InvalidToken, Description: description, Challenge: challenge, Err: err}
	}
	reason, refresh := (*Rejection)(nil), (*refreshTokenError)(nil)
	switch {
	case errors.As(err, &reason) && reason.check() == nil:
		return &ErrorResponse{Status: http.StatusBadRequest, Code: reason.code(), Description: reason.Description, Err: err}
	case errors.As(err, &refresh):
		return &ErrorResponse{Status: http.StatusBadRequest, Code: wire.InvalidGrant, Description: wire.RejectedRefresh, Err: err}
	case errors.Is(err, ErrRejected):
		return &ErrorResponse{Status: http.StatusBadRequest, Code: wire.InvalidGrant, Description: wire.RejectedCredentials, Err: err}
	case errors.Is(err, ErrInvalidClient):
		return &ErrorResponse{Status: http.StatusBadRequest, Code: wire.InvalidClient, Description: wire.RejectedClient, Err: err}
	case errors.Is(err, ErrThrottled):
		return &ErrorResponse{
			Status:      http.StatusTooManyRequests,
			Code:        wire.TemporarilyUnavailable,
			Description: wire.Throttled,
			RetryAfter:  retryAfterThrottled(err),
			Err:         err,
		}
	case errors.Is(err, ErrTooManyKeys):
		return &ErrorResponse{Status: http.StatusBadRequest, Code: wire.InvalidRequest, Description: wire.TooManyKeys, Err: err}
	case errors.Is(err, ErrExpiredToken):
		return unauthorized(wire.TokenExpired, c.expired)
	case errors.Is(err, ErrReplacedToken):
		return unauthorized(cmp.Or(c.replacedText, wire.TokenReplaced), c.replaced)
	case errors.Is(err, ErrInvalidToken):
		return unauthorized(wire.TokenInvalid, c.invalid)
	case errors.Is(err, errPanic), errors.Is(err, ErrInvalidPrincipal):
		return &ErrorResponse{Status: http.StatusInternalServerError, Code: wire.ServerError, Description: wire.Unexpected, Err: err}
	}
	return &ErrorResponse{
		Status:      http.StatusServiceUnavailable,
		Code:        wire.TemporarilyUnavailable,
		Description: wire.Unavailable,
		RetryAfter:  retryAfter,
		Err:         err,
	}
}

// challengeClient returns the 401 response to a client whose Basic
// authentication failed.
func (s *Service) challengeClient() *ErrorResponse {
	e := s.errorResponse(ErrInvalidClient)
	e.Status, e.Challenge = http.StatusUnauthorized, s.challenges.basic
	return e
}
