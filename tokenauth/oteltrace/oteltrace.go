// Package oteltrace has spans of a tokenauth.Service for OpenTelemetry:
//
//	auth, err := tokenauth.New(store, users, &tokenauth.Options{
//		Observers: []func(context.Context, tokenauth.Event){oteltrace.New(otel.GetTracerProvider(), nil)},
//	})
//
// Each event of the Service becomes a span below the one in the request's
// context, which the host's HTTP instrumentation starts. Where there is none, or
// one that is not sampled, nothing is recorded, and nothing is allocated.
package oteltrace

import (
	"context"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	semconv "go.opentelemetry.io/otel/semconv/v1.4.0"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/bearerkit/bearerkit/tokenauth"
	"github.com/bearerkit/bearerkit/tokenauth/event"
)

// Options are what a host may want otherwise. The zero value, or a nil
// *Options, is the advice.
type Options struct {
	// UserID adds the user's ID (enduser.id) to spans of events that have a
	// user. The semantic conventions call it personal data, and traces are
	// often kept longer, and read by more people, than logs: zero means that
	// spans do not tell who it was.
	UserID bool
}

const scope = "github.com/bearerkit/bearerkit/tokenauth/oteltrace"

// The attributes of the semantic conventions, in the version that schemaURL
// names. Package semconv of that version would raise a host's OpenTelemetry.
const (
	schemaURL    = "https://opentelemetry.io/schemas/1.43.0"
	userIDKey    = attribute.Key("enduser.id")
	errorTypeKey = attribute.Key("error.type")
)

// The attributes for which there is no semantic convention.
const (
	reasonKey   = attribute.Key("tokenauth.reason")
	clientIDKey = attribute.Key("tokenauth.client_id")
)

// New returns a func for tokenauth.Options.Observers. Its spans:
//
//   - are named after the event, as in "tokenauth sign_in_refused", and take
//     as long as the event did: no time at all where that was not measured;
//   - have the reason, if there is one, as tokenauth.reason, and the client, if
//     it is known, as tokenauth.client_id;
//   - have the status Error and error.type for event.Unavailable only, and not if
//     the client went away: a refusal is what the Service is for. The cause is
//     in the log, and may have text that does not belong into traces.
//
// Options may be nil; the provider may not.
func New(p trace.TracerProvider, o *Options) func(context.Context, tokenauth.Event) {
	if o == nil {
		o = new(Options)
	}
	if _, ok := p.(noop.TracerProvider); ok {
		return func(context.Context, tokenauth.Event) {} // the host has tracing turned off
	}
	return (&observer{p.Tracer(scope, trace.WithSchemaURL(semconv.SchemaURL)), *o}).observe
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

// record is apart, so that only it makes garbage.
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
