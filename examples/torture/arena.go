package main

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/bearerkit/bearerkit/storage/memory"
	"github.com/bearerkit/bearerkit/tokenauth"
)

// otherPrefix is as long as tokenPrefix.
const otherPrefix = "tok_"

// A validator is what forgeries are tried on: a Service, or one with a bug.
type validator interface {
	Validate(ctx context.Context, accessToken string) (tokenauth.Token, error)
}

// An arena is a service on which forgeries are tried, and those from which
// tokens come that are not good at it.
type arena struct {
	name string
	validator
	auth  *tokenauth.Service
	users int // of each forger; the more, the more often it is tried
	// late has the same storage and a clock that is a day behind.
	late, prefixed, foreign *tokenauth.Service
}

// openArenas opens one without a cache and one with it.
func openArenas(tb testing.TB, e *env) (arenas []*arena, stop func()) {
	ctx, cancel := context.WithCancel(tb.Context())
	ended := make(chan struct{})
	strict := newArena(tb, e, "a service without a cache", 32, nil)
	cached := newArena(tb, e, "a service with a cache", 8, new(tokenauth.CacheOptions))
	go func() {
		defer close(ended)
		cached.auth.Run(ctx)
	}()
	s := &setting{replicas: []*tokenauth.Service{cached.auth}}
	s.awaitFeeds(ctx)
	return []*arena{strict, cached}, func() {
		cancel()
		<-ended
	}
}

func newArena(tb testing.TB, e *env, name string, users int, cache *tokenauth.CacheOptions) *arena {
	storage := e.planted(new(memory.Store), e.seed)
	open := func(s tokenauth.Storage, o tokenauth.Options) *tokenauth.Service {
		o.Logger, o.Throttle.InsecureOff = slog.New(slog.DiscardHandler), true
		auth, err := tokenauth.New(s, new(directory), &o)
		if err != nil {
			tb.Fatal(err)
		}
		return auth
	}
	a := &arena{
		name: name, users: users,
		auth: open(storage, tokenauth.Options{Cache: cache}),
		late: open(storage, tokenauth.Options{
			Lifetime: time.Minute,
			Now:      func() time.Time { return time.Now().Add(-24 * time.Hour) },
		}),
		prefixed: open(storage, tokenauth.Options{Prefix: otherPrefix}),
		foreign:  open(new(memory.Store), tokenauth.Options{}),
	}
	a.validator = a.auth
	if e.plant != nil && e.plant.validator != nil {
		a.validator = e.plant.validator(a.auth, storage)
	}
	return a
}

// newMark signs a user in, and what else there is to try of the user.
func (a *arena) newMark(ctx context.Context, user string) (*mark, error) {
	m := &mark{arena: a, user: user}
	for _, issue := range []struct {
		by     *tokenauth.Service
		client string
		token  *string
	}{
		{a.late, "expired", &m.expired}, {a.auth, "revoked", &m.revoked}, {a.prefixed, "prefixed", &m.prefixed},
		{a.foreign, "", &m.foreign}, {a.auth, "", &m.good},
	} {
		g, err := issue.by.Issue(ctx, tokenauth.Principal{UserID: user}, issue.client)
		if err != nil {
			return nil, err
		}
		*issue.token = g.AccessToken.Reveal()
	}
	if err := a.auth.Revoke(ctx, m.revoked); err != nil {
		return nil, err
	}
	return m, m.renew(ctx)
}

// renew signs the user in again.
func (m *mark) renew(ctx context.Context) error {
	g, err := m.auth.Issue(ctx, tokenauth.Principal{UserID: m.user}, "")
	if err != nil {
		return err
	}
	m.replaced, m.good = m.good, g.AccessToken.Reveal()
	m.body.open(m.good)
	return nil
}
