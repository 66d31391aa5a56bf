package tokenauth

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/bearerkit/bearerkit/tokenauth/event"
)

// observe logs an event and calls the observers.
func (s *Service) observe(ctx context.Context, e *Event) {
	// A canceled ctx is not enough: the storage may have failed for another
	// reason, and the client may have disconnected since. So check the cause,
	// too.
	if e.Kind == event.Unavailable && e.Reason == "" && ctx.Err() != nil && errors.Is(e.Err, context.Canceled) {
		e.Reason = event.ReasonCanceled
	}
	if invalid := (*principalError)(nil); e.Reason == event.ReasonInternal && errors.As(e.Err, &invalid) {
		e.UserID, e.UserName = invalid.whose.UserID, invalid.whose.UserName
	}
	s.securityLog.record(ctx, e)
	for _, observe := range s.options.Observers {
		s.callObserver(ctx, observe, e)
	}
}

func (s *Service) callObserver(ctx context.Context, observe func(context.Context, Event), e *Event) {
	defer func() {
		if p := recover(); p != nil {
			s.securityLog.panicked(ctx, "an observer", p)
		}
	}()
	observe(ctx, *e)
}

// observed reports whether there are observers. They receive all events, even
// those that are not logged.
func (s *Service) observed() bool { return len(s.options.Observers) > 0 }

// beginning returns the current time if there are observers, and otherwise the
// zero time.
func (s *Service) beginning() (began time.Time) {
	if s.observed() {
		began = time.Now()
	}
	return began
}

func (s *Service) since(began time.Time) time.Duration {
	if began.IsZero() {
		return 0
	}
	return time.Since(began)
}

// recovered turns a panic in the host's code into an error. Defer it in a
// function that calls the host's code for a single request. It logs the stack,
// but no request data.
func (s *Service) recovered(ctx context.Context, err *error) {
	p := recover()
	if p == nil {
		return
	}
	if p == http.ErrAbortHandler {
		panic(p)
	}
	s.securityLog.panicked(ctx, "your code", p)
	*err = errPanic
}
