// Package prommetrics exports metrics of a [tokenauth.Service] to Prometheus:
//
//	metrics := prommetrics.New()
//	auth, err := tokenauth.New(store, users, &tokenauth.Options{
//		Observers: []func(context.Context, tokenauth.Event){metrics.Observe},
//	})
//	…
//	prometheus.MustRegister(metrics, metrics.Cache(auth))
//
// No label contains data about a request, a user, a client or a token.
//
// If one process has two Services, register the metrics of each Service with a
// [prometheus.Registerer] that adds a distinct label
// ([prometheus.WrapRegistererWith]):
//
//	staff := prometheus.WrapRegistererWith(prometheus.Labels{"realm": "staff"}, registry)
//
// This package's folder also has Prometheus alerting rules (alerts.yml) and a
// Grafana dashboard (grafana.json).
package prommetrics

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/bearerkit/bearerkit/tokenauth"
	"github.com/bearerkit/bearerkit/tokenauth/event"
)

// Metrics counts and times the events of a [tokenauth.Service]. Add
// [Metrics.Observe] to [tokenauth.Options.Observers], and register the Metrics,
// which is a [prometheus.Collector]. Metrics is safe for concurrent use.
//
//   - tokenauth_events_total counts events by kind and reason ([event.Kind],
//     [event.Reason]). All pairs exist from the start, at 0, so that rate()
//     also sees the first event. A request that a guard refuses because of its
//     role or its client counts twice: as validated and as refused.
//   - tokenauth_event_duration_seconds is a histogram of
//     [tokenauth.Event.Duration] by kind. It leaves out events without a
//     duration. Its classic buckets go from 250 ns to 10 s, because a
//     validation from the cache takes less than a microsecond. It is a native
//     histogram as well.
type Metrics struct {
	events    *prometheus.CounterVec
	durations *prometheus.HistogramVec

	// counters and histograms hold the vectors' own metrics for the pairs in
	// sorts. New looks them up once, so that Observe need not: a look-up in a
	// vector allocates memory. For any other pair, Observe uses the vector.
	counters   [kinds]map[event.Reason]prometheus.Counter
	histograms [kinds]prometheus.Observer
}

var _ prometheus.Collector = (*Metrics)(nil)

// kinds is one more than the largest [event.Kind] that this package knows.
const kinds = event.Unavailable + 1

// sorts has, for each [event.Kind], the reasons with which a
// [tokenauth.Service] reports it. The reason "" means that the event has none.
var sorts = []struct {
	kind    event.Kind
	reasons []event.Reason
}{
	{event.Issued, []event.Reason{"", event.ReasonKey}},
	{event.SignInRefused, []event.Reason{
		"", event.ReasonMalformed, event.ReasonCredentials, event.ReasonClient, event.ReasonThrottled,
	}},
	{event.Validated, []event.Reason{"", event.ReasonKey, event.ReasonFallback}},
	{event.Refused, []event.Reason{
		event.ReasonMalformed, event.ReasonNoCredentials, event.ReasonInvalid, event.ReasonExpired,
		event.ReasonReplaced, event.ReasonRole, event.ReasonClient, event.ReasonKey, event.ReasonCrossSite,
	}},
	{event.Introspected, []event.Reason{
		"", event.ReasonInvalid, event.ReasonExpired, event.ReasonReplaced, event.ReasonClient,
	}},
	{event.Revoked, []event.Reason{
		"", event.ReasonUser, event.ReasonClient, event.ReasonKey, event.ReasonDevices, event.ReasonReused, event.ReasonAll,
	}},
	{event.Refreshed, []event.Reason{"", event.ReasonRepeated, event.ReasonRepeatedElsewhere}},
	{event.RefreshRefused, []event.Reason{event.ReasonInvalid, event.ReasonExpired, event.ReasonClient, event.ReasonReused}},
	{event.Unavailable, []event.Reason{"", event.ReasonBusy, event.ReasonCanceled, event.ReasonInternal}},
}

// buckets are the upper bounds of the classic buckets, in seconds. The smallest
// are for validations from the cache, the largest for sign-ins that waited for
// other sign-ins.
var buckets = []float64{
	250e-9, 500e-9,
	1e-6, 2.5e-6, 5e-6, 10e-6, 25e-6, 50e-6, 100e-6, 250e-6, 500e-6,
	1e-3, 2.5e-3, 5e-3, 10e-3, 25e-3, 50e-3, 100e-3, 250e-3, 500e-3,
	1, 2.5, 5, 10,
}

// New returns [Metrics] for one Service, all zero.
func New() *Metrics {
	m := &Metrics{
		events: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tokenauth_events_total",
			Help: "Events of the token service, by kind and reason.",
		}, []string{"kind", "reason"}),
		durations: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "tokenauth_event_duration_seconds",
			Help:    "How long the token service took, by kind of event.",
			Buckets: buckets,

			NativeHistogramBucketFactor:     1.1,
			NativeHistogramZeroThreshold:    100e-9,
			NativeHistogramMaxBucketNumber:  160,
			NativeHistogramMinResetDuration: time.Hour,
		}, []string{"kind"}),
	}
	for _, sort := range sorts {
		m.counters[sort.kind] = make(map[event.Reason]prometheus.Counter)
		for _, reason := range sort.reasons {
			m.counters[sort.kind][reason] = m.events.WithLabelValues(sort.kind.String(), string(reason))
		}
		m.histograms[sort.kind] = m.durations.WithLabelValues(sort.kind.String())
	}
	return m
}

// Observe counts an event. It is for [tokenauth.Options.Observers].
func (m *Metrics) Observe(_ context.Context, e tokenauth.Event) {
	m.counter(e.Kind, e.Reason).Inc()
	if e.Duration > 0 {
		m.histogram(e.Kind).Observe(e.Duration.Seconds())
	}
}

// counter returns the counter for a kind and a reason. For a pair that is not
// in sorts, it takes the counter from the vector, because a later version of
// tokenauth may report further pairs.
func (m *Metrics) counter(kind event.Kind, reason event.Reason) prometheus.Counter {
	if kind > 0 && kind < kinds {
		if c := m.counters[kind][reason]; c != nil {
			return c
		}
	}
	return m.events.WithLabelValues(kind.String(), string(reason))
}

func (m *Metrics) histogram(kind event.Kind) prometheus.Observer {
	if kind > 0 && kind < kinds && m.histograms[kind] != nil {
		return m.histograms[kind]
	}
	return m.durations.WithLabelValues(kind.String())
}

// Describe implements [prometheus.Collector].
func (m *Metrics) Describe(to chan<- *prometheus.Desc) {
	m.events.Describe(to)
	m.durations.Describe(to)
}

// Collect implements [prometheus.Collector].
func (m *Metrics) Collect(to chan<- prometheus.Metric) {
	m.events.Collect(to)
	m.durations.Collect(to)
}
