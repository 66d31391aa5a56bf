package tokenauth

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"

	"github.com/bearerkit/bearerkit/tokenauth/event"
	"github.com/bearerkit/bearerkit/tokenauth/internal/deadline"
	"github.com/bearerkit/bearerkit/tokenauth/internal/limiter"
)

// An attempt is a sign-in that the throttle counts. [Credentials.CountAttempt]
// uses it to reach the limiter.
type attempt struct {
	*limiter.Attempt
	service *Service
	right   atomic.Bool // set once the password was accepted

	mu        sync.Mutex // in case an Authenticator calls CountAttempt or Code on another goroutine
	over      bool       // if true, CountAttempt and Code no longer count
	refusal   error      // the throttle's error; overrides the Authenticator's result
	asked     bool       // Code was called
	sent      bool       // the request has a code, which was counted
	outcome   limiter.Outcome
	codesAre  codeOutcome
	uncounted bool // the password was right, and the rejection counts as no failure
}

// codeOutcome is the result of verifying the codes of an attempt.
type codeOutcome int

const (
	notVerified codeOutcome = iota
	wrongCodes
	rightCodes
)

func (s *Service) newAttempt(c *Credentials) *attempt {
	from := limiter.Source{Addr: c.RemoteAddr, CrossSite: c.CrossSite}
	return &attempt{Attempt: s.limiter.Attempt(c.UserName, c.Password.Reveal(), from), service: s}
}

// CountAttempt counts the sign-in against the limits of the account that an
// [Authenticator] found. Call it in Authenticate, after the account look-up and
// before the password check. The userID is the ID of the account, or "" if no
// account has the user name.
//
// It returns [ErrThrottled] if a limit blocks the sign-in, and [ErrUnavailable]
// if the sign-in could not be counted. In both cases, do not check the
// password, and return the error unchanged.
//
// With CountAttempt, failures count against the account, no matter which
// spelling or alias of its name the user typed. Call it for every sign-in, or
// for none:
//
//   - If it is never called, the Service counts each sign-in by its user name,
//     before it calls Authenticate. Names that differ only in case, accents or
//     surrounding spaces share their limits.
//   - If it is called for some sign-ins only, the Service counts the others by
//     user name, after Authenticate. By then their passwords have already been
//     hashed.
//   - An Authenticator that searches several tables may call it for several
//     accounts in one sign-in. A failure then counts against each of these
//     accounts.
//
// In each process, at most 16 sign-ins look up their accounts at the same time.
// The next sign-in may begin its look-up when one of them calls CountAttempt,
// so do no slow work before the call. CountAttempt may itself wait for other
// sign-ins in progress.
//
// Call it on the goroutine that runs Authenticate. Outside of a sign-in, as in
// a unit test, it does nothing and returns nil.
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

// admit returns a [ThrottledError] if a limit blocks the attempt. If the
// [Authenticator] has called [Credentials.CountAttempt] in an earlier sign-in,
// admit leaves the counting to that method. Otherwise it counts the attempt by
// user name.
func (a *attempt) admit(ctx context.Context) error {
	defer calling("the storage")
	if a.service.countsAccounts.Load() {
		return a.refuse(a.Admit(ctx))
	}
	return a.refuse(a.CountName(ctx))
}

// authenticated is called after the [Authenticator] has returned. The argument
// decided is true if the Authenticator accepted or rejected the user, and false
// if the Authenticator failed. If the Authenticator decided without counting
// the attempt, authenticated counts it by user name, and returns the throttle's
// error, if any.
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

// countCode counts a one-time code as wrong, until [attempt.settle] knows
// better. It returns a [ThrottledError] if a limit blocks the code. If the
// request has no code in the parameter, countCode only records the call.
func (a *attempt) countCode(ctx context.Context, parameter string, sent bool) error {
	defer calling("the storage")
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case a.refusal != nil:
		return a.refusal
	case a.over || !a.right.Load():
		return errEarlyCode
	}
	a.asked = true
	if !sent {
		return nil
	}
	if err := a.refuse(a.CountCode(ctx, parameter)); err != nil {
		if a.sent {
			a.codesAre = wrongCodes // the caller may have verified the earlier ones
		}
		return err
	}
	a.sent = true
	return nil
}

// rejected records that the [Authenticator] rejected the sign-in. If the
// password was right and the client must send more, such as a code, the
// rejection counts as no failure. A wrong code counts only as a wrong code, so
// that it does not throttle the owner's password.
func (a *attempt) rejected(withReason, withParameters bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case a.sent:
		a.codesAre = wrongCodes
	case a.asked || a.right.Load() && withReason && !withParameters:
		a.uncounted = true
	default:
		a.outcome = limiter.Failed
	}
}

// settle ends the attempt and records its outcome, even if the [Authenticator]
// panicked. A goroutine that the Authenticator left running can no longer count
// the attempt.
func (a *attempt) settle(ctx context.Context) {
	defer calling("the storage")
	a.mu.Lock()
	defer a.mu.Unlock()
	a.over = true
	if a.outcome == limiter.Failed && a.right.Load() {
		a.outcome = limiter.FailedOtherwise
	}
	a.Settle(ctx, a.outcome)
	if a.codesAre != wrongCodes {
		a.TakeBackCodes(ctx, a.codesAre == rightCodes)
	}
}

// refused sets the fields of the event of a refused or failed sign-in.
func (a *attempt) refused(e *Event, err error) {
	e.setError(err, event.SignInRefused)
	if a.uncounted && e.Kind == event.SignInRefused {
		e.Reason = ""
	}
}
