package history

import (
	"context"
	"sync"
	"time"

	"github.com/bearerkit/bearerkit/examples/torture/internal/inject"
	"github.com/bearerkit/bearerkit/examples/torture/internal/plant"
	"github.com/bearerkit/bearerkit/tokenauth"
)

// Plants lists the bugs that the trial "feeds" must find. See [Feeds].
var Plants = []*plant.Plant{
	{
		Name: "own-heartbeat", Trials: []string{"feeds"},
		About:        "the feed sends its heartbeat over the listening connection, not on the path that changes take",
		OwnHeartbeat: true,
	},
	{
		Name: "timed-heartbeat", Trials: []string{"feeds"},
		About: "a timer sends the feed's heartbeat, whether changes arrive or not",
		Storage: func(s tokenauth.Storage, _ *plant.State, _ uint64) tokenauth.Storage {
			return plant.With(s, &timedHeartbeat{s, s.(tokenauth.Watcher)})
		},
	},
	{
		Name: "lost-flush", Trials: []string{"feeds"},
		About: "the feed notices that it may have missed changes but does not report it (on PostgreSQL)",
		Storage: func(s tokenauth.Storage, _ *plant.State, _ uint64) tokenauth.Storage {
			return plant.With(s, &lostFlush{s, s.(tokenauth.Watcher)})
		},
	},
	{
		Name: "dead-feed", Trials: []string{"feeds"},
		About: "a feed that was lost never comes back",
		Storage: func(s tokenauth.Storage, _ *plant.State, _ uint64) tokenauth.Storage {
			return plant.With(s, &deadFeed{s, s.(tokenauth.Watcher)})
		},
	},
}

type timedHeartbeat struct {
	tokenauth.Storage
	watcher tokenauth.Watcher
}

func (p *timedHeartbeat) Watch(ctx context.Context, beat time.Duration, feed tokenauth.Invalidator) error {
	var running sync.WaitGroup
	defer running.Wait()
	running.Go(func() {
		for ctx.Err() == nil {
			p.watcher.Watch(ctx, beat, noHeartbeat{feed})
			inject.Wait(ctx, beat)
		}
	})
	for ctx.Err() == nil {
		feed.Heartbeat(time.Now())
		inject.Wait(ctx, beat)
	}
	return ctx.Err()
}

type noHeartbeat struct{ tokenauth.Invalidator }

func (noHeartbeat) Heartbeat(time.Time) {}

type lostFlush struct {
	tokenauth.Storage
	watcher tokenauth.Watcher
}

func (p *lostFlush) Watch(ctx context.Context, beat time.Duration, feed tokenauth.Invalidator) error {
	return p.watcher.Watch(ctx, beat, noFlush{feed})
}

type noFlush struct{ tokenauth.Invalidator }

func (noFlush) InvalidateAll() {}

type deadFeed struct {
	tokenauth.Storage
	watcher tokenauth.Watcher
}

func (p *deadFeed) Watch(ctx context.Context, beat time.Duration, feed tokenauth.Invalidator) error {
	p.watcher.Watch(ctx, beat, feed)
	<-ctx.Done()
	return ctx.Err()
}
