package oteltrace_test

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"testing"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/bearerkit/bearerkit/tokenauth"
	"github.com/bearerkit/bearerkit/tokenauth/event"
	"github.com/bearerkit/bearerkit/tokenauth/oteltrace"
	"github.com/bearerkit/bearerkit/tokenauth/tokenauthtest"
)

// A recording is a TracerProvider that keeps the ended spans.
type recording struct {
	*tracetest.SpanRecorder
	*sdktrace.TracerProvider
}

func record(o ...sdktrace.TracerProviderOption) recording {
	r := tracetest.NewSpanRecorder()
	return recording{r, sdktrace.NewTracerProvider(append(o, sdktrace.WithSpanProcessor(r))...)}
}

// parent starts a span, as the HTTP instrumentation of a host does for a request.
func (r recording) parent(t *testing.T) (context.Context, trace.Span) {
	return r.Tracer("host").Start(t.Context(), "GET /reports")
}

func TestEventsBecomeSpans(t *testing.T) {
	t.Parallel()
	text := func(key, value string) attribute.KeyValue { return attribute.String(key, value) }
	base := tokenauth.Event{
		UserID: "17", UserName: "alice", ClientID: "web", Device: "phone", Account: "c0ffee", RemoteAddr: netip.MustParseAddr("203.0.113.7"),
		Digest: tokenauth.Digest{1}, Err: errors.New("host=10.0.0.1 user=postgres"),
	}
	of := func(kind event.Kind, reason event.Reason) tokenauth.Event {
		e := base
		e.Kind, e.Reason, e.Duration = kind, reason, 300*time.Nanosecond
		return e
	}
	byKey := tokenauth.Event{Kind: event.Validated, Reason: event.ReasonKey, UserID: "17", Key: "key_7Hq2sXb0pQ4e"}
	anonymous := tokenauth.Event{Kind: event.Refused, Reason: event.ReasonNoCredentials}
	client := text("tokenauth.client_id", "web")
	for _, test := range []struct {
		event      tokenauth.Event
		options    *oteltrace.Options
		name       string
		attributes []attribute.KeyValue
		status     codes.Code
	}{
		{of(event.Issued, ""), nil, "tokenauth issued", []attribute.KeyValue{client}, codes.Unset},
		{
			of(event.Issued, ""), &oteltrace.Options{UserID: true}, "tokenauth issued",
			[]attribute.KeyValue{client, text("enduser.id", "17"), text("app.installation.id", "phone")}, codes.Unset,
		},
		{
			of(event.SignInRefused, event.ReasonCredentials), &oteltrace.Options{}, "tokenauth sign_in_refused",
			[]attribute.KeyValue{text("tokenauth.reason", "credentials"), client}, codes.Unset,
		},
		{
			of(event.Refreshed, event.ReasonRepeated), nil, "tokenauth refreshed",
			[]attribute.KeyValue{text("tokenauth.reason", "repeated"), client}, codes.Unset,
		},
		{
			of(event.RefreshRefused, event.ReasonReused), nil, "tokenauth refresh_refused",
			[]attribute.KeyValue{text("tokenauth.reason", "reused"), client}, codes.Unset,
		},
		{
			byKey, &oteltrace.Options{UserID: true}, "tokenauth validated",
			[]attribute.KeyValue{text("tokenauth.reason", "key"), text("enduser.id", "17"), text("tokenauth.key", byKey.Key)}, codes.Unset,
		},
		{byKey, nil, "tokenauth validated", []attribute.KeyValue{text("tokenauth.reason", "key")}, codes.Unset},
		{
			anonymous, &oteltrace.Options{UserID: true}, "tokenauth refused",
			[]attribute.KeyValue{text("tokenauth.reason", "no_credentials")}, codes.Unset,
		},
		{
			of(event.Unavailable, ""), nil, "tokenauth unavailable",
			[]attribute.KeyValue{client, text("error.type", "unavailable")}, codes.Error,
		},
		{
			of(event.Unavailable, event.ReasonBusy), nil, "tokenauth unavailable",
			[]attribute.KeyValue{text("tokenauth.reason", "busy"), client, text("error.type", "busy")}, codes.Error,
		},
	} {
		r := record()
		ctx, parent := r.parent(t)
		before := time.Now()
		oteltrace.New(r, test.options)(ctx, test.event)
		after := time.Now()
		ended := r.Ended()
		if len(ended) != 1 {
			t.Fatalf("%s: %d spans were recorded, want 1", test.name, len(ended))
		}
		span := ended[0]
		if span.Name() != test.name || span.Status() != (sdktrace.Status{Code: test.status}) || span.SpanKind() != trace.SpanKindInternal {
			t.Errorf("got span %q of kind %v with status %v, want %q of kind %v with status %v", span.Name(), span.SpanKind(), span.Status(), test.name, trace.SpanKindInternal, test.status)
		}
		if span.Parent().SpanID() != parent.SpanContext().SpanID() || span.SpanContext().TraceID() != parent.SpanContext().TraceID() {
			t.Errorf("%s: the parent is %v, want %v", test.name, span.Parent(), parent.SpanContext())
		}
		if took := span.EndTime().Sub(span.StartTime()); took != test.event.Duration || span.EndTime().Before(before) || span.EndTime().After(after) {
			t.Errorf("%s: the span lasts %v and ends at %v, want %v and an end between %v and %v", test.name, took, span.EndTime(), test.event.Duration, before, after)
		}
		if !slices.Equal(span.Attributes(), test.attributes) {
			t.Errorf("%s: the attributes are %v, want %v", test.name, span.Attributes(), test.attributes)
		}
		if len(span.Events()) != 0 {
			t.Errorf("%s: the span has the events %v, want none", test.name, span.Events())
		}
	}
}

// A span has no Error status if the client disconnected. It has one if a deadline
// of the host passed.
func TestCanceledRequestIsNotAnError(t *testing.T) {
	t.Parallel()
	r := record()
	auth := tokenauthtest.New(t, &tokenauth.Options{
		Observers: []func(context.Context, tokenauth.Event){oteltrace.New(r, nil)}, Logger: slog.New(slog.DiscardHandler),
	})
	h := auth.RequireBearer(http.NotFoundHandler())
	get := auth.As(tokenauth.Principal{UserID: "17"}, httptest.NewRequest("GET", "/reports", nil)) // not part of a trace
	ctx, _ := r.parent(t)
	canceled, cancel := context.WithCancel(ctx)
	cancel()
	late, cancel := context.WithTimeout(ctx, -1)
	defer cancel()
	h.ServeHTTP(httptest.NewRecorder(), get.WithContext(canceled))
	h.ServeHTTP(httptest.NewRecorder(), get.WithContext(late))
	spans := r.Ended()
	if len(spans) != 2 || spans[0].Status().Code != codes.Unset || spans[1].Status().Code != codes.Error {
		t.Fatalf("got the spans %+v, want one with status Unset and one with status Error", spans)
	}
	if got, want := spans[0].Attributes(), []attribute.KeyValue{attribute.String("tokenauth.reason", "canceled")}; !slices.Equal(got, want) {
		t.Errorf("the attributes of the canceled request are %v, want %v", got, want)
	}
}

// The parent of a span may be in another process.
func TestSpanHasRemoteParent(t *testing.T) {
	t.Parallel()
	r := record()
	parent := trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}, TraceFlags: trace.FlagsSampled})
	oteltrace.New(r, nil)(trace.ContextWithRemoteSpanContext(t.Context(), parent), tokenauth.Event{Kind: event.Validated})
	if spans := r.Ended(); len(spans) != 1 || spans[0].Parent().SpanID() != parent.SpanID() || !spans[0].Parent().IsRemote() {
		t.Errorf("got the spans %+v, want one whose parent is the remote span %v", spans, parent)
	}
}

// Without a sampled parent, an event neither becomes a span nor allocates. This
// test is not parallel: AllocsPerRun counts the allocations of the whole process.
func TestUnsampledEventsAllocateNothing(t *testing.T) {
	sampled, never := record(), record(sdktrace.WithSampler(sdktrace.NeverSample()))
	sampledCtx, _ := sampled.parent(t)
	neverCtx, _ := never.parent(t)
	for name, test := range map[string]struct {
		provider trace.TracerProvider
		ctx      context.Context
	}{
		"no parent":                       {sampled, t.Context()},
		"unsampled parent":                {sampled, neverCtx},
		"provider that never samples":     {never, neverCtx},
		"no-op provider":                  {noop.NewTracerProvider(), sampledCtx},
		"no-op provider without a parent": {noop.NewTracerProvider(), t.Context()},
	} {
		observe := oteltrace.New(test.provider, &oteltrace.Options{UserID: true})
		e := tokenauth.Event{Kind: event.Unavailable, Reason: event.ReasonBusy, UserID: "17", Duration: time.Second}
		if n := testing.AllocsPerRun(1000, func() { observe(test.ctx, e) }); n != 0 {
			t.Errorf("%s: %v allocations, want 0", name, n)
		}
	}
	if got := len(sampled.Ended()) + len(never.Ended()); got != 0 {
		t.Errorf("%d spans were recorded, want 0", got)
	}
}

// The spans of a protected route are children of the span of the request.
func TestGuardRecordsSpansOfRequest(t *testing.T) {
	t.Parallel()
	r := record()
	auth := tokenauthtest.New(t, &tokenauth.Options{
		Observers: []func(context.Context, tokenauth.Event){oteltrace.New(r, nil)}, Logger: slog.New(slog.DiscardHandler),
	})
	h := auth.RequireBearer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	get := auth.As(tokenauth.Principal{UserID: "17"}, httptest.NewRequest("GET", "/reports", nil)) // not part of a trace
	ctx, parent := r.parent(t)
	h.ServeHTTP(httptest.NewRecorder(), get.WithContext(ctx))
	auth.Storage.Fail(errors.New("connection refused"))
	h.ServeHTTP(httptest.NewRecorder(), get.WithContext(ctx))
	parent.End()

	var names []string
	for _, span := range r.Ended() {
		names = append(names, span.Name())
		if span.Name() != "GET /reports" && span.Parent().SpanID() != parent.SpanContext().SpanID() {
			t.Errorf("span %q has the parent %v, want %v", span.Name(), span.Parent(), parent.SpanContext())
		}
	}
	if want := []string{"tokenauth validated", "tokenauth unavailable", "GET /reports"}; !slices.Equal(names, want) {
		t.Fatalf("got the spans %q, want %q", names, want)
	}
	if took := r.Ended()[0]; !took.EndTime().After(took.StartTime()) {
		t.Error("the span of the validation has no duration")
	}
}
