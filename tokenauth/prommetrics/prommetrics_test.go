package prommetrics_test

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	dto "github.com/prometheus/client_model/go"

	"github.com/bearerkit/bearerkit/tokenauth"
	"github.com/bearerkit/bearerkit/tokenauth/event"
	"github.com/bearerkit/bearerkit/tokenauth/prommetrics"
)

// noEvents is tokenauth_events_total before the first event.
const noEvents = `
# HELP tokenauth_events_total Events of the token service, by kind and reason.
# TYPE tokenauth_events_total counter
tokenauth_events_total{kind="introspected",reason=""} 0
tokenauth_events_total{kind="introspected",reason="client"} 0
tokenauth_events_total{kind="introspected",reason="expired"} 0
tokenauth_events_total{kind="introspected",reason="invalid"} 0
tokenauth_events_total{kind="introspected",reason="replaced"} 0
tokenauth_events_total{kind="issued",reason=""} 0
tokenauth_events_total{kind="issued",reason="key"} 0
tokenauth_events_total{kind="refresh_refused",reason="client"} 0
tokenauth_events_total{kind="refresh_refused",reason="expired"} 0
tokenauth_events_total{kind="refresh_refused",reason="invalid"} 0
tokenauth_events_total{kind="refresh_refused",reason="reused"} 0
tokenauth_events_total{kind="refreshed",reason=""} 0
tokenauth_events_total{kind="refreshed",reason="repeated"} 0
tokenauth_events_total{kind="refreshed",reason="repeated_elsewhere"} 0
tokenauth_events_total{kind="refused",reason="client"} 0
tokenauth_events_total{kind="refused",reason="cross_site"} 0
tokenauth_events_total{kind="refused",reason="expired"} 0
tokenauth_events_total{kind="refused",reason="invalid"} 0
tokenauth_events_total{kind="refused",reason="key"} 0
tokenauth_events_total{kind="refused",reason="malformed"} 0
tokenauth_events_total{kind="refused",reason="no_credentials"} 0
tokenauth_events_total{kind="refused",reason="replaced"} 0
tokenauth_events_total{kind="refused",reason="role"} 0
tokenauth_events_total{kind="revoked",reason=""} 0
tokenauth_events_total{kind="revoked",reason="all"} 0
tokenauth_events_total{kind="revoked",reason="client"} 0
tokenauth_events_total{kind="revoked",reason="devices"} 0
tokenauth_events_total{kind="revoked",reason="key"} 0
tokenauth_events_total{kind="revoked",reason="reused"} 0
tokenauth_events_total{kind="revoked",reason="user"} 0
tokenauth_events_total{kind="sign_in_refused",reason=""} 0
tokenauth_events_total{kind="sign_in_refused",reason="client"} 0
tokenauth_events_total{kind="sign_in_refused",reason="credentials"} 0
tokenauth_events_total{kind="sign_in_refused",reason="malformed"} 0
tokenauth_events_total{kind="sign_in_refused",reason="throttled"} 0
tokenauth_events_total{kind="unavailable",reason=""} 0
tokenauth_events_total{kind="unavailable",reason="busy"} 0
tokenauth_events_total{kind="unavailable",reason="canceled"} 0
tokenauth_events_total{kind="unavailable",reason="internal"} 0
tokenauth_events_total{kind="validated",reason=""} 0
tokenauth_events_total{kind="validated",reason="fallback"} 0
tokenauth_events_total{kind="validated",reason="key"} 0
`

func register(t *testing.T, collectors ...prometheus.Collector) *prometheus.Registry {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	for _, c := range collectors {
		if err := registry.Register(c); err != nil {
			t.Fatal(err)
		}
	}
	return registry
}

func TestEventsStartAtZero(t *testing.T) {
	t.Parallel()
	m := prommetrics.New()
	registry := register(t, m)
	if err := testutil.GatherAndCompare(registry, strings.NewReader(noEvents), "tokenauth_events_total"); err != nil {
		t.Error(err)
	}
	m.Observe(t.Context(), tokenauth.Event{Kind: event.Refused, Reason: event.ReasonReplaced})
	one := strings.Replace(noEvents, `reason="replaced"} 0
tokenauth_events_total{kind="refused",reason="role"}`, `reason="replaced"} 1
tokenauth_events_total{kind="refused",reason="role"}`, 1)
	if err := testutil.GatherAndCompare(registry, strings.NewReader(one), "tokenauth_events_total"); err != nil {
		t.Error(err)
	}
}

func TestMetricNamesPassTheLinter(t *testing.T) {
	t.Parallel()
	problems, err := testutil.GatherAndLint(register(t, prommetrics.New(), new(prommetrics.Metrics).Cache(cached(t))))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

// The buckets are fine enough for a validation from the cache and wide enough for
// a slow sign-in, in the classic and in the native histogram.
func TestBucketsSeparateCacheFromSignIn(t *testing.T) {
	t.Parallel()
	m := prommetrics.New()
	durations := []time.Duration{300 * time.Nanosecond, 700 * time.Nanosecond, 40 * time.Microsecond, 3 * time.Millisecond, 60 * time.Millisecond, 2 * time.Second}
	for _, d := range durations {
		m.Observe(t.Context(), tokenauth.Event{Kind: event.Validated, Duration: d})
	}
	m.Observe(t.Context(), tokenauth.Event{Kind: event.Validated}) // not measured
	h := histogram(t, m, "validated")
	if h.GetSampleCount() != uint64(len(durations)) || math.Abs(h.GetSampleSum()-2.0630410) > 1e-9 {
		t.Errorf("the histogram has %d samples with a sum of %v s, want %d and 2.063041 s", h.GetSampleCount(), h.GetSampleSum(), len(durations))
	}
	below := make(map[float64]uint64)
	for _, b := range h.GetBucket() {
		below[b.GetUpperBound()] = b.GetCumulativeCount()
	}
	for bound, want := range map[float64]uint64{250e-9: 0, 500e-9: 1, 1e-6: 2, 25e-6: 2, 50e-6: 3, 5e-3: 4, 0.05: 4, 0.1: 5, 1: 5, 2.5: 6, 10: 6} {
		if got, ok := below[bound]; got != want || !ok {
			t.Errorf("bucket with upper bound %v s: got %d samples, want %d", bound, got, want)
		}
	}
	native := 0
	for _, span := range h.GetPositiveSpan() {
		native += int(span.GetLength())
	}
	if native < len(durations) || h.GetZeroCount() != 0 {
		t.Errorf("%d native buckets and %d samples in the zero bucket, want at least %d and 0", native, h.GetZeroCount(), len(durations))
	}
}

func histogram(t *testing.T, m *prommetrics.Metrics, kind string) *dto.Histogram {
	t.Helper()
	for _, metric := range family(t, register(t, m), "tokenauth_event_duration_seconds").GetMetric() {
		if metric.GetLabel()[0].GetValue() == kind {
			return metric.GetHistogram()
		}
	}
	t.Fatalf("tokenauth_event_duration_seconds has no histogram with kind=%q", kind)
	return nil
}

func family(t *testing.T, g prometheus.Gatherer, name string) *dto.MetricFamily {
	t.Helper()
	families, err := g.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			return f
		}
	}
	t.Fatalf("the registry has no metric %s", name)
	return nil
}

// events returns the counts by kind and reason.
func events(t *testing.T, g prometheus.Gatherer) map[string]float64 {
	t.Helper()
	counts := make(map[string]float64)
	for _, metric := range family(t, g, "tokenauth_events_total").GetMetric() {
		counts[metric.GetLabel()[0].GetValue()+" "+metric.GetLabel()[1].GetValue()] = metric.GetCounter().GetValue()
	}
	return counts
}

// Events with a kind or a reason that this package does not know are counted, too:
// a later version of package tokenauth may report some.
func TestUnknownEventsAreCounted(t *testing.T) {
	t.Parallel()
	m := prommetrics.New()
	for _, e := range []tokenauth.Event{{Kind: -1}, {Kind: 99}, {}, {Kind: event.Issued, Reason: "new"}, {Kind: event.Revoked}} {
		e.Duration = time.Second
		m.Observe(t.Context(), e)
	}
	got := events(t, register(t, m))
	if got["unknown "] != 3 || got["issued new"] != 1 {
		t.Errorf(`got %v, want "unknown " 3 times and "issued new" once`, got)
	}
	for kind, want := range map[string]uint64{"unknown": 3, "issued": 1, "revoked": 1} {
		if got := histogram(t, m, kind).GetSampleCount(); got != want {
			t.Errorf("kind %s: got %d durations, want %d", kind, got, want)
		}
	}
}

// This test is not parallel: AllocsPerRun counts the allocations of the whole
// process.
func TestObserveDoesNotAllocate(t *testing.T) {
	m, ctx := prommetrics.New(), t.Context()
	for _, e := range []tokenauth.Event{
		{Kind: event.Validated, Duration: 400 * time.Nanosecond, UserID: "17"},
		{Kind: event.Refused, Reason: event.ReasonNoCredentials},
		{Kind: event.Unavailable, Duration: 2 * time.Second},
	} {
		if n := testing.AllocsPerRun(1000, func() { m.Observe(ctx, e) }); n != 0 {
			t.Errorf("Observe of %v makes %v allocations, want 0", e.Kind, n)
		}
	}
}

func BenchmarkObserve(b *testing.B) {
	m, ctx := prommetrics.New(), b.Context()
	e := tokenauth.Event{Kind: event.Validated, Duration: 400 * time.Nanosecond, UserID: "17"}
	b.ReportAllocs()
	for b.Loop() {
		m.Observe(ctx, e)
	}
}
