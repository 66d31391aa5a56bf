package tokenauth

import (
	"context"
	"errors"

	"github.com/bearerkit/bearerkit/tokenauth/internal/limiter"
)

// newAttempt returns the sign-in as the throttle counts it.
func (s *Service) newAttempt(c *Credentials) *limiter.Attempt {
	defer calling("the authenticator")
	return s.limiter.Attempt(normalize(s.authenticator, c.UserName), c.RemoteAddr)
}

// begin counts the attempt, or returns a ThrottledError.
func (s *Service) begin(ctx context.Context, a *limiter.Attempt) error {
	defer calling("the storage")
	err := a.Begin(ctx)
	if blocked := (*limiter.BlockedError)(nil); errors.As(err, &blocked) {
		return &ThrottledError{RetryAfter: blocked.For}
	}
	if err != nil {
		return unavailable("throttling", err)
	}
	return nil
}

func (s *Service) settle(ctx context.Context, a *limiter.Attempt, o limiter.Outcome) {
	defer calling("the storage")
	a.Settle(ctx, o)
}

// Unthrottle resets the failed sign-ins of an account, after its user was helped.
// The sources that failed stay throttled. It returns ErrUnavailable if the
// storage in which replicas count together failed.
func (s *Service) Unthrottle(ctx context.Context, userName string) error {
	if s.limiter == nil {
		return nil
	}
	if err := s.limiter.Forget(ctx, normalize(s.authenticator, userName)); err != nil {
		return unavailable("throttling", err)
	}
	return nil
}
