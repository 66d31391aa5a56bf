package tokenauth

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"log/slog"
	"net/netip"
	"runtime"
	"runtime/debug"
	"sync"
	"time"

	"github.com/bearerkit/bearerkit/tokenauth/event"
	"github.com/bearerkit/bearerkit/tokenauth/internal/quota"
	"github.com/bearerkit/bearerkit/tokenauth/internal/source"
)

// A securityLog writes events to [Options.Logger]. For each combination of kind
// and reason, it limits the records per source and for all sources together. So
// no source can fill the log or suppress the records of other sources. Each
// record shows how many records of its kind and reason were suppressed since
// the previous record of that kind and reason.
type securityLog struct {
	logger *slog.Logger
	now    func() time.Time
	seed   maphash.Seed

	mu     sync.Mutex
	quotas map[eventSort]*quota.Quota // few, because the kinds and reasons are fixed
}

type eventSort struct {
	kind   event.Kind
	reason event.Reason
}

// An eventSource identifies who caused an event, as far as that is known. Its
// user and client were authenticated, or named by the host.
type eventSource struct {
	network          netip.Prefix
	userID, clientID string
}

// source returns the source of the event. For an IPv6 address, the network is
// the /48, because one customer may have a whole /48.
func (e *Event) source() eventSource {
	narrow, wide := source.Networks(e.RemoteAddr)
	if wide.IsValid() {
		narrow = wide
	}
	return eventSource{narrow, e.UserID, e.ClientID}
}

func newSecurityLog(logger *slog.Logger, now func() time.Time) *securityLog {
	return &securityLog{logger: logger, now: now, seed: maphash.MakeSeed(), quotas: make(map[eventSort]*quota.Quota)}
}

// logLevel returns the level of the event's record. An event that any client
// can cause with each request is logged at debug level.
func (e *Event) logLevel() slog.Level {
	switch e.Kind {
	case event.Unavailable:
		return slog.LevelError
	case event.SignInRefused:
		switch e.Reason {
		case event.ReasonMalformed:
			return slog.LevelDebug
		case "":
			return slog.LevelInfo
		}
		return slog.LevelWarn
	case event.Refused:
		switch e.Reason {
		case event.ReasonReplaced, event.ReasonRole, event.ReasonClient, event.ReasonKey:
			return slog.LevelWarn
		}
		return slog.LevelDebug
	case event.RefreshRefused:
		switch e.Reason {
		case event.ReasonReused, event.ReasonClient:
			return slog.LevelWarn
		}
		return slog.LevelDebug
	case event.Refreshed:
		if e.Reason == event.ReasonRepeatedElsewhere {
			return slog.LevelWarn
		}
	case event.Introspected:
		return slog.LevelDebug
	}
	return slog.LevelInfo
}

// logMessages are constant, so that a log can be searched for them.
var logMessages = map[event.Kind]string{
	event.Issued:         "tokenauth: token issued",
	event.SignInRefused:  "tokenauth: sign-in refused",
	event.Refused:        "tokenauth: request refused",
	event.Introspected:   "tokenauth: token introspected",
	event.Revoked:        "tokenauth: tokens revoked",
	event.Refreshed:      "tokenauth: token refreshed",
	event.RefreshRefused: "tokenauth: refresh refused",
	event.Unavailable:    "tokenauth: request failed",
}

// wants reports whether the event belongs in the log, regardless of the limits.
// These events do not belong in it: valid tokens, which belong in an access
// log; clients that disconnected; overload, which the [Authenticator] logs; and
// panics, which the method l.panicked logs with their stack.
func (l *securityLog) wants(ctx context.Context, e *Event) bool {
	switch {
	case e.Kind == event.Validated, e.Kind == event.Unavailable && (e.Reason == event.ReasonCanceled || e.Reason == event.ReasonBusy || errors.Is(e.Err, errPanic)):
		return false
	}
	return l.logger.Enabled(ctx, e.logLevel())
}

func (l *securityLog) record(ctx context.Context, e *Event) {
	if !l.wants(ctx, e) {
		return
	}
	suppressed, ok := l.admit(eventSort{e.Kind, e.Reason}, e.source())
	if !ok {
		return
	}
	l.logger.LogAttrs(ctx, e.logLevel(), logMessages[e.Kind], e.attrs(suppressed)...)
}

// otherKey logs that a refresh was repeated at a process that cannot derive the
// same tokens again.
func (l *securityLog) otherKey(ctx context.Context, t *Token) {
	if suppressed, ok := l.admit(eventSort{event.RefreshRefused, "key"}, eventSource{userID: t.Principal.UserID}); ok {
		l.logger.WarnContext(ctx, "tokenauth: a refresh was repeated, but the first try was at a process with another Options.Refresh.Key, so it was refused: set the same Key on all replicas",
			"user_id", t.Principal.UserID, "client_id", t.ClientID, "suppressed", suppressed)
	}
}

// corrupt logs a stored token that cannot be read.
func (l *securityLog) corrupt(ctx context.Context, err error) {
	if suppressed, ok := l.admit(eventSort{event.Unavailable, "corrupt"}, eventSource{}); ok {
		l.logger.ErrorContext(ctx, "tokenauth: a stored token is corrupt", "error", err, "suppressed", suppressed)
	}
}

// lost logs that a user's password was right, but that [Rechecker.Recheck] did
// not find the user. This happens if the host's Lookup finds users by the name
// that they type, but not by their UserName. Without this record, it would look
// as if the password was wrong.
func (l *securityLog) lost(ctx context.Context, p *Principal) {
	if suppressed, ok := l.admit(eventSort{event.SignInRefused, "lost"}, eventSource{userID: p.UserID}); ok {
		l.logger.ErrorContext(ctx, "tokenauth: sign-in refused with the right password: Lookup found the account by the typed name, but not by Account.UserName; or the account was deleted or renamed during the sign-in",
			"user_id", p.UserID, "user_name", p.UserName, "suppressed", suppressed)
	}
}

// invalidRejection logs that the [Authenticator] returned a [Rejection] that
// cannot be sent.
func (l *securityLog) invalidRejection(ctx context.Context, err error) {
	if suppressed, ok := l.admit(eventSort{event.SignInRefused, "rejection"}, eventSource{}); ok {
		l.logger.ErrorContext(ctx, "tokenauth: the Authenticator returned a Rejection that cannot be sent, so the response was that of a wrong password", "error", err, "suppressed", suppressed)
	}
}

// bodyGone logs that the host's own code read all or part of a request body
// before the endpoint could.
func (l *securityLog) bodyGone(ctx context.Context) {
	if suppressed, ok := l.admit(eventSort{event.SignInRefused, "body"}, eventSource{}); ok {
		l.logger.WarnContext(ctx, "tokenauth: your own code read the body of a request before the endpoint could, and did not restore it: middleware must leave the body alone, put it back into Request.Body, or use Request.ParseForm", "suppressed", suppressed)
	}
}

// panicked logs a recovered panic, with its stack but without any request data.
// It logs the panic's text only if the panic is a runtime error, such as "index
// out of range", because any other text may contain a password.
func (l *securityLog) panicked(ctx context.Context, in string, p any) {
	if of, ok := p.(*hostPanic); ok {
		in, p = of.in, of.value
	}
	message := "tokenauth: panic in " + in
	suppressed, ok := l.admit(eventSort{event.Unavailable, event.Reason(message)}, eventSource{})
	if !ok {
		return
	}
	attrs := []any{"type", fmt.Sprintf("%T", p), "stack", string(debug.Stack()), "suppressed", suppressed}
	if err, ok := p.(runtime.Error); ok {
		attrs = append(attrs, "error", err.Error())
	}
	l.logger.ErrorContext(ctx, message, attrs...)
}

func (l *securityLog) admit(sort eventSort, from eventSource) (suppressed int, ok bool) {
	now, id := l.now(), maphash.Comparable(l.seed, from)
	l.mu.Lock()
	defer l.mu.Unlock()
	q := l.quotas[sort]
	if q == nil {
		q = new(quota.Quota)
		l.quotas[sort] = q
	}
	return q.Admit(id, now)
}

// attrs returns the attributes of the event's log record, without those that
// are unknown.
func (e *Event) attrs(suppressed int) []slog.Attr {
	attrs := make([]slog.Attr, 0, 13)
	attrs = append(attrs, slog.String("event", e.Kind.String()))
	for _, field := range []struct{ key, value string }{
		{"reason", string(e.Reason)},
		{"user_id", e.UserID},
		{"user_name", e.UserName},
		{"client_id", e.ClientID},
		{"device", e.Device},
		{"key", e.Key},
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
	if e.Kind == event.Unavailable && e.Err != nil {
		attrs = append(attrs, slog.Any("error", e.Err))
	}
	if reason := (*Rejection)(nil); errors.As(e.Err, &reason) {
		attrs = append(attrs, slog.String("rejection", reason.code()))
	}
	if missing := (*roleError)(nil); errors.As(e.Err, &missing) {
		attrs = append(attrs, slog.Any("needs_one_of", missing.needed), slog.Any("has_roles", missing.has))
	}
	if suppressed > 0 {
		attrs = append(attrs, slog.Int("suppressed", suppressed))
	}
	return attrs
}
