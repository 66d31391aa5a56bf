package storagetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/bearerkit/bearerkit/tokenauth"
)

// maxBatch is the largest number of slots in one call of
// [tokenauth.BatchFinder.FindBatch].
const maxBatch = 64

// batch calls FindBatch with a copy of the slots. It returns an error unless
// there is one result for each slot.
func batch(ctx context.Context, f tokenauth.BatchFinder, slots []tokenauth.Slot) ([]tokenauth.Found, error) {
	found, err := f.FindBatch(ctx, slices.Clone(slots))
	if err != nil {
		return nil, fmt.Errorf("FindBatch for %d slots returned an error: %w", len(slots), err)
	}
	if len(found) != len(slots) {
		return nil, fmt.Errorf("FindBatch for %d slots returned %d results", len(slots), len(found))
	}
	return found, nil
}

// finds returns an error unless found, the results of FindBatch, equals the
// results of Find for the same slots.
func finds(ctx context.Context, s tokenauth.Storage, slots []tokenauth.Slot, found []tokenauth.Found) error {
	for i, slot := range slots {
		want, err := s.Find(ctx, slot)
		switch got := found[i]; {
		case errors.Is(err, tokenauth.ErrNotFound):
			if !errors.Is(got.Err, tokenauth.ErrNotFound) {
				return fmt.Errorf("FindBatch result %d of %d has digest %v and error %v for an empty slot, want ErrNotFound", i+1, len(slots), got.Token.Digest, got.Err)
			}
		case err != nil:
			return fmt.Errorf("Find returned an error: %w", err)
		case got.Err != nil:
			return fmt.Errorf("FindBatch result %d of %d has the error %w, but Find returned a token with digest %v", i+1, len(slots), got.Err, want.Digest)
		default:
			if err := same(got.Token, want); err != nil {
				return fmt.Errorf("FindBatch result %d of %d differs from the result of Find: %w", i+1, len(slots), err)
			}
		}
	}
	return nil
}

// findsAll calls FindBatch, and returns an error unless its results equal those
// of Find.
func findsAll(ctx context.Context, s tokenauth.Storage, slots []tokenauth.Slot) error {
	found, err := batch(ctx, s.(tokenauth.BatchFinder), slots)
	if err != nil {
		return err
	}
	return finds(ctx, s, slots, found)
}

// crowd stores 50 tokens of different kinds: with unusual text, expired,
// without roles, and with attributes. It returns their slots, followed by some
// empty slots.
func crowd(ctx context.Context, s tokenauth.Storage) ([]tokenauth.Slot, error) {
	tokens := oddTokens()
	for i := range 6 {
		for j := range 5 {
			t := token(fmt.Sprint("user", i), fmt.Sprint("client", j), 100+10*i+j)
			switch j {
			case 1:
				t.IssuedAt, t.ExpiresAt = epoch.AddDate(-20, 0, 0), epoch.AddDate(-19, 0, 0)
			case 2:
				t.Principal.Roles, t.Principal.Stamp = nil, ""
			case 3:
				t.Principal.Attributes = map[string]string{"email": t.Principal.UserID + "@example.com"}
			}
			tokens = append(tokens, t)
		}
	}
	err := together(8, func(worker int) error {
		for i := worker; i < len(tokens); i += 8 {
			if err := all(ctx, s, tokens[i]); err != nil {
				return err
			}
		}
		return nil
	})
	var slots []tokenauth.Slot
	for _, t := range tokens {
		slots = append(slots, t.Slot)
	}
	// Some of these empty slots belong to a user or a client that has tokens in
	// other slots. Others belong to a user and a client without any token.
	for i := range 8 {
		known, unknown := fmt.Sprint("user", i%6), fmt.Sprint("nobody", i)
		slots = append(slots, tokenauth.SlotOf(known, fmt.Sprint("nowhere", i)), tokenauth.SlotOf(unknown, fmt.Sprint("client", i%5)), tokenauth.SlotOf(unknown, ""))
	}
	return slots, err
}

func findBatch(ctx context.Context, s tokenauth.Storage) error {
	if _, ok := s.(tokenauth.BatchFinder); !ok {
		return nil
	}
	slots, err := crowd(ctx, s)
	if err != nil {
		return err
	}
	for _, slot := range slots {
		if err := findsAll(ctx, s, []tokenauth.Slot{slot}); err != nil {
			return err
		}
	}
	sizes, rng := []int{2, 7, maxBatch - 1, maxBatch}, rand.New(rand.NewPCG(1, 2))
	for round := range 12 {
		rng.Shuffle(len(slots), func(i, j int) { slots[i], slots[j] = slots[j], slots[i] })
		if err := findsAll(ctx, s, slots[:sizes[round%len(sizes)]]); err != nil {
			return err
		}
	}
	for i := range slots {
		slots[i] = tokenauth.SlotOf(fmt.Sprint("nobody", i/2), fmt.Sprint("client", i%2))
	}
	return findsAll(ctx, s, slots[:maxBatch])
}

// findBatchKept checks that later calls and changes do not modify the results of
// earlier calls, and that FindBatch does not modify its argument.
func findBatchKept(ctx context.Context, s tokenauth.Storage) error {
	f, ok := s.(tokenauth.BatchFinder)
	if !ok {
		return nil
	}
	slots, err := crowd(ctx, s)
	if err != nil {
		return err
	}
	type call struct {
		asked []tokenauth.Slot
		found []tokenauth.Found
		first []tokenauth.Found // a copy of found, made when the call returned
	}
	var calls []call
	rng := rand.New(rand.NewPCG(3, 4))
	for _, n := range []int{1, 2, maxBatch, 1, 2, maxBatch, 1} {
		rng.Shuffle(len(slots), func(i, j int) { slots[i], slots[j] = slots[j], slots[i] })
		asked := slices.Clone(slots[:n])
		found, err := f.FindBatch(ctx, asked)
		if err != nil {
			return fmt.Errorf("FindBatch for %d slots returned an error: %w", n, err)
		}
		if !slices.Equal(asked, slots[:n]) {
			return fmt.Errorf("FindBatch modified its argument of %d slots", n)
		}
		calls = append(calls, call{asked, found, copyOf(found)})
	}
	for _, slot := range slots[:8] {
		if err := s.RevokeUser(ctx, slot.User); err != nil {
			return fmt.Errorf("RevokeUser returned an error: %w", err)
		}
	}
	for _, c := range calls {
		for i, want := range c.first {
			if got := c.found[i]; (got.Err == nil) != (want.Err == nil) || same(got.Token, want.Token) != nil {
				return fmt.Errorf("a result of FindBatch for %d slots changed after FindBatch had returned: first digest %v and error %v, now digest %v and error %v",
					len(c.asked), want.Token.Digest, want.Err, got.Token.Digest, got.Err)
			}
		}
	}
	return nil
}

func copyOf(found []tokenauth.Found) []tokenauth.Found {
	found = slices.Clone(found)
	for i := range found {
		found[i].Token.Principal.Roles = slices.Clone(found[i].Token.Principal.Roles)
		found[i].Token.Refresh = cloneRefresh(found[i].Token.Refresh)
	}
	return found
}

func cloneRefresh(r *tokenauth.Refresh) *tokenauth.Refresh {
	if r == nil {
		return nil
	}
	c := *r
	c.State = bytes.Clone(r.State)
	return &c
}

func findBatchContextEnded(ctx context.Context, s tokenauth.Storage) error {
	f, ok := s.(tokenauth.BatchFinder)
	if !ok {
		return nil
	}
	var tokens []tokenauth.Token
	var slots []tokenauth.Slot
	for i := range 16 {
		tokens = append(tokens, token(fmt.Sprint("user", i), "", i))
		slots = append(slots, tokens[i].Slot)
	}
	if err := all(ctx, s, tokens...); err != nil {
		return err
	}
	// The context ends before the first call of FindBatch. In each later call
	// it ends 50 µs later than in the call before.
	for round := range 40 {
		ended, cancel := context.WithCancel(ctx)
		timer := time.AfterFunc(time.Duration(round)*50*time.Microsecond, cancel)
		if round == 0 {
			cancel()
		}
		began := time.Now()
		found, err := f.FindBatch(ended, slices.Clone(slots))
		timer.Stop()
		cancel()
		switch {
		case time.Since(began) > patience:
			return fmt.Errorf("FindBatch took %v although its context ended, want at most %v", time.Since(began), patience)
		case errors.Is(err, tokenauth.ErrNotFound) || errors.Is(err, tokenauth.ErrCorrupt):
			return fmt.Errorf("FindBatch with a context that ended returned error %w, although all slots hold tokens", err)
		case err == nil && len(found) != len(slots):
			return fmt.Errorf("FindBatch with a context that ended returned %d results for %d slots and no error, want one result for each slot, or an error", len(found), len(slots))
		case err != nil:
			continue
		}
		for i, got := range found {
			switch {
			case errors.Is(got.Err, tokenauth.ErrNotFound) || errors.Is(got.Err, tokenauth.ErrCorrupt):
				return fmt.Errorf("FindBatch with a context that ended returned error %w for a stored token", got.Err)
			case got.Err == nil:
				if err := same(got.Token, tokens[i]); err != nil {
					return fmt.Errorf("FindBatch with a context that ended returned a wrong token: %w", err)
				}
			}
		}
	}
	return nil
}
