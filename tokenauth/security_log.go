package tokenauth

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"time"
)

// A securityLog writes events to the host's log. A crowd must not fill it: of
// events of one sort so many are written at once, and the next one that is
// says how many were not.
type securityLog struct {
	logger *slog.Logger
	now    func() time.Time

	mu     sync.Mutex
	bursts map[eventSort]*burst // there are as many as there are sorts
}

type eventSort struct {
	kind   EventKind
	reason Reason
}

// A burst is a bucket of records: maxBurst at once, and one more each
// burstInterval.
type burst struct {
	left       int
	filled     time.Time // when left was last brought up to date
	suppressed int
}

const (
	maxBurst      = 100
	burstInterval = 100 * time.Millisecond
)

func newSecurityLog(logger *slog.Logger, now func() time.Time) *securityLog {
	return &securityLog{logger: logger, now: now, bursts: make(map[eventSort]*burst)}
}

// logLevels are those of the events that are logged. What happens with each
// request, and can be caused by anybody, is for those who turn on debugging.
func (e *Event) logLevel() slog.Level {
	switch e.Kind {
	case EventUnavailable:
		return slog.LevelError
	case EventSignInRefused:
		if e.Reason == ReasonMalformed {
			return slog.LevelDebug
		}
		return slog.LevelWarn
	case EventRefused:
		switch e.Reason {
		case ReasonReplaced, ReasonRole, ReasonClient:
			return slog.LevelWarn
		}
		return slog.LevelDebug
	case EventIntrospected:
		return slog.LevelDebug
	}
	return slog.LevelInfo
}

// logMessages are what the log says, so that it can be searched for.
var logMessages = map[EventKind]string{
	EventIssued:        "tokenauth: token issued",
	EventSignInRefused: "tokenauth: sign-in refused",
	EventRefused:       "tokenauth: request refused",
	EventIntrospected:  "tokenauth: token introspected",
	EventRevoked:       "tokenauth: tokens revoked",
	EventUnavailable:   "tokenauth: request refused for trouble",
}

// wants reports whether the event would be written if there is room. Good
// tokens are for a log of requests; a client that has gone away is no trouble;
// whoever is busy tells the operator himself; and a panic has been logged with
// its stack.
func (l *securityLog) wants(ctx context.Context, e *Event) bool {
	switch {
	case e.Kind == EventValidated, e.Kind == EventUnavailable && (e.Reason == ReasonCanceled || e.Reason == ReasonBusy || errors.Is(e.Err, errPanic)):
		return false
	}
	return l.logger.Enabled(ctx, e.logLevel())
}

func (l *securityLog) record(ctx context.Context, e *Event) {
	if !l.wants(ctx, e) {
		return
	}
	suppressed, ok := l.admit(eventSort{e.Kind, e.Reason})
	if !ok {
		return
	}
	l.logger.LogAttrs(ctx, e.logLevel(), logMessages[e.Kind], e.attrs(suppressed)...)
}

// corrupt tells of a stored token that cannot be read.
func (l *securityLog) corrupt(ctx context.Context, err error) {
	if suppressed, ok := l.admit(eventSort{EventUnavailable, "corrupt"}); ok {
		l.logger.ErrorContext(ctx, "tokenauth: a stored token is corrupt", "error", err, "suppressed", suppressed)
	}
}

// lost tells of a user whose password was right and whom Recheck did not find:
// who looks users up by what they type, and not by their names, would otherwise
// be told of wrong passwords for ever.
func (l *securityLog) lost(ctx context.Context, p *Principal) {
	if suppressed, ok := l.admit(eventSort{EventSignInRefused, "lost"}); ok {
		l.logger.ErrorContext(ctx, "tokenauth: a sign-in with the right password is refused, because the account was found by the name that was typed and not by its own UserName: Lookup must find it by both; or it was deleted or renamed just then",
			"user_id", p.UserID, "user_name", p.UserName, "suppressed", suppressed)
	}
}

// panicked tells of a panic that is being recovered, with its stack and nothing
// of the request, nor of what was panicked with unless that is the runtime's
// own.
func (l *securityLog) panicked(ctx context.Context, in string, p any) {
	message := "tokenauth: panic in " + in
	suppressed, ok := l.admit(eventSort{EventUnavailable, Reason(message)})
	if !ok {
		return
	}
	attrs := []any{"type", fmt.Sprintf("%T", p), "stack", string(debug.Stack()), "suppressed", suppressed}
	if err, ok := p.(runtime.Error); ok { // "index out of range": the types and numbers of the program
		attrs = append(attrs, "error", err.Error())
	}
	l.logger.ErrorContext(ctx, message, attrs...)
}

// culprits are whose code the functions of this package call.
var culprits = map[string]string{
	"(*Service).find":        "the storage",
	"(*Service).issue":       "the storage",
	"(*Service).revoke":      "the storage",
	"(*throttle).reserveIn":  "the storage",
	"(*attempt).settle":      "the storage",
	"(*Service).signIn":      "the authenticator",
	"recheck":                "the authenticator",
	"(*Service).normalize":   "the authenticator",
	"(*Service).findClient":  "Options.Clients",
	"(*Service).liveCheck":   "Options.LiveCheck",
	"(*Service).askFallback": "Options.Fallback",
}

var packagePath = reflect.TypeFor[Service]().PkgPath() + "."

// culprit tells whose code panicked, while the panic is being recovered: that
// which was called by the function nearest to it. To note each call beforehand
// would have every request pay for it.
func culprit() string {
	callers := make([]uintptr, 256)
	frames := runtime.CallersFrames(callers[:runtime.Callers(0, callers)])
	for {
		frame, more := frames.Next()
		if name, ok := strings.CutPrefix(frame.Function, packagePath); ok && culprits[name] != "" {
			return culprits[name]
		}
		if !more {
			return "code of the host's"
		}
	}
}

func (l *securityLog) admit(sort eventSort) (suppressed int, ok bool) {
	now := l.now()
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.bursts[sort]
	if b == nil {
		b = &burst{left: maxBurst, filled: now}
		l.bursts[sort] = b
	}
	if n := now.Sub(b.filled) / burstInterval; n > 0 {
		b.left = min(maxBurst, b.left+int(min(n, maxBurst)))
		b.filled = b.filled.Add(n * burstInterval)
	}
	if b.left == 0 {
		b.suppressed++
		return 0, false
	}
	b.left--
	suppressed, b.suppressed = b.suppressed, 0
	return suppressed, true
}

// attrs are the fields of a record: those that are known.
func (e *Event) attrs(suppressed int) []slog.Attr {
	attrs := make([]slog.Attr, 0, 10)
	attrs = append(attrs, slog.String("event", e.Kind.String()))
	for _, field := range []struct{ key, value string }{
		{"reason", string(e.Reason)},
		{"user_id", e.UserID},
		{"user_name", e.UserName},
		{"client_id", e.ClientID},
		{"account", e.Account},
	} {
		if field.value != "" {
			attrs = append(attrs, slog.String(field.key, field.value))
		}
	}
	if e.RemoteAddr.IsValid() {
		attrs = append(attrs, slog.String("remote_addr", e.RemoteAddr.String()))
	}
	if !e.Digest.IsZero() {
		attrs = append(attrs, slog.String("token", e.Digest.String()[:16]))
	}
	if e.Kind == EventUnavailable && e.Err != nil {
		attrs = append(attrs, slog.Any("error", e.Err))
	}
	if missing := (*roleError)(nil); errors.As(e.Err, &missing) {
		attrs = append(attrs, slog.Any("needs_one_of", missing.needed), slog.Any("has_roles", missing.has))
	}
	if suppressed > 0 {
		attrs = append(attrs, slog.Int("suppressed", suppressed))
	}
	return attrs
}
