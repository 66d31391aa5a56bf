package prommetrics

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/bearerkit/bearerkit/tokenauth"
)

// Cache returns a collector of the figures of the Service's cache
// (Service.CacheStats), to register beside m. It collects nothing if the Service
// has no cache.
//
//   - tokenauth_cache_lookups_total counts validations by result: hit (answered
//     from the cache), miss (the storage was asked) or bypass (the storage was
//     asked because the feed was not alive).
//   - tokenauth_cache_invalidations_total, _flushes_total and _evictions_total
//     count what was forgotten, and why.
//   - tokenauth_cache_entries is how many tokens take up room.
//   - tokenauth_cache_feed_alive is 1 while the cache may serve, or else 0.
func (*Metrics) Cache(auth *tokenauth.Service) prometheus.Collector { return cache{auth} }

type cache struct{ auth *tokenauth.Service }

var (
	lookups       = prometheus.NewDesc("tokenauth_cache_lookups_total", "Validations by how the cache could help.", []string{"result"}, nil)
	invalidations = prometheus.NewDesc("tokenauth_cache_invalidations_total", "Users who were forgotten because a token of theirs ended.", nil, nil)
	flushes       = prometheus.NewDesc("tokenauth_cache_flushes_total", "Times that everything was forgotten.", nil, nil)
	evictions     = prometheus.NewDesc("tokenauth_cache_evictions_total", "Tokens that made room for others.", nil, nil)
	entries       = prometheus.NewDesc("tokenauth_cache_entries", "Tokens that take up room now.", nil, nil)
	feedAlive     = prometheus.NewDesc("tokenauth_cache_feed_alive", "Whether the feed of changes is alive, so that the cache may serve.", nil, nil)
)

// Describe implements prometheus.Collector.
func (c cache) Describe(to chan<- *prometheus.Desc) {
	for _, desc := range []*prometheus.Desc{lookups, invalidations, flushes, evictions, entries, feedAlive} {
		to <- desc
	}
}

// Collect implements prometheus.Collector.
func (c cache) Collect(to chan<- prometheus.Metric) {
	if c.auth.Options().Cache == nil {
		return
	}
	stats := c.auth.CacheStats()
	counter := func(desc *prometheus.Desc, n uint64, labels ...string) {
		to <- prometheus.MustNewConstMetric(desc, prometheus.CounterValue, float64(n), labels...)
	}
	counter(lookups, stats.Hits, "hit")
	counter(lookups, stats.Misses, "miss")
	counter(lookups, stats.Bypasses, "bypass")
	counter(invalidations, stats.Invalidations)
	counter(flushes, stats.Flushes)
	counter(evictions, stats.Evictions)

	alive := 0.0
	if stats.FeedAlive {
		alive = 1
	}
	to <- prometheus.MustNewConstMetric(entries, prometheus.GaugeValue, float64(stats.Entries))
	to <- prometheus.MustNewConstMetric(feedAlive, prometheus.GaugeValue, alive)
}
