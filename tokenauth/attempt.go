package tokenauth

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"

	"github.com/bearerkit/bearerkit/tokenauth/internal/deadline"
	"github.com/bearerkit/bearerkit/tokenauth/internal/limiter"
)

// An attempt is a sign-in as the throttle counts it.
type attempt struct {
	*limiter.Attempt
	service *Service
	right   atomic.Bool // the password is

	mu      sync.Mutex // against an Authenticator that calls from elsewhere
	over    bool
	refusal error // the answer, whatever the Authenticator returns
}

func (s *Service) newAttempt(c *Credentials) *attempt {
	from := limiter.Source{Addr: c.RemoteAddr, CrossSite: c.CrossSite}
	return &attempt{Attempt: s.limiter.Attempt(c.UserName, c.Password.Reveal(), from), service: s}
}

// CountAttempt counts the sign-in for the account that an Authenticator found, and
// returns ErrThrottled if its limits are reached. An Authenticator calls it between
// its look-up and its work on the password, with the user's ID, or "" if no account
// has the name. It returns every error as it is, and does no further work then.
//
// So failures count for the account, whatever the spellings and aliases of its
// name. An Authenticator calls it for every sign-in that it decides, or for none:
//
//   - If it never calls it, sign-ins count by user name, before Authenticate.
//     Names that differ by case, accents or spaces around them share their limits.
//   - If it calls it for some, the others count by user name after Authenticate,
//     and no work is spared.
//   - If it asks several tables and calls it again, a failure counts for each
//     account that was found.
//
// A sign-in has one of 16 turns of the process until it calls CountAttempt, so no
// slow work comes before. CountAttempt waits while sign-ins in progress are in the
// way. It returns nil outside of a sign-in. It is for the goroutine that called
// Authenticate.
func (c Credentials) CountAttempt(ctx context.Context, userID string) error {
	if c.attempt == nil {
		return nil
	}
	return c.attempt.countAccount(ctx, userID)
}

func (a *attempt) countAccount(ctx context.Context, userID string) error {
	defer calling("the storage")
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.over || a.refusal != nil {
		return a.refusal
	}
	a.service.countsAccounts.Store(true)
	waiting, cancel := deadline.Waiting(ctx)
	defer cancel()
	return a.refuse(a.CountAccount(waiting, userID, userID != ""))
}

// admit returns a ThrottledError if the attempt is over a limit. It counts the
// attempt by its user name, unless the Authenticator counts by account.
func (a *attempt) admit(ctx context.Context) error {
	defer calling("the storage")
	if a.service.countsAccounts.Load() {
		return a.refuse(a.Admit(ctx))
	}
	return a.refuse(a.CountName(ctx))
}

// authenticated is called when the Authenticator returned. If that decided and did
// not count the attempt, it is counted by its user name.
func (a *attempt) authenticated(ctx context.Context, decided bool) error {
	defer calling("the storage")
	a.mu.Lock()
	defer a.mu.Unlock()
	a.over = true
	if a.refusal == nil && decided && !a.Counted() {
		return a.refuse(a.CountName(ctx))
	}
	return a.refusal
}

func (a *attempt) refuse(err error) error {
	if blocked := (*limiter.BlockedError)(nil); errors.As(err, &blocked) {
		a.refusal = &ThrottledError{RetryAfter: blocked.For}
	} else if err != nil {
		a.refusal = unavailable("throttling", err)
	}
	return a.refusal
}

// settle ends the attempt, also after a panic of the Authenticator: what that left
// running counts nothing any more.
func (a *attempt) settle(ctx context.Context, o limiter.Outcome) {
	defer calling("the storage")
	a.mu.Lock()
	defer a.mu.Unlock()
	a.over = true
	if o == limiter.Failed && a.right.Load() {
		o = limiter.FailedOtherwise
	}
	a.Settle(ctx, o)
}

// Unthrottle lets an account in again from everywhere, after its user was helped, for
// example with a new password. It takes the UserID of the principal, and the names by
// which the user signs in, as the user types them.
//
//   - The failed sign-ins of the account before the call count no longer, from any
//     source.
//   - Until the user signs in, for up to ten failures and 30 days, the account is
//     let in also where its source is throttled (ThrottleOptions.PerSource). Anybody
//     may use these tries. Other accounts stay throttled there.
//   - It returns ErrUnavailable if the storage in which replicas count together
//     (ThrottleOptions.Key) failed. Other replicas follow within seconds. Replicas
//     that count for themselves need a call each.
func (s *Service) Unthrottle(ctx context.Context, userID string, userNames ...string) error {
	if s.limiter == nil {
		return nil
	}
	if err := s.limiter.Reset(ctx, userID, userNames...); err != nil {
		return unavailable("throttling", err)
	}
	return nil
}
