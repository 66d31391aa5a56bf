package gormstore

import (
	"context"
	"slices"
	"time"

	"gorm.io/gorm"

	"github.com/bearerkit/bearerkit/tokenauth"
)

// List returns a page of the clients, ordered by ID: in byte order, or on PostgreSQL in
// the order of the database's collation. The next page begins after the last client of
// this page ([ListOptions.After]). A page with fewer clients than Limit is the last
// one. List returns [ErrInvalid], wrapped, if Limit is out of range, or if After or
// Search is not UTF-8 without NUL.
func (c *Clients) List(ctx context.Context, o ListOptions) (clients []tokenauth.Client, err error) {
	query, args, err := c.page(`SELECT `+clientColumns+` FROM tokenauth_clients`, `id`, o)
	if err != nil {
		return nil, err
	}
	err = queryRows(ctx, c.pool(), query, args, func(scan func(...any) error) error {
		client, err := scanClient(scan)
		clients = append(clients, client)
		return err
	})
	if err != nil {
		return nil, err
	}
	return clients, nil
}

// Update replaces the Roles, the rights to introspect and the Lifetime of the client
// with this ID. Tokens that were issued before keep their lifetime. Update ignores client.Secrets and client.Disabled, which [Clients.RotateSecret] and
// [Clients.SetDisabled] change. So the result of [Clients.FindClient] can be changed and
// passed to Update.
//
// If some users may no longer sign in through the client, Update ends all the client's
// tokens, and users sign in again. That is the case if Roles lacks an earlier role, or
// if the first roles are set. Otherwise all tokens stay valid.
//
// Update returns [ErrInvalid], wrapped with the reason, if a role or the Lifetime
// is invalid, or if a public client would introspect.
func (c *Clients) Update(ctx context.Context, client tokenauth.Client) error {
	var e ending
	ends := false
	err := c.transaction(ctx, func(pool gorm.ConnPool) error {
		// The lock ensures that no other Update changes the roles between the
		// comparison and the change.
		old, err := c.find(ctx, pool, c.dialect.update, client.ID)
		if err != nil {
			return err
		}
		client.Secrets = old.Secrets
		roles, introspection, err := c.encode(client)
		if err != nil {
			return err
		}
		e = c.ending(client.ID, `UPDATE tokenauth_clients SET roles = ?, introspection = ?, lifetime = ?, stamp = ? WHERE id = ?`, roles, introspection, int64(client.Lifetime/time.Second), newStamp(), client.ID)
		if ends = excludes(old.Roles, client.Roles); !ends {
			e.kind, e.deleteTokens = 0, ""
		}
		return c.changeAndEndIn(ctx, pool, e)
	})
	if !ends {
		return err
	}
	return c.ended(ctx, e, err)
}

// excludes reports whether a client with the roles before admits a user whom a client
// with the roles after does not admit ([tokenauth.Client.Roles]).
func excludes(before, after []string) bool {
	if len(after) == 0 {
		return false
	}
	return len(before) == 0 || slices.ContainsFunc(before, func(role string) bool { return !slices.Contains(after, role) })
}
