package gormstore

import (
	"context"
	"errors"
	"fmt"
)

// The values of the column introspection. They say which tokens a client may
// introspect: none, its own, or all.
const (
	introspectsNone = iota
	introspectsOwn
	introspectsAll
)

func introspectionOf(own, all bool) int {
	switch {
	case all:
		return introspectsAll
	case own:
		return introspectsOwn
	}
	return introspectsNone
}

var errPublicIntrospects = fmt.Errorf("%w: a public client must not introspect", ErrInvalid)

// SetIntrospection sets which tokens a client may introspect: its own, all, or none
// ([tokenauth.Client.IntrospectsOwn], [tokenauth.Client.IntrospectsAll]). It returns
// [ErrInvalid], wrapped, if own or all is true for a public client.
func (c *Clients) SetIntrospection(ctx context.Context, clientID string, own, all bool) error {
	right := introspectionOf(own, all)
	statement := `UPDATE tokenauth_clients SET introspection = ?, stamp = ? WHERE id = ?`
	if right != introspectsNone {
		statement += ` AND secret IS NOT NULL`
	}
	err := c.change(ctx, errClientNotFound, statement, right, newStamp(), clientID)
	if right == introspectsNone || !errors.Is(err, errClientNotFound) {
		return err
	}
	if _, err := c.FindClient(ctx, clientID); err != nil {
		return err
	}
	return errPublicIntrospects
}
