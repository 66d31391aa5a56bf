// Package oteltrace records the events of a [tokenauth.Service] as
// OpenTelemetry spans:
//
//	auth, err := tokenauth.New(store, users, &tokenauth.Options{
//		Observers: []func(context.Context, tokenauth.Event){oteltrace.New(otel.GetTracerProvider(), nil)},
//	})
//
// Each [tokenauth.Event] becomes a child of the span in the request's context,
// which the host's HTTP instrumentation starts. If the context has no span, or
// its span is not sampled, this package records nothing and allocates no
// memory.
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
	// enduser.id, [tokenauth.Event.Device] as app.installation.id, and
	// [tokenauth.Event.Key] as tokenauth.key. By default, spans have none of
	// them, because they are personal data. Besides, traces are often kept longer
	// than logs, and read by more people.
	UserID bool
}

const scope = "github.com/bearerkit/bearerkit/tokenauth/oteltrace"

// These attributes follow the version of the semantic conventions that
// schemaURL names. They are declared here because the semconv package for that
// version would force a newer OpenTelemetry on the host.
const (
	schemaURL    = "https://opentelemetry.io/schemas/1.43.0"
	userIDKey    = attribute.Key("enduser.id")
	deviceKey    = attribute.Key("app.installation.id") // a device is one installation of a client
	errorTypeKey = attribute.Key("error.type")
)

// The semantic conventions do not define these attributes.
const (
	reasonKey   = attribute.Key("tokenauth.reason")
	clientIDKey = attribute.Key("tokenauth.client_id")
	keyKey      = attribute.Key("tokenauth.key")
)

// New returns a func for [tokenauth.Options.Observers] that records spans with
// a tracer from p, which must not be nil. The options may be nil. The func is
// safe for concurrent use.
//
//   - The name of a span is "tokenauth " followed by the [event.Kind], as in
//     "tokenauth sign_in_refused".
//   - The span lasts for [tokenauth.Event.Duration], which is zero for events
//     that the Service does not measure.
//   - The attribute tokenauth.reason is the [event.Reason], unless that is
//     empty.
//   - The attribute tokenauth.client_id is [tokenauth.Event.ClientID], unless
//     that is empty.
//   - With [Options.UserID], the attributes enduser.id, app.installation.id and
//     tokenauth.key are [tokenauth.Event.UserID], [tokenauth.Event.Device] and
//     [tokenauth.Event.Key], unless those are empty.
//   - For [event.Unavailable], the status is Error, and the span has the
//     attribute error.type. If the reason is [event.ReasonCanceled], the client
//     disconnected, so the status is not Error. Refusals do not have the status
//     Error either, because they are normal operation.
//
// Spans do not contain [tokenauth.Event.Err], because the error may contain
// internal details. The log has it.
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
// that observe allocates no memory if the parent span is not sampled.
func (o *observer) record(ctx context.Context, e tokenauth.Event) {
	failed := e.Kind == event.Unavailable && e.Reason != event.ReasonCanceled
	attributes := make([]attribute.KeyValue, 0, 5)
	if e.Reason != "" {
		attributes = append(attributes, reasonKey.String(string(e.Reason)))
	}
	if e.ClientID != "" {
		attributes = append(attributes, clientIDKey.String(e.ClientID))
	}
	if e.UserID != "" && o.options.UserID {
		attributes = append(attributes, userIDKey.String(e.UserID))
	}
	if e.Key != "" && o.options.UserID {
		attributes = append(attributes, keyKey.String(e.Key))
	}
	if e.Device != "" && o.options.UserID {
		attributes = append(attributes, deviceKey.String(e.Device))
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
