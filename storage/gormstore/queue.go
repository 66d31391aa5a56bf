package gormstore

import (
	"context"

	"github.com/bearerkit/bearerkit/tokenauth"
)

var (
	_ tokenauth.RevocationQueue = (*Users)(nil)
	_ tokenauth.RevocationQueue = (*Clients)(nil)
)

// PendingRevocations implements [tokenauth.RevocationQueue]. It returns the users whose
// tokens must end.
func (u *Users) PendingRevocations(ctx context.Context, after tokenauth.Revocation) (pending []tokenauth.Revocation, err error) {
	err = u.revocations(ctx, revokesUser, after.UserID, func(id, change string) {
		pending = append(pending, tokenauth.Revocation{UserID: id, Change: change})
	})
	return pending, err
}

// RemoveRevocation implements [tokenauth.RevocationQueue].
func (u *Users) RemoveRevocation(ctx context.Context, r tokenauth.Revocation) error {
	return u.removeRevocation(ctx, revokesUser, r.UserID, r.Change)
}

// PendingRevocations implements [tokenauth.RevocationQueue]. It returns the clients
// whose tokens must end.
func (c *Clients) PendingRevocations(ctx context.Context, after tokenauth.Revocation) (pending []tokenauth.Revocation, err error) {
	err = c.revocations(ctx, revokesClient, after.ClientID, func(id, change string) {
		pending = append(pending, tokenauth.Revocation{ClientID: id, Change: change})
	})
	return pending, err
}

// RemoveRevocation implements [tokenauth.RevocationQueue].
func (c *Clients) RemoveRevocation(ctx context.Context, r tokenauth.Revocation) error {
	return c.removeRevocation(ctx, revokesClient, r.ClientID, r.Change)
}
