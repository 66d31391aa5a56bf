package storagetest

import (
	"context"
	"errors"
	"fmt"

	"github.com/bearerkit/bearerkit/tokenauth"
)

func revokeClient(ctx context.Context, s tokenauth.Storage) error {
	r, ok := s.(tokenauth.BulkRevoker)
	if !ok {
		return nil
	}
	const n = 1250 // users: more than any storage handles in one batch
	clients := []string{"web", "mobile", ""}
	of := func(user, client int) tokenauth.Token {
		return token(fmt.Sprint("user", user), clients[client], len(clients)*user+client)
	}
	// Each user has a token at the second or the third client. Four in five
	// users also have a token at the first client.
	err := together(8, func(worker int) error {
		for i := worker; i < n; i += 8 {
			if err := all(ctx, s, of(i, 1+i%2)); err != nil {
				return err
			}
			if i%5 == 0 {
				continue
			}
			if err := all(ctx, s, of(i, 0)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	const web = "web"
	ended, cancel := context.WithCancel(ctx)
	cancel()
	if r.RevokeClient(ended, web) == nil {
		if err := isEmpty(ctx, s, of(1, 0).Slot); err != nil {
			return fmt.Errorf("RevokeClient with an ended context returned nil, but did not empty a slot: %w", err)
		}
	}
	others := func() error {
		for i := range n {
			if err := holds(ctx, s, of(i, 1+i%2)); err != nil {
				return fmt.Errorf("user %d: %w", i, err)
			}
		}
		return nil
	}
	return first(
		func() error { return r.RevokeClient(ctx, web) },
		func() error {
			for i := range n {
				if err := isEmpty(ctx, s, of(i, 0).Slot); err != nil {
					return fmt.Errorf("user %d: %w", i, err)
				}
			}
			return nil
		},
		others,
		func() error { return r.RevokeClient(ctx, web) }, // a second call succeeds
		func() error { return r.RevokeClient(ctx, "nobody's") },
		others,
	)
}

func revokeClientRace(ctx context.Context, s tokenauth.Storage) error {
	r, ok := s.(tokenauth.BulkRevoker)
	if !ok {
		return nil
	}
	const users = 6
	of := func(user int, client string, n int) tokenauth.Token {
		return token(fmt.Sprint("user", user), client, n)
	}
	phone := func(user int, client string, n int) tokenauth.Token {
		return onDevice(fmt.Sprint("user", user), client, "phone", n)
	}
	for round := range 20 {
		n := 1000 * round
		// These tokens are stored before the call of RevokeClient. While
		// RevokeClient runs, the same users sign in at client "mobile", and
		// other users at client "web".
		for user := range users {
			if err := all(ctx, s, of(user, "web", n+user), of(user, "mobile", n+100+user), phone(user, "web", n+400+user)); err != nil {
				return err
			}
		}
		err := together(1+users, func(i int) error {
			if i > 0 {
				return all(ctx, s, of(i-1, "mobile", n+200+i), of(users+i, "web", n+300+i), phone(i-1, "mobile", n+500+i), phone(users+i, "web", n+600+i))
			}
			err := r.RevokeClient(ctx, "web")
			for user := range users {
				err = errors.Join(err, isEmpty(ctx, s, of(user, "web", 0).Slot), isEmpty(ctx, s, phone(user, "web", 0).Slot))
			}
			return err
		})
		if err != nil {
			return err
		}
		for user := range users {
			for _, want := range []tokenauth.Token{of(user, "mobile", n+200+1+user), phone(user, "mobile", n+500+1+user)} {
				if got, err := s.Find(ctx, want.Slot); err != nil || got.Digest != want.Digest {
					return fmt.Errorf("RevokeClient removed a token at another client: Find returned digest %v and error %w", got.Digest, err)
				}
			}
		}
	}
	return nil
}
