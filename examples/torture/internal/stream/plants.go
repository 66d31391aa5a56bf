package stream

import (
	"context"
	"time"

	"github.com/bearerkit/bearerkit/examples/torture/internal/inject"
	"github.com/bearerkit/bearerkit/examples/torture/internal/plant"
	"github.com/bearerkit/bearerkit/tokenauth"
)

// Plants lists the bugs that the trial "streams" must find.
var Plants = []*plant.Plant{
	{
		Name: "missed-end", Trials: []string{"streams"},
		About: "the feed was lost and came back, and the streams whose tokens ended in between are not checked",
		Storage: func(s tokenauth.Storage, _ *plant.State, _ uint64) tokenauth.Storage {
			return &missedEnd{s, s.(tokenauth.BulkRevoker), s.(tokenauth.Refresher), s.(tokenauth.Watcher)}
		},
	},
	{
		Name: "cut-by-refresh", Trials: []string{"streams"},
		About: "a refresh is stored like a new sign-in: it ends the streams of its sign-in",
		Storage: func(s tokenauth.Storage, _ *plant.State, _ uint64) tokenauth.Storage {
			return &cutByRefresh{s, s.(tokenauth.BulkRevoker), s.(tokenauth.Refresher), s.(tokenauth.Watcher)}
		},
	},
}

// A missedEnd watches again by itself when the feed was lost, and does not report that
// it may have missed changes.
type missedEnd struct {
	tokenauth.Storage
	tokenauth.BulkRevoker
	tokenauth.Refresher
	watcher tokenauth.Watcher
}

// Watch implements [tokenauth.Watcher].
func (p *missedEnd) Watch(ctx context.Context, beat time.Duration, feed tokenauth.Invalidator) error {
	for ctx.Err() == nil {
		p.watcher.Watch(ctx, beat, noFlush{feed})
		inject.Wait(ctx, time.Millisecond)
	}
	return ctx.Err()
}

// A cutByRefresh is a storage in which each refresh begins a sign-in.
type cutByRefresh struct {
	tokenauth.Storage
	tokenauth.BulkRevoker
	tokenauth.Refresher
	tokenauth.Watcher
}

// Refresh implements [tokenauth.Refresher].
func (p *cutByRefresh) Refresh(ctx context.Context, was, t tokenauth.Token) (bool, error) {
	t.Refresh = plant.OfAnotherSignIn(t.Refresh)
	return p.Refresher.Refresh(ctx, was, t)
}

type noFlush struct{ tokenauth.Invalidator }

func (noFlush) InvalidateAll() {}
