package tokenauth

import (
	"context"
	"net/http"

	"github.com/bearerkit/bearerkit/tokenauth/internal/limiter"
)

// VerifyPassword stands in for the method that asks for the password again.
func (s *Service) VerifyPassword(ctx context.Context, c Credentials) (Principal, error) {
	a := s.newAttempt(&c)
	outcome := limiter.Undecided
	defer func() { a.settle(ctx, outcome) }()
	if err := a.admit(ctx); err != nil {
		return Principal{}, err
	}
	p, err := s.authenticateUser(ctx, c, a)
	if err != nil {
		outcome = limiter.Failed
	}
	return p, err
}

// RequestCredentials stands in for the method that describes the client.
func (s *Service) RequestCredentials(r *http.Request) Credentials {
	return Credentials{RemoteAddr: s.sourceOf(r), CrossSite: crossSite(r)}
}

// ErrorResponseOf stands in for the func that returns the response to an error.
func ErrorResponseOf(err error) *ErrorResponse { return new(Service).errorResponse(err) }
