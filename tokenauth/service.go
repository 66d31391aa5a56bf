package tokenauth

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bearerkit/bearerkit/tokenauth/internal/clock"
	"github.com/bearerkit/bearerkit/tokenauth/internal/deadline"
	"github.com/bearerkit/bearerkit/tokenauth/internal/limiter"
	"github.com/bearerkit/bearerkit/tokenauth/internal/wrapper"
	"github.com/bearerkit/bearerkit/tokenauth/throttle"
)

// A Service issues, validates and revokes access tokens. New makes one. It is
// safe for concurrent use.
type Service struct {
	storage       Storage
	authenticator Authenticator
	options       Options
	challenges    challenges
	timeout       deadline.Timeout
	lookups       *lookups
	clock         *clock.Clock     // nil if the host has its own
	cache         *tokenCache      // nil without
	limiter       *limiter.Limiter // nil without
	securityLog   *securityLog
	created       time.Time    // with a monotonic reading
	running       atomic.Int32 // calls of Run
	runCalled     atomic.Bool  // Run was called, or its absence logged
	purgeCalled   atomic.Bool  // by the host
	proxyWarnings sync.Map     // those about proxies that were logged
	colon         sync.Once    // of the warning about a client ID with a colon

	countsAccounts atomic.Bool // the Authenticator calls CountAttempt
}

// New returns a Service that keeps its tokens in s and asks a who signs in.
// Options may be nil. The error names the argument or field that is wrong. New
// starts nothing and does no I/O, except that it logs a warning about a wrapper that
// hides an optional ability of the wrapped type, such as Rechecker or Purger.
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
		timeout:       deadline.Timeout{Duration: options.Timeout},
		created:       time.Now(),
	}
	if options.Now == nil {
		service.clock = clock.New()
		service.options.Now = service.clock.Now
	}
	service.securityLog = newSecurityLog(options.Logger, service.options.Now)
	if !options.Throttle.InsecureOff {
		if service.limiter, err = service.newLimiter(); err != nil {
			return nil, err
		}
	}
	service.lookups = newLookups(s, &service.timeout, options.Logger, service.securityLog)
	if options.Cache != nil {
		if service.cache, err = newTokenCache(s, options.Cache, options.Logger); err != nil {
			return nil, err
		}
	}
	service.warnHidden()
	return service, nil
}

// warnHidden warns of wrappers that hide an optional ability. (A Watcher and a
// throttle.Storage are not among them: New returns an error where one is needed.)
// The Service does not look through a wrapper, which may change the values that it
// passes on.
func (s *Service) warnHidden() {
	authenticator, storage, registry := reflect.TypeFor[Authenticator](), reflect.TypeFor[Storage](), reflect.TypeFor[ClientRegistry]()
	queue := reflect.TypeFor[RevocationQueue]()
	for _, a := range []struct {
		part          any
		role, ability reflect.Type
	}{
		{s.authenticator, authenticator, reflect.TypeFor[Rechecker]()},
		{s.authenticator, authenticator, queue},
		{s.authenticator, authenticator, reflect.TypeFor[liveChecker]()},
		{s.storage, storage, reflect.TypeFor[BatchFinder]()},
		{s.storage, storage, reflect.TypeFor[Lister]()},
		{s.storage, storage, reflect.TypeFor[Purger]()},
		{s.storage, storage, reflect.TypeFor[purgerClock]()},
		{s.storage, storage, reflect.TypeFor[ClientRevoker]()},
		{s.options.Clients, registry, queue},
	} {
		if a.part == nil {
			continue
		}
		if methods := wrapper.Hides(a.part, a.role, a.ability); len(methods) > 0 {
			s.options.Logger.Warn("tokenauth: a wrapper hides an ability of what it wraps: add its methods, or embed the type in place of the interface",
				"wrapper", reflect.TypeOf(a.part).String(), "methods", strings.Join(methods, ","))
		}
	}
}

// revocationQueues is the one place that looks for a RevocationQueue.
func (s *Service) revocationQueues() (queues []RevocationQueue) {
	for _, host := range []any{s.authenticator, s.options.Clients} {
		if queue, ok := host.(RevocationQueue); ok {
			queues = append(queues, queue)
		}
	}
	return queues
}

func (s *Service) newLimiter() (*limiter.Limiter, error) {
	o := &s.options.Throttle
	c := limiter.Config{
		PerAccountAndSource: o.PerAccountAndSource,
		PerAccount:          o.PerAccount,
		AccountCeiling:      o.AccountCeiling,
		PerSource:           o.PerSource,
		MaxCounters:         o.MaxCounters,
		Replicas:            o.Replicas,
		Now:                 s.options.Now,
		Timeout:             &s.timeout,
		SharedFailed: func(err error) {
			s.options.Logger.Error("tokenauth: attempts could not be counted in the storage; this process counts for itself", "error", err)
		},
	}
	if o.Key != (Secret{}) {
		shared, ok := s.storage.(throttle.Storage)
		if !ok {
			return nil, fmt.Errorf("tokenauth: Options.Throttle.Key needs a storage in which replicas count together (a throttle.Storage), and %T is none: those of gormstore and redisstore are; a single process needs no Key", s.storage)
		}
		c.Key, c.Shared = []byte(o.Key.Reveal()), shared
	}
	return limiter.New(c), nil
}

// mustNotBeNil is called where handlers and guards are made. Without it, a
// missing Service would show with the first request only.
func (s *Service) mustNotBeNil() {
	if s == nil {
		panic("tokenauth: the Service is nil: was the error of tokenauth.New looked at?")
	}
}

// Options returns the options in effect, with the defaults filled in. Changing
// them does not change the Service.
func (s *Service) Options() Options { return s.options.clone() }

// CacheStats returns figures of the cache; all zero without one.
func (s *Service) CacheStats() (stats CacheStats) {
	if s.cache == nil {
		return stats
	}
	return s.cache.stats()
}

// changed makes the cache forget a user, before the call that changed something
// returns: the caller sees the change. A call that failed may have taken effect.
func (s *Service) changed(u UserKey) {
	if s.cache != nil {
		s.cache.invalidate(u)
	}
}
