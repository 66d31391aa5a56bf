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
	// A storage failure stays one even if the client has disconnected since then.
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

// observed reports whether the host has observers, which also receive unlogged
// events.
func (s *Service) observed() bool { return len(s.options.Observers) > 0 }

// beginning returns the time if there are observers, and otherwise the zero
// time.
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

// recovered turns a panic of the host's code into an error. It is deferred
// around calls for one request. It logs the stack, and nothing of the request.
func (s *Service) recovered(ctx context.Context, err *error) {
	p := recover()
	if p == nil {
		return
	}
	if p == http.ErrAbortHandler {
		panic(p)
	}
	s.securityLog.panicked(ctx, "the host's code", p)
	*err = errPanic
}
