package storagetest

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/bearerkit/bearerkit/tokenauth"
)

// lists returns an error unless List returns exactly the tokens want for the
// user.
func lists(ctx context.Context, l tokenauth.Lister, user string, want ...tokenauth.Token) error {
	return listsOf(ctx, l, tokenauth.UserKeyOf(user), user, want...)
}

// listsOf is lists for the tokens with a user key.
func listsOf(ctx context.Context, l tokenauth.Lister, u tokenauth.UserKey, user string, want ...tokenauth.Token) error {
	got, err := l.List(ctx, u)
	if err != nil {
		return fmt.Errorf("List returned an error: %w", err)
	}
	found := make(map[tokenauth.Slot]tokenauth.Token)
	for _, t := range got {
		if _, twice := found[t.Slot]; twice {
			return fmt.Errorf("List returned two tokens for the slot of %s at client %q", user, t.ClientID)
		}
		found[t.Slot] = t
	}
	if len(found) != len(want) {
		return fmt.Errorf("List returned %d tokens of %s, want %d", len(found), user, len(want))
	}
	for _, t := range want {
		if err := same(found[t.Slot], t); err != nil {
			return fmt.Errorf("List returned a wrong token of %s at client %q: %w", user, t.ClientID, err)
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
	phone := onDevice("alice", "mobile", "phone", 6)
	phone.DeviceName, phone.IssuedAt, phone.Lifetime = "Ann's phone", epoch.Add(7*time.Millisecond), time.Hour
	return first(
		func() error { return lists(ctx, l, "alice") },
		func() error { return all(ctx, s, here, web, mobile, now, phone, bob) },
		func() error { return lists(ctx, l, "alice", here, web, now, phone) },
		func() error { return lists(ctx, l, "bob", bob) },
		func() error { return lists(ctx, l, "nobody") },
		func() error { return s.Revoke(ctx, now.Slot, now.Digest) },
		func() error { return lists(ctx, l, "alice", here, web, phone) },
		func() error { return listEnded(ctx, l, 3) },
		func() error { return s.RevokeUser(ctx, here.Slot.User) },
		func() error { return lists(ctx, l, "alice") },
		func() error { return lists(ctx, l, "bob", bob) },
	)
}

// listEnded calls List for alice with an ended context. List may return all of
// alice's tokens, and there must be want of them. Or it may return an error,
// but not ErrNotFound or ErrCorrupt.
func listEnded(ctx context.Context, l tokenauth.Lister, want int) error {
	ended, cancel := context.WithCancel(ctx)
	cancel()
	got, err := l.List(ended, tokenauth.UserKeyOf("alice"))
	if err == nil && len(got) != want || errors.Is(err, tokenauth.ErrNotFound) || errors.Is(err, tokenauth.ErrCorrupt) {
		return fmt.Errorf("List with an ended context returned %d of %d tokens and error %v; want all of them, or the context's error", len(got), want, err)
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
	// While List runs, alice signs in at these clients again and again. She
	// also signs in and out at other clients.
	var done atomic.Bool
	return together(clients+1, func(i int) error {
		if i == clients {
			defer done.Store(true)
			for range rounds {
				if err := listsEachOnce(ctx, l, clients, at); err != nil {
					return err
				}
			}
			return nil
		}
		for n := clients + i; !done.Load(); n += clients {
			other := at(100+n%20, n)
			err := first(
				func() error { return all(ctx, s, at(i, n), other) },
				func() error { return s.Revoke(ctx, other.Slot, other.Digest) },
			)
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// listsEachOnce returns an error unless List returns one of alice's tokens for
// each of the clients numbered 0 to clients-1. It also returns an error if List
// returns two tokens for one slot.
func listsEachOnce(ctx context.Context, l tokenauth.Lister, clients int, at func(client, n int) tokenauth.Token) error {
	got, err := l.List(ctx, tokenauth.UserKeyOf("alice"))
	if err != nil {
		return fmt.Errorf("List returned an error: %w", err)
	}
	found := make(map[tokenauth.Slot]bool)
	for _, t := range got {
		if found[t.Slot] {
			return fmt.Errorf("List returned two tokens for the slot at client %q", t.ClientID)
		}
		found[t.Slot] = true
	}
	for client := range clients {
		if !found[at(client, 0).Slot] {
			return errors.New("List returned no token for a slot that always holds one")
		}
	}
	return nil
}
