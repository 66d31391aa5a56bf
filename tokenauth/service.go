package tokenauth

import (
	"context"
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
	"github.com/bearerkit/bearerkit/tokenauth/internal/presented"
	"github.com/bearerkit/bearerkit/tokenauth/internal/wrapper"
	"github.com/bearerkit/bearerkit/tokenauth/throttle"
)

// A Service issues, validates and revokes access tokens. [New] makes one. It is
// safe for concurrent use.
type Service struct {
	storage       Storage
	authenticator Authenticator // nil if the Service only issues and validates
	options       Options
	challenges    challenges
	places        *presented.Places // from options.Places
	timeout       deadline.Timeout
	lookups       *lookups
	refresh       *refresher   // nil without Options.Refresh
	keys          *keyring     // nil without Options.Keys
	clock         *clock.Clock // nil if the host set Options.Now
	feed          *changeFeed  // nil if the storage is not a Watcher
	cache         *tokenCache  // nil without Options.Cache
	streams       *streams
	limiter       *limiter.Limiter // nil with ThrottleOptions.InsecureOff
	uses          *useLog          // nil if no option needs it, or the storage is not a UseRecorder
	securityLog   *securityLog
	created       time.Time    // with a monotonic reading
	running       atomic.Int32 // calls of Run in progress
	runCalled     atomic.Bool  // Run was called, or a warning was logged that it was not called
	purgeCalled   atomic.Bool  // the host called Purge
	proxyWarnings sync.Map     // the proxy warnings that were already logged
	colon         sync.Once    // for the warning about a client ID with a colon

	countsAccounts atomic.Bool // the Authenticator calls CountAttempt
}

// New returns a [Service] that keeps its tokens in the [Storage] and
// authenticates users with the [Authenticator]. The options may be nil. The
// error names the invalid argument or field.
//
// The Authenticator may be nil, if the Service only validates tokens, or if the
// host authenticates users by itself and calls [Service.Issue]. There is then no
// token endpoint, and [Service.SignIn] returns [ErrUnavailable]. An interface
// that holds a nil pointer is an error.
//
// New starts no goroutine. It does no I/O, except that it logs a warning for
// each wrapper that hides an optional ability of the value inside, such as
// [Rechecker] or [Purger].
func New(s Storage, a Authenticator, o *Options) (*Service, error) {
	if isNil(s) {
		return nil, errors.New("tokenauth: the storage is nil" + ofType(s))
	}
	if a != nil && isNil(a) {
		return nil, errors.New("tokenauth: the authenticator is nil" + ofType(a) + ": for a Service without sign-ins, pass nil without a type")
	}
	options, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	places, err := presented.Compile(options.Places)
	if err != nil {
		return nil, err
	}
	service := &Service{
		storage:       s,
		authenticator: a,
		options:       options,
		challenges:    newChallenges(options.Realm, options.Places != nil, options.Refresh != nil),
		places:        places,
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
	if err := service.followFeed(); err != nil {
		return nil, err
	}
	if err := checkAbilities(&options, s, a); err != nil {
		return nil, err
	}
	if options.Refresh != nil {
		service.refresh = newRefresher(s.(Refresher), &service.options, &service.timeout, service.securityLog)
	}
	service.uses = newUseLog(s, &service.options, &service.timeout, service.allChanged)
	service.keys = newKeyring(s, &service.options, service.uses, &service.timeout, service.allChanged)
	service.warnHidden()
	return service, nil
}

// followFeed makes the cache and the streams, which follow the storage's feed.
func (s *Service) followFeed() error {
	o := s.options.Cache
	if o == nil {
		o = new(CacheOptions)
	}
	c, err := o.withDefaults()
	if err != nil {
		return err
	}
	w, ok := s.storage.(Watcher)
	switch {
	case ok:
		s.feed = newFeed(w, c.Lease, s.options.Logger)
	case s.options.Cache != nil:
		return fmt.Errorf("tokenauth: Options.Cache needs a storage that implements Watcher, but %T does not: use gormstore.WithFeed on PostgreSQL, or redisstore.WithFeed", s.storage)
	}
	if s.options.Cache != nil {
		s.cache = newTokenCache(c.MaxEntries, s.feed, s.timeAt)
	}
	s.streams = newStreams(&s.options, s.feed, s.lookups.batches != nil)
	return nil
}

// likewise has the methods of a storage with the method of a [Refresher] that does the
// same for refresh tokens.
var likewise = []struct{ own, inherited string }{{"Find", "FindRefresh"}, {"Replace", "Refresh"}}

// warnHidden logs a warning about each wrapper that hides an optional ability.
// The Service does not call the wrapped value directly, because the wrapper may
// change the values that it passes on. warnHidden does not check for a hidden
// [Watcher], [Refresher] or [throttle.Storage], because New returns an error if one
// of them is needed and missing. Only devices work without a [UseRecorder].
//
// It also warns if the methods of a [Refresher] bypass those of a wrapper.
func (s *Service) warnHidden() {
	authenticator, storage, registry := reflect.TypeFor[Authenticator](), reflect.TypeFor[Storage](), reflect.TypeFor[ClientRegistry]()
	queue := reflect.TypeFor[RevocationQueue]()
	type hidden struct {
		part          any
		role, ability reflect.Type
	}
	all := []hidden{
		{s.authenticator, authenticator, reflect.TypeFor[Rechecker]()},
		{s.authenticator, authenticator, queue},
		{s.authenticator, authenticator, reflect.TypeFor[liveChecker]()},
		{s.storage, storage, reflect.TypeFor[BatchFinder]()},
		{s.storage, storage, reflect.TypeFor[Lister]()},
		{s.storage, storage, reflect.TypeFor[Purger]()},
		{s.storage, storage, reflect.TypeFor[BulkRevoker]()},
		{s.options.Clients, registry, queue},
	}
	if s.options.Devices != nil {
		all = append(all, hidden{s.storage, storage, reflect.TypeFor[UseRecorder]()})
	}
	if s.options.Keys != nil {
		all = append(all, hidden{s.storage, storage, reflect.TypeFor[Renamer]()})
	}
	if _, purges := s.storage.(Purger); purges || s.options.IdleTimeout != 0 {
		all = append(all, hidden{s.storage, storage, reflect.TypeFor[storageClock]()})
	}
	if s.options.Refresh != nil {
		for _, m := range likewise {
			if wrapper.Bypasses(s.storage, m.own, m.inherited) {
				s.options.Logger.Warn("tokenauth: a storage wrapper has its own method, but inherits one that does the same for refresh tokens: a refresh bypasses the wrapper until it has both",
					"own", m.own, "inherited", m.inherited, "wrapper", reflect.TypeOf(s.storage).String())
			}
		}
	}
	for _, a := range all {
		if a.part == nil {
			continue
		}
		if methods := wrapper.Hides(a.part, a.role, a.ability); len(methods) > 0 {
			s.options.Logger.Warn("tokenauth: a wrapper hides optional methods of the value that it wraps: add these methods to the wrapper, or embed the concrete type instead of the interface",
				"wrapper", reflect.TypeOf(a.part).String(), "methods", strings.Join(methods, ","))
		}
	}
}

// revocationQueues returns the [Authenticator] if it is a [RevocationQueue],
// and the [ClientRegistry] if it is one.
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
			s.options.Logger.Error("tokenauth: sign-in attempts could not be counted in the storage; until they can, this process counts on its own", "error", err)
		},
	}
	if o.Key != (Secret{}) {
		shared, ok := s.storage.(throttle.Storage)
		if !ok {
			return nil, fmt.Errorf("tokenauth: Options.Throttle.Key needs a storage in which replicas can count together (a throttle.Storage), and %T is not one: use a store of gormstore or redisstore. A single process needs no Key", s.storage)
		}
		c.Key, c.Shared = []byte(o.Key.Reveal()), shared
	}
	return limiter.New(c), nil
}

// mustNotBeNil panics if s is nil. The methods that make handlers and guards
// call it, so that a nil Service causes a panic at startup and not at the first
// request.
func (s *Service) mustNotBeNil() {
	if s == nil {
		panic("tokenauth: the Service is nil: check the error that tokenauth.New returned")
	}
}

// Options returns a copy of the options in effect, with the defaults filled in.
// Changing the copy does not change the Service.
func (s *Service) Options() Options { return s.options.clone() }

// CacheStats returns statistics of the cache ([Options.Cache]). Without a
// cache, they are all zero.
func (s *Service) CacheStats() (stats CacheStats) {
	if s.cache == nil {
		return stats
	}
	return s.cache.stats()
}

// timeAt converts reading, which must come from [time.Now], to the Service's
// time in Unix seconds. If the host set [Options.Now], timeAt ignores reading
// and calls Options.Now instead. Callers pass a reading that they already have,
// because reading the clock takes a tenth of the time of a cached validation.
func (s *Service) timeAt(reading time.Time) int64 {
	if s.clock != nil {
		return s.clock.At(reading) / int64(time.Second)
	}
	return s.options.Now().Unix()
}

// changed invalidates a user's tokens in the cache, and has those of open streams
// checked. Each method that changes tokens calls changed before it returns, so
// that its caller sees the change. It calls changed even after an error, because
// the change may have taken effect.
func (s *Service) changed(u UserKey) {
	if s.cache != nil {
		s.cache.invalidate(u)
	}
	s.streams.changed(u)
}

// allChanged is like changed, for all users.
func (s *Service) allChanged() {
	if s.cache != nil {
		s.cache.flush()
	}
	s.streams.allChanged()
}

// findSignIn returns the token in the slot. With [Options.Refresh], it also has its
// Refresh.
func (s *Service) findSignIn(ctx context.Context, slot Slot) (*Token, error) {
	if s.refresh == nil {
		return s.lookups.find(ctx, slot)
	}
	return s.refresh.lookups.find(ctx, slot)
}

// checkAbilities returns an error that names the first option for which the storage or
// the authenticator lacks an ability.
func checkAbilities(o *Options, s Storage, a Authenticator) error {
	_, lists := s.(Lister)
	_, records := s.(UseRecorder)
	_, refreshes := s.(Refresher)
	_, reloads := a.(Reloader)
	const stores, authenticators = "the stores of gormstore, redisstore and memory", "those of packages password and gormstore"
	for _, need := range []struct {
		set, ok bool
		says    string
		of      any
		have    string
	}{
		{o.Devices != nil, lists, "Options.Devices needs a storage that is a Lister", s, stores},
		{o.Refresh != nil, refreshes, "Options.Refresh needs a storage that is a Refresher", s, stores},
		// Without an authenticator, the Service only issues and validates.
		{o.Refresh != nil && a != nil, reloads, "Options.Refresh needs an Authenticator that is a Reloader", a, authenticators},
		{o.Keys != nil, lists, "Options.Keys needs a storage that is a Lister", s, stores},
		{o.Keys != nil, records, "Options.Keys needs a storage that is a UseRecorder", s, stores},
		{o.Keys != nil, reloads, "Options.Keys needs an Authenticator that is a Reloader", a, authenticators},
		{o.IdleTimeout != 0, records, "Options.IdleTimeout needs a storage that is a UseRecorder", s, stores},
		{o.MaxLifetime != 0, records, "Options.MaxLifetime needs a storage that is a UseRecorder", s, stores},
	} {
		if need.set && !need.ok {
			return fmt.Errorf("tokenauth: %s, and %T is not one; %s are", need.says, need.of, need.have)
		}
	}
	return nil
}
