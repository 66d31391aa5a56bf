package oteltrace_test

import (
	"context"
	"fmt"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/bearerkit/bearerkit/storage/memory"
	"github.com/bearerkit/bearerkit/tokenauth"
	"github.com/bearerkit/bearerkit/tokenauth/oteltrace"
	"github.com/bearerkit/bearerkit/tokenauth/tokenauthtest"
)

// The event of a rejected token becomes a span below the span of the request. A
// host usually passes otel.GetTracerProvider() to New.
func Example() {
	spans := tracetest.NewSpanRecorder()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans))
	auth, err := tokenauth.New(new(memory.Store), new(tokenauthtest.Users), &tokenauth.Options{
		Observers: []func(context.Context, tokenauth.Event){oteltrace.New(provider, nil)},
	})
	if err != nil {
		panic(err)
	}
	ctx, request := provider.Tracer("host").Start(context.Background(), "GET /reports")
	_, err = auth.Validate(ctx, "nonsense")
	request.End()
	fmt.Println(err)
	for _, span := range spans.Ended() {
		fmt.Println(span.Name())
	}
	// Output:
	// tokenauth: the access token is invalid
	// tokenauth refused
	// GET /reports
}
