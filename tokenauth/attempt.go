package tokenauth

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"

	"github.com/bearerkit/bearerkit/tokenauth/internal/deadline"
	"github.com/bearerkit/bearerkit/tokenauth/internal/limiter"
)

// An attempt is a sign-in that the throttle counts. It links the [Credentials]
// that an [Authenticator] gets to the limiter.
type attempt struct {
	*limiter.Attempt
	service *Service
	right   atomic.Bool // whether the password is correct

	mu      sync.Mutex // in case an Authenticator calls CountAttempt on another goroutine
	over    bool       // CountAttempt no longer counts
	refusal error      // overrides the result of the Authenticator
}

func (s *Service) newAttempt(c *Credentials) *attempt {
	from := limiter.Source{Addr: c.RemoteAddr, CrossSite: c.CrossSite}
	return &attempt{Attempt: s.limiter.Attempt(c.UserName, c.Password.Reveal(), from), service: s}
}

// CountAttempt counts the sign-in for the account that an [Authenticator]
// found. Call it in Authenticate, after the account look-up and before the
// password check. The userID is the ID of the account, or "" if no account has
// the user name.
//
// It returns [ErrThrottled] if the sign-in is over a limit, and
// [ErrUnavailable] if the counters failed. Return every error unchanged,
// without checking the password.
//
// With CountAttempt, failures count for the account, whichever spelling or
// alias of its name the user typed. Call it for every sign-in, or for none:
//
//   - If it is never called, sign-ins count by user name, before Authenticate.
//     Names that differ only in case, accents or surrounding spaces share their
//     limits.
//   - If it is called for some sign-ins, the others count by user name after
//     Authenticate. Their passwords are then already hashed.
//   - If it is called for several accounts, as by an Authenticator that
//     searches several tables, a failure counts for each account.
//
// At most 16 sign-ins of a process look up their accounts at the same time;
// each frees its place by calling CountAttempt. So do no slow work before the
// call. CountAttempt may wait for other sign-ins in progress.
//
// Call it on the goroutine on which Authenticate runs. Outside of a sign-in it
// returns nil.
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

// admit returns a [ThrottledError] if the attempt is over a limit. It counts
// the attempt by user name, unless the [Authenticator] calls
// [Credentials.CountAttempt].
func (a *attempt) admit(ctx context.Context) error {
	defer calling("the storage")
	if a.service.countsAccounts.Load() {
		return a.refuse(a.Admit(ctx))
	}
	return a.refuse(a.CountName(ctx))
}

// authenticated is called when the [Authenticator] has returned. If the
// Authenticator decided without counting the attempt, authenticated counts it
// by user name.
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

// settle ends the attempt, also after a panic of the [Authenticator]. A
// goroutine that the Authenticator left running can no longer count.
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

// Unthrottle lets a throttled user sign in again, for example after an
// administrator set a new password. Pass [Principal.UserID], and every name by
// which the user signs in, as the user types it.
//
//   - Failed sign-ins of the account before the call no longer count, from any
//     source.
//   - [ThrottleOptions.PerSource] does not block the account until the user
//     signs in, for up to ten failures and 30 days. Anyone who names the
//     account can use these tries. The limit still blocks other accounts.
//   - It returns [ErrUnavailable] if the shared counters of
//     [ThrottleOptions.Key] failed.
//
// Replicas that share a Key follow within seconds. Without a Key, call
// Unthrottle on each replica. With [ThrottleOptions.InsecureOff] it does
// nothing.
func (s *Service) Unthrottle(ctx context.Context, userID string, userNames ...string) error {
	if s.limiter == nil {
		return nil
	}
	if err := s.limiter.Reset(ctx, userID, userNames...); err != nil {
		return unavailable("throttling", err)
	}
	return nil
}
