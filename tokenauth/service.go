package tokenauth

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// A Service issues, validates and revokes access tokens. Make one with New. It
// is safe for concurrent use.
type Service struct {
	storage       Storage
	authenticator Authenticator
	options       Options
	challenges    challenges
	reads         readDeadlines
	clock         *steadyClock // nil if the host has one of its own
	cache         *cache       // nil without
	throttle      *throttle    // nil without
	securityLog   *securityLog
	running       atomic.Int32 // calls of Run
	untrusted     sync.Once    // of the warning about a proxy
}

// New returns a Service that keeps its tokens in s and asks a who is signing
// in. Options may be nil. The error names the argument or field that is wrong.
// New does no I/O and starts nothing.
func New(s Storage, a Authenticator, o *Options) (*Service, error) {
	if isNil(s) {
		return nil, errors.New("tokenauth: the storage is nil" + ofType(s))
	}
	if isNil(a) {
		return nil, errors.New("tokenauth: the authenticator is nil" + ofType(a))
	}
	options, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	service := &Service{
		storage:       s,
		authenticator: a,
		options:       options,
		challenges:    newChallenges(options.Realm),
		reads:         readDeadlines{timeout: options.Timeout},
	}
	if options.Now == nil {
		service.clock = newSteadyClock()
		service.options.Now = service.clock.Now
	}
	service.securityLog = newSecurityLog(options.Logger, service.options.Now)
	if !options.Throttle.InsecureOff {
		if service.throttle, err = newThrottle(s, options.Throttle, service.options.Now, service.logThrottleTrouble); err != nil {
			return nil, err
		}
	}
	if options.Cache != nil {
		if service.cache, err = newCache(s, options.Cache, options.Logger); err != nil {
			return nil, err
		}
	}
	return service, nil
}

// Options returns the options in effect, with the zeros filled in, for what
// describes the Service. What changes them changes nothing here.
func (s *Service) Options() Options {
	o := s.options
	o.ResponseAttributes = slices.Clone(o.ResponseAttributes)
	o.TrustedProxies = slices.Clone(o.TrustedProxies)
	o.Observers = slices.Clone(o.Observers)
	return o
}

// purgeGrace is how long an expired token stays in the storage: a clock that
// was set a day ahead by mistake must not remove anything.
const purgeGrace = 24 * time.Hour

// Run does what has to be done in the background, until the context ends: it
// purges expired tokens, if the storage has to be told (see Purger), and keeps
// the feed of the cache, if there is one; without Run the cache never serves.
// Trouble is logged, and what failed is tried again. Run returns nil.
//
// It is called once for each Service; a second call beside the first does the
// same work twice, and is logged at error. Any number of replicas may run it.
func (s *Service) Run(ctx context.Context) error {
	if s.running.Add(1) > 1 {
		s.options.Logger.ErrorContext(ctx, "tokenauth: Service.Run was called while it runs already: once for each Service is enough")
	}
	defer s.running.Add(-1)
	var wg sync.WaitGroup
	if s.cache != nil {
		wg.Go(func() { s.cache.run(ctx) })
	}
	s.purgeOnAndOn(ctx)
	wg.Wait()
	return nil
}

func (s *Service) purgeOnAndOn(ctx context.Context) {
	ticker := time.NewTicker(s.options.PurgeInterval)
	defer ticker.Stop()
	for {
		if _, err := s.Purge(ctx); err != nil && ctx.Err() == nil {
			s.options.Logger.ErrorContext(ctx, "tokenauth: purge failed", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// Purge removes the tokens that expired more than a day ago and returns how
// many. It does nothing for a storage with an expiry of its own. It has no
// deadline but the context's; what was removed before an error stays removed.
func (s *Service) Purge(ctx context.Context) (removed int64, err error) {
	p, ok := s.storage.(Purger)
	if !ok {
		return 0, nil
	}
	removed, err = p.Purge(ctx, s.options.Now().Add(-purgeGrace))
	if err != nil {
		return removed, unavailable("purging", err)
	}
	return removed, nil
}
