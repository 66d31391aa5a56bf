// Package prommetrics has metrics of a tokenauth.Service for Prometheus:
//
//	metrics := prommetrics.New()
//	auth, err := tokenauth.New(store, users, &tokenauth.Options{
//		Observers: []func(context.Context, tokenauth.Event){metrics.Observe},
//	})
//	…
//	prometheus.MustRegister(metrics, metrics.Cache(auth))
//
// No metric has a label that comes from a request, a user, a client or a token.
// Two Services in one process are told apart by a label of the host's:
// prometheus.WrapRegistererWith(prometheus.Labels{"realm": "staff"}, registry)
// takes the place of the registry, once for each of them.
//
// Beside this file are alerts.yml, rules for Prometheus, and grafana.json, a
// dashboard.
package prommetrics

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/bearerkit/bearerkit/tokenauth"
	"github.com/bearerkit/bearerkit/tokenauth/event"
)

// Metrics counts and times the events of a Service. Observe is for
// tokenauth.Options.Observers, and Metrics is a prometheus.Collector to register:
//
//   - tokenauth_events_total counts events by kind and reason. All pairs that
//     there can be are there from the start, so that rate() sees the first one.
//     A request that is refused for its role or its client has been validated
//     before, and counts as both.
//   - tokenauth_event_duration_seconds tells how long they took, by kind, where
//     the Service measures it. It has classic buckets from 250 ns, since a
//     validation from the cache takes less than a microsecond, to 10 s, and is
//     a native histogram too.
type Metrics struct {
	events    *prometheus.CounterVec
	durations *prometheus.HistogramVec

	// What the vectors have, found without garbage.
	counters   [kinds]map[event.Reason]prometheus.Counter
	histograms [kinds]prometheus.Observer
}

var _ prometheus.Collector = (*Metrics)(nil)

// kinds bounds the kinds of events that are known here.
const kinds = event.Unavailable + 1

// sorts are the events that there can be.
var sorts = []struct {
	kind    event.Kind
	reasons []event.Reason
}{
	{event.Issued, []event.Reason{""}},
	{event.SignInRefused, []event.Reason{
		event.ReasonMalformed, event.ReasonCredentials, event.ReasonClient, event.ReasonThrottled,
	}},
	{event.Validated, []event.Reason{"", event.ReasonFallback}},
	{event.Refused, []event.Reason{
		event.ReasonMalformed, event.ReasonNoCredentials, event.ReasonInvalid, event.ReasonExpired,
		event.ReasonReplaced, event.ReasonRole, event.ReasonClient,
	}},
	{event.Introspected, []event.Reason{
		"", event.ReasonInvalid, event.ReasonExpired, event.ReasonReplaced, event.ReasonClient,
	}},
	{event.Revoked, []event.Reason{"", event.ReasonUser, event.ReasonClient}},
	{event.Unavailable, []event.Reason{"", event.ReasonBusy, event.ReasonCanceled, event.ReasonInternal}},
}

// buckets are from a validation from the cache to a sign-in that waited its
// turn.
var buckets = []float64{
	250e-9, 500e-9,
	1e-6, 2.5e-6, 5e-6, 10e-6, 25e-6, 50e-6, 100e-6, 250e-6, 500e-6,
	1e-3, 2.5e-3, 5e-3, 10e-3, 25e-3, 50e-3, 100e-3, 250e-3, 500e-3,
	1, 2.5, 5, 10,
}

// New returns the metrics of a Service, all zero.
func New() *Metrics {
	m := &Metrics{
		events: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tokenauth_events_total",
			Help: "What the token service did, by kind of event and reason.",
		}, []string{"kind", "reason"}),
		durations: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "tokenauth_event_duration_seconds",
			Help:    "How long it took, by kind of event.",
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

// Observe counts an event, for tokenauth.Options.Observers.
func (m *Metrics) Observe(_ context.Context, e tokenauth.Event) {
	m.counter(e.Kind, e.Reason).Inc()
	if e.Duration > 0 {
		m.histogram(e.Kind).Observe(e.Duration.Seconds())
	}
}

// counter falls back to the vector, so that what is not known here is counted
// all the same.
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

// Describe implements prometheus.Collector.
func (m *Metrics) Describe(to chan<- *prometheus.Desc) {
	m.events.Describe(to)
	m.durations.Describe(to)
}

// Collect implements prometheus.Collector.
func (m *Metrics) Collect(to chan<- prometheus.Metric) {
	m.events.Collect(to)
	m.durations.Collect(to)
}
