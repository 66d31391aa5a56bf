// Package oteltrace records the events of a [tokenauth.Service] as OpenTelemetry
// spans:
//
//	auth, err := tokenauth.New(store, users, &tokenauth.Options{
//		Observers: []func(context.Context, tokenauth.Event){oteltrace.New(otel.GetTracerProvider(), nil)},
//	})
//
// Each [tokenauth.Event] becomes a child of the span in the request's context,
// which the HTTP instrumentation of the host starts. If the context has no span,
// or one that is not sampled, this package records nothing and allocates nothing.
package oteltrace

import (
	"context"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/bearerkit/bearerkit/tokenauth"
	"github.com/bearerkit/bearerkit/tokenauth/event"
)

// Options configures [New]. Nil or the zero value selects the defaults.
type Options struct {
	// UserID adds [tokenauth.Event.UserID] to the spans, as the attribute
	// enduser.id. False means that spans do not name the user. Note that the
	// semantic conventions of OpenTelemetry class a user's ID as personal data,
	// and that traces are often kept longer than logs and read by more people.
	UserID bool
}

const scope = "github.com/bearerkit/bearerkit/tokenauth/oteltrace"

// These attributes follow the semantic conventions in the version of schemaURL.
// They are not taken from package semconv, because a semconv with that version
// would force a newer OpenTelemetry on the host.
const (
	schemaURL    = "https://opentelemetry.io/schemas/1.43.0"
	userIDKey    = attribute.Key("enduser.id")
	errorTypeKey = attribute.Key("error.type")
)

// These attributes have no semantic convention.
const (
	reasonKey   = attribute.Key("tokenauth.reason")
	clientIDKey = attribute.Key("tokenauth.client_id")
)

// New returns a func for [tokenauth.Options.Observers] that records spans with a
// tracer of p, which must not be nil. The options may be nil. The func is safe for
// concurrent use.
//
//   - The name is "tokenauth " and the [event.Kind], as in "tokenauth
//     sign_in_refused".
//   - The span lasts for [tokenauth.Event.Duration], which is zero for events that
//     the Service does not measure.
//   - The attribute tokenauth.reason is the [event.Reason], unless that is empty.
//   - The attribute tokenauth.client_id is [tokenauth.Event.ClientID], unless that
//     is empty.
//   - The status is Error, with the attribute error.type, for [event.Unavailable]
//     only. It is not Error for [event.ReasonCanceled], because the client
//     disconnected, nor for refusals, which are normal operation.
//
// Spans do not contain [tokenauth.Event.Err], which may have internal details. The
// log has it.
func New(p trace.TracerProvider, o *Options) func(context.Context, tokenauth.Event) {
	if o == nil {
		o = new(Options)
	}
	if _, ok := p.(noop.TracerProvider); ok {
		return func(context.Context, tokenauth.Event) {} // the host turned tracing off
	}
	return (&observer{p.Tracer(scope, trace.WithSchemaURL(schemaURL)), *o}).observe
}

type observer struct {
	tracer  trace.Tracer
	options Options
}

func (o *observer) observe(ctx context.Context, e tokenauth.Event) {
	if trace.SpanContextFromContext(ctx).IsSampled() {
		o.record(ctx, e)
	}
}

// record starts and ends the span of an event. It is separate from observe, so
// that an event without a sampled parent allocates nothing.
func (o *observer) record(ctx context.Context, e tokenauth.Event) {
	failed := e.Kind == event.Unavailable && e.Reason != event.ReasonCanceled
	attributes := make([]attribute.KeyValue, 0, 4)
	if e.Reason != "" {
		attributes = append(attributes, reasonKey.String(string(e.Reason)))
	}
	if e.ClientID != "" {
		attributes = append(attributes, clientIDKey.String(e.ClientID))
	}
	if e.UserID != "" && o.options.UserID {
		attributes = append(attributes, userIDKey.String(e.UserID))
	}
	if failed {
		attributes = append(attributes, errorTypeKey.String(errorType(e.Reason)))
	}

	now := time.Now()
	_, span := o.tracer.Start(ctx, "tokenauth "+e.Kind.String(),
		trace.WithTimestamp(now.Add(-e.Duration)), trace.WithAttributes(attributes...))
	if failed {
		span.SetStatus(codes.Error, "")
	}
	span.End(trace.WithTimestamp(now))
}

func errorType(reason event.Reason) string {
	if reason == "" {
		return event.Unavailable.String()
	}
	return string(reason)
}
