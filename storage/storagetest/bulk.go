package storagetest

import (
	"context"
	"errors"
	"fmt"

	"github.com/bearerkit/bearerkit/tokenauth"
)

// manyDevices is a number of devices of one user: more tokens than any storage
// handles in one batch.
const manyDevices = 1100

// allTogether stores the tokens, eight at a time.
func allTogether(ctx context.Context, s tokenauth.Storage, tokens []tokenauth.Token) error {
	return eachOf(tokens, func(t tokenauth.Token) error { return all(ctx, s, t) })
}

// areEmpty returns an error unless the slots of all tokens are empty.
func areEmpty(ctx context.Context, s tokenauth.Storage, tokens []tokenauth.Token) error {
	return eachOf(tokens, func(t tokenauth.Token) error { return isEmpty(ctx, s, t.Slot) })
}

// allHeld returns an error unless the storage holds all tokens.
func allHeld(ctx context.Context, s tokenauth.Storage, tokens []tokenauth.Token) error {
	return eachOf(tokens, func(t tokenauth.Token) error { return holds(ctx, s, t) })
}

// eachOf calls do for each token, for eight at a time.
func eachOf(tokens []tokenauth.Token, do func(tokenauth.Token) error) error {
	const workers = 8
	return together(workers, func(worker int) error {
		for i := worker; i < len(tokens); i += workers {
			t := tokens[i]
			if err := do(t); err != nil {
				return fmt.Errorf("user %q, client %q, device %q: %w", t.Principal.UserID, t.ClientID, t.Device, err)
			}
		}
		return nil
	})
}

func revokeClientDevices(ctx context.Context, s tokenauth.Storage) error {
	r, ok := s.(tokenauth.BulkRevoker)
	if !ok {
		return nil
	}
	// Alice has many devices at client "web". Bob and Carol have some devices at
	// each client. The ID of one client is a prefix of another's, or differs
	// from it only in case, in a space or in an accent.
	clients := []string{"web", "", "we", "web2", "WEB", "web ", "wéb", "%", "w_b"}
	var tokens []tokenauth.Token
	for i := range manyDevices {
		tokens = append(tokens, onDevice("alice", "web", fmt.Sprint("device", i), i))
	}
	for _, user := range []string{"bob", "carol"} {
		for _, client := range clients {
			for _, device := range []string{"device1", "web", " ", "0"} {
				tokens = append(tokens, onDevice(user, client, device, len(tokens)))
			}
			tokens = append(tokens, token(user, client, len(tokens)))
		}
	}
	if err := allTogether(ctx, s, tokens); err != nil {
		return err
	}
	for _, client := range []string{"nobody's", "web", "", "%", "w_b", "wéb"} {
		if err := r.RevokeClient(ctx, client); err != nil {
			return fmt.Errorf("RevokeClient returned an error: %w", err)
		}
		var gone, kept []tokenauth.Token
		for _, t := range tokens {
			if t.ClientID == client {
				gone = append(gone, t)
			} else {
				kept = append(kept, t)
			}
		}
		if err := errors.Join(areEmpty(ctx, s, gone), allHeld(ctx, s, kept)); err != nil {
			return fmt.Errorf("after RevokeClient of %q: %w", client, err)
		}
		tokens = kept
	}
	return nil
}

func revokeAll(ctx context.Context, s tokenauth.Storage) error {
	r, ok := s.(tokenauth.BulkRevoker)
	if !ok {
		return nil
	}
	var tokens []tokenauth.Token
	for i := range manyDevices {
		tokens = append(tokens, onDevice("alice", "web", fmt.Sprint("device", i), len(tokens)))
	}
	for i := range manyDevices {
		tokens = append(tokens, token(fmt.Sprint("user", i), []string{"", "web", "mobile"}[i%3], len(tokens)))
	}
	tokens[0].IssuedAt, tokens[0].ExpiresAt = epoch.AddDate(-20, 0, 0), epoch.AddDate(-19, 0, 0) // expired
	if err := allTogether(ctx, s, tokens); err != nil {
		return err
	}
	ended, cancel := context.WithCancel(ctx)
	cancel()
	if r.RevokeAll(ended) == nil {
		if err := areEmpty(ctx, s, tokens); err != nil {
			return fmt.Errorf("RevokeAll with an ended context returned nil, but did not empty a slot: %w", err)
		}
	}
	return first(
		func() error { return r.RevokeAll(ctx) },
		func() error { return areEmpty(ctx, s, tokens) },
		func() error { return r.RevokeAll(ctx) }, // a second call succeeds
		func() error { return allTogether(ctx, s, tokens[:10]) },
		func() error { return allHeld(ctx, s, tokens[:10]) },
	)
}

func revokeAllRace(ctx context.Context, s tokenauth.Storage) error {
	r, ok := s.(tokenauth.BulkRevoker)
	if !ok {
		return nil
	}
	const users = 6
	for round := range 20 {
		of := func(user, n int) tokenauth.Token {
			return onDevice(fmt.Sprint("user", user), "web", "phone", 100*round+n)
		}
		var before []tokenauth.Token
		for user := range users {
			before = append(before, of(user, user))
		}
		if err := all(ctx, s, before...); err != nil {
			return err
		}
		// While RevokeAll runs, half of the users sign in again.
		err := together(1+users/2, func(i int) error {
			if i > 0 {
				return all(ctx, s, of(i-1, users+i))
			}
			return r.RevokeAll(ctx)
		})
		if err != nil {
			return err
		}
		for _, old := range before {
			if got, err := s.Find(ctx, old.Slot); err == nil && got.Digest == old.Digest {
				return errors.New("after RevokeAll, a slot still holds a token that was stored before the call")
			} else if err != nil && !errors.Is(err, tokenauth.ErrNotFound) {
				return fmt.Errorf("Find returned an error: %w", err)
			}
		}
		if err := areEmpty(ctx, s, before[users/2:]); err != nil {
			return err
		}
	}
	return nil
}
