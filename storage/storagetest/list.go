package storagetest

import (
	"context"
	"errors"
	"fmt"

	"github.com/bearerkit/bearerkit/tokenauth"
)

// lists returns an error unless these are all tokens that the user has.
func lists(ctx context.Context, l tokenauth.Lister, user string, want ...tokenauth.Token) error {
	got, err := l.List(ctx, tokenauth.UserKeyOf(user))
	if err != nil {
		return fmt.Errorf("call of List: %w", err)
	}
	found := make(map[tokenauth.Slot]tokenauth.Token)
	for _, t := range got {
		if _, twice := found[t.Slot]; twice {
			return fmt.Errorf("call of List returned two tokens of the slot of %s at client %q", user, t.ClientID)
		}
		found[t.Slot] = t
	}
	if len(found) != len(want) {
		return fmt.Errorf("call of List returned %d tokens of %s, want %d", len(found), user, len(want))
	}
	for _, t := range want {
		if err := same(found[t.Slot], t); err != nil {
			return fmt.Errorf("call of List for %s at client %q: %w", user, t.ClientID, err)
		}
	}
	return nil
}

func list(ctx context.Context, s tokenauth.Storage) error {
	l, ok := s.(tokenauth.Lister)
	if !ok {
		return nil
	}
	here, web, mobile := token("alice", "", 1), token("alice", "web", 2), token("alice", "mobile", 3)
	web.IssuedAt, web.ExpiresAt = epoch.AddDate(-20, 0, 0), epoch.AddDate(-19, 0, 0)
	here.Principal.Attributes = map[string]string{"email": "alice@example.com"}
	mobile.Principal.Roles = nil
	now, bob := token("alice", "mobile", 4), token("bob", "web", 5)
	now.Replaced = mobile.Digest
	return first(
		func() error { return lists(ctx, l, "alice") },
		func() error { return all(ctx, s, here, web, mobile, now, bob) },
		func() error { return lists(ctx, l, "alice", here, web, now) },
		func() error { return lists(ctx, l, "bob", bob) },
		func() error { return lists(ctx, l, "nobody") },
		func() error { return s.Revoke(ctx, now.Slot, now.Digest) },
		func() error { return lists(ctx, l, "alice", here, web) },
		func() error { return listEnded(ctx, l, 2) },
		func() error { return s.RevokeUser(ctx, here.Slot.User) },
		func() error { return lists(ctx, l, "alice") },
		func() error { return lists(ctx, l, "bob", bob) },
	)
}

// listEnded returns an error if a call for alice with an ended context says what
// is not so.
func listEnded(ctx context.Context, l tokenauth.Lister, want int) error {
	ended, cancel := context.WithCancel(ctx)
	cancel()
	got, err := l.List(ended, tokenauth.UserKeyOf("alice"))
	if err == nil && len(got) != want || errors.Is(err, tokenauth.ErrNotFound) || errors.Is(err, tokenauth.ErrCorrupt) {
		return fmt.Errorf("call of List with an ended context returned %d tokens of %d, error %v", len(got), want, err)
	}
	return nil
}

func listRace(ctx context.Context, s tokenauth.Storage) error {
	l, ok := s.(tokenauth.Lister)
	if !ok {
		return nil
	}
	const clients, rounds = 4, 30
	at := func(client, n int) tokenauth.Token { return token("alice", fmt.Sprint("client", client), n) }
	for client := range clients {
		if err := all(ctx, s, at(client, client)); err != nil {
			return err
		}
	}
	// Some sign in over and over where they had a token, others where they had
	// none.
	return together(clients+1, func(i int) error {
		for round := range rounds {
			n := 1000*i + 10*round
			if i < clients/2 {
				if err := all(ctx, s, at(i, n+100)); err != nil {
					return err
				}
				continue
			}
			if i < clients {
				if err := all(ctx, s, at(100*i+round, n+100)); err != nil {
					return err
				}
				continue
			}
			got, err := l.List(ctx, tokenauth.UserKeyOf("alice"))
			if err != nil {
				return fmt.Errorf("call of List: %w", err)
			}
			found := make(map[tokenauth.Slot]int)
			for _, t := range got {
				found[t.Slot]++
			}
			for client := range clients {
				if times := found[at(client, 0).Slot]; times != 1 {
					return fmt.Errorf("call of List has a slot that holds a token all the while %d times, want once", times)
				}
			}
		}
		return nil
	})
}
