package gormstore

import (
	"context"
	"errors"
	"fmt"

	"github.com/bearerkit/bearerkit/tokenauth"
)

// SetIntrospection sets whose tokens a client may introspect. It returns
// ErrClientNotFound; and ErrClient for a value that is none, and for a public
// client that was to have a right.
func (c *Clients) SetIntrospection(ctx context.Context, clientID string, i tokenauth.Introspection) error {
	if err := checkIntrospection(i, false); err != nil {
		return err
	}
	statement := `UPDATE tokenauth_clients SET introspection = ?, stamp = ? WHERE id = ?`
	if i == tokenauth.IntrospectNone {
		return c.change(ctx, ErrClientNotFound, statement, int(i), newStamp(), clientID)
	}
	err := c.change(ctx, ErrClientNotFound, statement+` AND secret IS NOT NULL`, int(i), newStamp(), clientID)
	if !errors.Is(err, ErrClientNotFound) {
		return err
	}
	if _, err := c.FindClient(ctx, clientID); err != nil {
		return err
	}
	return checkIntrospection(i, true)
}

func checkIntrospection(i tokenauth.Introspection, public bool) error {
	switch {
	case !known(i):
		return fmt.Errorf("%w: there is no right %d to introspect", ErrClient, i)
	case public && i != tokenauth.IntrospectNone:
		return fmt.Errorf("%w: a public client must not introspect", ErrClient)
	}
	return nil
}

func known(i tokenauth.Introspection) bool {
	switch i {
	case tokenauth.IntrospectNone, tokenauth.IntrospectOwn, tokenauth.IntrospectAll:
		return true
	}
	return false
}
