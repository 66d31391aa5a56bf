package change

import (
	"context"

	"github.com/bearerkit/bearerkit/examples/torture/internal/plant"
	"github.com/bearerkit/bearerkit/tokenauth"
)

// Plants lists the bugs that the trial "changes" must find.
var Plants = []*plant.Plant{
	{
		Name: "deaf-users", Trials: []string{"changes"},
		About: "a wrapper around the users hides their queue of revocations: tokens in another storage outlive a change",
		Users: func(a tokenauth.Authenticator) tokenauth.Authenticator { return onlyUsers{a.(users)} },
	},
	{
		Name: "deaf-clients", Trials: []string{"changes"},
		About: "a wrapper around the clients hides their queue of revocations",
		Clients: func(c tokenauth.ClientRegistry) tokenauth.ClientRegistry {
			return struct{ tokenauth.ClientRegistry }{c}
		},
	},
	{
		Name: "ends-first", Trials: []string{"changes"},
		About:     "the host ends a client's tokens before it commits the change: a sign-in in between leaves a token",
		EndsFirst: true,
	},
	{
		Name: "revokes-newer", Trials: []string{"changes"},
		About: "a queued revocation ends all tokens of the user, also one that was issued after the change",
		Users: func(a tokenauth.Authenticator) tokenauth.Authenticator { return rejects{a.(users)} },
	},
}

// users has the abilities of a gormstore's users that the trial needs.
type users interface {
	tokenauth.Authenticator
	tokenauth.Rechecker
	tokenauth.RevocationQueue
}

// onlyUsers hides that the users are a [tokenauth.RevocationQueue].
type onlyUsers struct{ all users }

func (o onlyUsers) Authenticate(ctx context.Context, c tokenauth.Credentials) (tokenauth.Principal, error) {
	return o.all.Authenticate(ctx, c)
}

func (o onlyUsers) Recheck(ctx context.Context, p tokenauth.Principal) error {
	return o.all.Recheck(ctx, p)
}

// rejects hides that the users are a [tokenauth.Rechecker], so that
// [tokenauth.Service.Run] revokes all tokens of a user.
type rejects struct{ all users }

func (r rejects) Authenticate(ctx context.Context, c tokenauth.Credentials) (tokenauth.Principal, error) {
	return r.all.Authenticate(ctx, c)
}

func (r rejects) PendingRevocations(ctx context.Context, after tokenauth.Revocation) ([]tokenauth.Revocation, error) {
	return r.all.PendingRevocations(ctx, after)
}

func (r rejects) RemoveRevocation(ctx context.Context, revocation tokenauth.Revocation) error {
	return r.all.RemoveRevocation(ctx, revocation)
}
