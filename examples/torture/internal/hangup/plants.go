package hangup

import (
	"context"

	"github.com/bearerkit/bearerkit/examples/torture/internal/plant"
	"github.com/bearerkit/bearerkit/tokenauth"
	"github.com/bearerkit/bearerkit/tokenauth/throttle"
)

// Plants lists the bugs that the trial "hangups" must find.
var Plants = []*plant.Plant{
	{
		Name: "interrupted-calls", Trials: []string{"hangups"},
		About: "a client that leaves interrupts storage calls: the driver closes their connections (on PostgreSQL and MariaDB)",
		Storage: func(s tokenauth.Storage, _ *plant.State, _ uint64) tokenauth.Storage {
			return &interrupted{s, s.(throttle.Storage)}
		},
	},
}

type clientKey struct{}

// withClient returns the context with itself as a value. The value's end shows that
// the client has left, although [tokenauth.Service] detaches its calls from the request.
func withClient(ctx context.Context) context.Context {
	return context.WithValue(ctx, clientKey{}, ctx)
}

// An interrupted is a [tokenauth.Storage] whose calls end when the client leaves.
type interrupted struct {
	tokenauth.Storage
	counters throttle.Storage
}

// until returns a context that also ends when the client leaves.
func until(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	if client, ok := ctx.Value(clientKey{}).(context.Context); ok {
		context.AfterFunc(client, cancel)
	}
	return ctx, cancel
}

func (i *interrupted) Find(ctx context.Context, s tokenauth.Slot) (tokenauth.Token, error) {
	ctx, cancel := until(ctx)
	defer cancel()
	return i.Storage.Find(ctx, s)
}

func (i *interrupted) Replace(ctx context.Context, t tokenauth.Token) error {
	ctx, cancel := until(ctx)
	defer cancel()
	return i.Storage.Replace(ctx, t)
}

func (i *interrupted) Revoke(ctx context.Context, s tokenauth.Slot, d tokenauth.Digest) error {
	ctx, cancel := until(ctx)
	defer cancel()
	return i.Storage.Revoke(ctx, s, d)
}

func (i *interrupted) UpdateCounters(ctx context.Context, keys []throttle.Key, change func([]throttle.Counter)) error {
	ctx, cancel := until(ctx)
	defer cancel()
	return i.counters.UpdateCounters(ctx, keys, change)
}
