package forgery

import (
	"context"
	"log/slog"
	"net/http"
	"testing"
	"time"

	"github.com/bearerkit/bearerkit/examples/torture/internal/host"
	"github.com/bearerkit/bearerkit/examples/torture/internal/plant"
	"github.com/bearerkit/bearerkit/examples/torture/internal/trial"
	"github.com/bearerkit/bearerkit/storage/memory"
	"github.com/bearerkit/bearerkit/tokenauth"
)

// The other prefixes have the same length as [accesstoken.Prefix].
const otherPrefix, otherRefreshPrefix = "tok_", "rok_"

// An arena is a service that validates forgeries, with other services whose tokens
// are invalid there.
type arena struct {
	name string
	plant.Validator
	refresher refresher
	auth      *tokenauth.Service
	// authorize checks a request as [tokenauth.Service.Authorizer] does.
	authorize func(*http.Request) (*http.Request, *tokenauth.ErrorResponse)
	users     int // of each forger; forgeries are drawn evenly over all users
	// late has the same storage, and a clock that is a day slow, so that its tokens
	// have expired. Prefixed has the same storage and another prefix. Foreign has
	// another storage.
	late, prefixed, foreign *tokenauth.Service
}

// openArenas opens an arena without a cache and one with a cache.
func openArenas(tb testing.TB, e *trial.Env) (arenas []*arena, stop func()) {
	ctx, cancel := context.WithCancel(tb.Context())
	ended := make(chan struct{})
	strict := newArena(tb, e, "a service without a cache", 32, nil)
	cached := newArena(tb, e, "a service with a cache", 8, new(tokenauth.CacheOptions))
	go func() {
		defer close(ended)
		cached.auth.Run(ctx)
	}()
	trial.AwaitFeeds(ctx, cached.auth)
	return []*arena{strict, cached}, func() {
		cancel()
		<-ended
	}
}

func newArena(tb testing.TB, e *trial.Env, name string, users int, cache *tokenauth.CacheOptions) *arena {
	storage := e.Planted(new(memory.Store), e.Seed)
	open := func(s tokenauth.Storage, o tokenauth.Options) *tokenauth.Service {
		o.Logger, o.Throttle.InsecureOff = slog.New(slog.DiscardHandler), true
		auth, err := tokenauth.New(s, new(host.Directory), &o)
		if err != nil {
			tb.Fatal(err)
		}
		return auth
	}
	refresh := tokenauth.RefreshOptions{Key: tokenauth.NewSecret("32 bytes that the services share")}
	short, prefixed := refresh, refresh
	short.Lifetime, prefixed.Prefix = time.Minute, otherRefreshPrefix
	a := &arena{
		name: name, users: users,
		auth: open(storage, tokenauth.Options{Cache: cache, Refresh: &refresh}),
		late: open(storage, tokenauth.Options{
			Lifetime: time.Minute, Refresh: &short,
			Now: func() time.Time { return time.Now().Add(-24 * time.Hour) },
		}),
		prefixed: open(storage, tokenauth.Options{Prefix: otherPrefix, Refresh: &prefixed}),
		foreign:  open(new(memory.Store), tokenauth.Options{Refresh: &refresh}),
	}
	a.refresher = a.auth
	if e.Plant != nil && refreshPlants[e.Plant.Name] != nil {
		a.refresher = refreshPlants[e.Plant.Name](a.auth, storage)
	}
	a.Validator, a.authorize = a.auth, a.auth.Authorizer(tokenauth.Requirement{})
	if e.Plant != nil && e.Plant.Validator != nil {
		a.Validator = e.Plant.Validator(a.auth, storage)
	}
	return a
}

// principalOf returns the principal of a user of a [host.Directory], who never changes.
func principalOf(user string) tokenauth.Principal {
	return tokenauth.Principal{UserID: user, Stamp: "0"}
}

// newMark signs a user in and issues the user's invalid tokens.
func (a *arena) newMark(ctx context.Context, user string) (*mark, error) {
	m := &mark{arena: a, user: user}
	for _, issue := range []struct {
		by     *tokenauth.Service
		client string
		token  *string
		beside *string // the refresh token
	}{
		{a.late, "expired", &m.expired, &m.expiredRefresh}, {a.auth, "revoked", &m.revoked, &m.revokedRefresh},
		{a.prefixed, "prefixed", &m.prefixed, &m.prefixedRefresh},
		{a.foreign, "", &m.foreign, &m.foreignRefresh}, {a.auth, "", &m.valid, &m.refresh},
	} {
		g, err := issue.by.Issue(ctx, principalOf(user), &tokenauth.IssueOptions{ClientID: issue.client})
		if err != nil {
			return nil, err
		}
		*issue.token, *issue.beside = g.AccessToken.Reveal(), g.RefreshToken.Reveal()
	}
	if err := a.auth.Revoke(ctx, m.revoked); err != nil {
		return nil, err
	}
	return m, m.renew(ctx)
}

// renew signs the user in again, which replaces the valid token.
func (m *mark) renew(ctx context.Context) error {
	g, err := m.auth.Issue(ctx, principalOf(m.user), nil)
	if err != nil {
		return err
	}
	m.replaced, m.replacedRefresh = m.valid, m.refresh
	m.hold(g)
	return nil
}
