package prommetrics

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/bearerkit/bearerkit/tokenauth"
)

// Cache returns a [prometheus.Collector] for the statistics of the Service's
// cache ([tokenauth.Service.CacheStats]). Register it together with the
// [Metrics]. If [tokenauth.Options.Cache] is nil, it collects nothing. In the
// list below, the feed is how the storage reports that tokens ended
// ([tokenauth.Watcher]).
//
//   - tokenauth_cache_lookups_total counts validations by result: hit (answered
//     from the cache), miss (read from the storage) or bypass (read from the
//     storage because the feed was down).
//   - tokenauth_cache_invalidations_total counts how often the cache
//     invalidated a user's tokens because one of them ended.
//   - tokenauth_cache_flushes_total counts how often the cache invalidated all
//     tokens.
//   - tokenauth_cache_evictions_total counts the valid tokens that the cache
//     dropped because it was full.
//   - tokenauth_cache_entries is the number of tokens in the cache, valid or
//     not.
//   - tokenauth_cache_feed_alive is 1 while the feed is alive and the cache may
//     answer, else 0.
func (*Metrics) Cache(auth *tokenauth.Service) prometheus.Collector { return cache{auth} }

type cache struct{ auth *tokenauth.Service }

var (
	lookups       = prometheus.NewDesc("tokenauth_cache_lookups_total", "Validations, by whether the cache answered.", []string{"result"}, nil)
	invalidations = prometheus.NewDesc("tokenauth_cache_invalidations_total", "Times that the cache invalidated the tokens of a user because one of them ended.", nil, nil)
	flushes       = prometheus.NewDesc("tokenauth_cache_flushes_total", "Times that the cache invalidated all tokens.", nil, nil)
	evictions     = prometheus.NewDesc("tokenauth_cache_evictions_total", "Valid tokens that the cache dropped because it was full.", nil, nil)
	entries       = prometheus.NewDesc("tokenauth_cache_entries", "Tokens in the cache, valid or not.", nil, nil)
	feedAlive     = prometheus.NewDesc("tokenauth_cache_feed_alive", "1 while the feed is alive and the cache may answer, else 0.", nil, nil)
)

// Describe implements [prometheus.Collector].
func (c cache) Describe(to chan<- *prometheus.Desc) {
	for _, desc := range []*prometheus.Desc{lookups, invalidations, flushes, evictions, entries, feedAlive} {
		to <- desc
	}
}

// Collect implements [prometheus.Collector].
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
