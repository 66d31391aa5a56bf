package storagetest

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/bearerkit/bearerkit/tokenauth"
)

// displacing is a storage whose Replace is Displace, for the rules of Replace.
type displacing struct {
	tokenauth.Storage
	displacer tokenauth.Displacer
}

func (s displacing) Replace(ctx context.Context, t tokenauth.Token) error {
	_, err := s.displacer.Displace(ctx, t)
	return err
}

func displace(ctx context.Context, s tokenauth.Storage) error {
	d, ok := s.(tokenauth.Displacer)
	if !ok {
		return nil
	}
	says := func(t tokenauth.Token, want bool) func() error {
		return func() error {
			displaced, err := d.Displace(ctx, t)
			if err != nil {
				return fmt.Errorf("call of Displace: %w", err)
			}
			if displaced != want {
				return fmt.Errorf("call of Displace at client %q says %v, want %v", t.ClientID, displaced, want)
			}
			return nil
		}
	}
	old := token("alice", "", 1)
	old.IssuedAt, old.ExpiresAt = epoch.AddDate(-20, 0, 0), epoch.AddDate(-19, 0, 0)
	now, web, bob := token("alice", "", 2), token("alice", "web", 3), token("bob", "", 4)
	err := first(
		says(old, false),
		says(now, true), // though it had expired
		says(web, false),
		says(bob, false),
		func() error { now.Replaced = old.Digest; return holds(ctx, s, now) },
		func() error { return holds(ctx, s, web) },
		func() error { return s.Revoke(ctx, web.Slot, web.Digest) },
		says(web, false),
		func() error { return s.RevokeUser(ctx, now.Slot.User) },
		says(token("alice", "", 5), false),
		says(token("bob", "", 6), true),
		func() error { return all(ctx, s, token("bob", "", 7)) },
		says(token("bob", "", 8), true),
	)
	if err != nil {
		return err
	}
	for _, rule := range []func(context.Context, tokenauth.Storage) error{roundTrip, oddValues, replaced, slotsApart, contextEnded} {
		if err := emptied(ctx, s); err != nil {
			return err
		}
		if err := rule(ctx, displacing{s, d}); err != nil {
			return fmt.Errorf("Replace by Displace: %w", err)
		}
	}
	return nil
}

func displaceRace(ctx context.Context, s tokenauth.Storage) error {
	d, ok := s.(tokenauth.Displacer)
	if !ok {
		return nil
	}
	const n = 16
	for round := range 10 {
		if err := emptied(ctx, s); err != nil {
			return err
		}
		var empty atomic.Int64
		err := together(n, func(i int) error {
			displaced, err := d.Displace(ctx, token("alice", "", n*round+i))
			if !displaced {
				empty.Add(1)
			}
			return err
		})
		if err != nil {
			return err
		}
		if got := empty.Load(); got != 1 {
			return fmt.Errorf("of %d calls of Displace for an empty slot %d say that there was no token, want 1", n, got)
		}
	}
	for _, rule := range []func(context.Context, tokenauth.Storage) error{replaceRace, revokeRace} {
		if err := emptied(ctx, s); err != nil {
			return err
		}
		if err := rule(ctx, displacing{s, d}); err != nil {
			return fmt.Errorf("Replace by Displace: %w", err)
		}
	}
	return nil
}

// emptied empties the slots of the users that the rules of Replace are about.
func emptied(ctx context.Context, s tokenauth.Storage) error {
	return errors.Join(s.RevokeUser(ctx, tokenauth.UserKeyOf("alice")), s.RevokeUser(ctx, tokenauth.UserKeyOf("bob")))
}
