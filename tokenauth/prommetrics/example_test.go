package prommetrics_test

import (
	"context"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/bearerkit/bearerkit/storage/memory"
	"github.com/bearerkit/bearerkit/tokenauth"
	"github.com/bearerkit/bearerkit/tokenauth/prommetrics"
	"github.com/bearerkit/bearerkit/tokenauth/tokenauthtest"
)

// The host registers both collectors. This Service has no cache, so the second one
// collects nothing.
func Example() {
	metrics := prommetrics.New()
	auth, err := tokenauth.New(new(memory.Store), new(tokenauthtest.Users), &tokenauth.Options{Observers: []func(context.Context, tokenauth.Event){metrics.Observe}})
	if err != nil {
		panic(err)
	}
	registry := prometheus.NewRegistry() // or prometheus.DefaultRegisterer
	registry.MustRegister(metrics, metrics.Cache(auth))

	_, err = auth.Validate(context.Background(), "nonsense")
	fmt.Println(err)
	fmt.Println(testutil.GatherAndCount(registry, "tokenauth_events_total"))
	// Output:
	// tokenauth: the access token is invalid
	// 42 <nil>
}
