package tokenauth

import (
	"context"
	"errors"

	"github.com/bearerkit/bearerkit/tokenauth/internal/limiter"
)

// An attempt is a sign-in as the throttle counts it. Nil is one that nobody
// counts.
type attempt limiter.Attempt

func (s *Service) newAttempt(c *Credentials) *attempt {
	if s.limiter == nil {
		return nil
	}
	return (*attempt)(s.limiter.Attempt(s.normalize(c.UserName), c.RemoteAddr))
}

func (s *Service) normalize(userName string) string {
	defer calling("the authenticator")
	return normalize(s.authenticator, userName)
}

// account names the account in events.
func (a *attempt) account() string {
	if a == nil {
		return ""
	}
	return (*limiter.Attempt)(a).Account()
}

// begin counts the attempt, or returns a ThrottledError.
func (a *attempt) begin(ctx context.Context) error {
	if a == nil {
		return nil
	}
	defer calling("the storage")
	err := (*limiter.Attempt)(a).Begin(ctx)
	if blocked := (*limiter.BlockedError)(nil); errors.As(err, &blocked) {
		return &ThrottledError{RetryAfter: blocked.For}
	}
	if err != nil {
		return unavailable("throttling", err)
	}
	return nil
}

func (a *attempt) settle(ctx context.Context, o limiter.Outcome) {
	if a == nil {
		return
	}
	defer calling("the storage")
	(*limiter.Attempt)(a).Settle(ctx, o)
}

// Unthrottle resets the failed sign-ins of an account, after its user was helped.
// The sources that failed stay throttled. It returns ErrUnavailable if the
// storage in which replicas count together failed.
func (s *Service) Unthrottle(ctx context.Context, userName string) error {
	if s.limiter == nil {
		return nil
	}
	if err := s.limiter.Forget(ctx, s.normalize(userName)); err != nil {
		return unavailable("throttling", err)
	}
	return nil
}
