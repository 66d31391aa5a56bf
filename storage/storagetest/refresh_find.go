package storagetest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/bearerkit/bearerkit/tokenauth"
)

// refreshCrowd stores tokens of all kinds, most of them with a Refresh. It returns them
// by slot, and the slots in an order of chance, with some empty slots between them.
func refreshCrowd(ctx context.Context, s tokenauth.Storage, rng *rand.Rand) (map[tokenauth.Slot]tokenauth.Token, []tokenauth.Slot, error) {
	tokens := refreshTokens()
	for i := range 40 {
		t := token(fmt.Sprint("user", i/4), fmt.Sprint("client", i%4), 1000+i)
		if i%4 != 3 {
			t = withRefresh(t, i)
		}
		tokens = append(tokens, t)
	}
	if err := allTogether(ctx, s, tokens); err != nil {
		return nil, nil, err
	}
	held := make(map[tokenauth.Slot]tokenauth.Token)
	var slots []tokenauth.Slot
	for i, t := range tokens {
		held[t.Slot] = t
		slots = append(slots, t.Slot)
		if i%3 == 0 {
			slots = append(slots, tokenauth.SlotOf(t.Principal.UserID, fmt.Sprint("nowhere", i)), tokenauth.SlotOf(fmt.Sprint("nobody", i), t.ClientID))
		}
	}
	rng.Shuffle(len(slots), func(i, j int) { slots[i], slots[j] = slots[j], slots[i] })
	return held, slots, nil
}

// isFound returns an error unless found is the result for a slot that holds want, or for
// an empty slot if there is no token want.
func isFound(found tokenauth.Found, want tokenauth.Token, held bool) error {
	if !held {
		if !errors.Is(found.Err, tokenauth.ErrNotFound) {
			return fmt.Errorf("digest %v and error %v for an empty slot, want ErrNotFound", found.Token.Digest, found.Err)
		}
		return nil
	}
	if found.Err != nil {
		return fmt.Errorf("error %w for a slot that holds a token with digest %v", found.Err, want.Digest)
	}
	return sameRefresh(found.Token, want)
}

func findRefreshBatch(ctx context.Context, s tokenauth.Storage) error {
	r, ok := s.(tokenauth.Refresher)
	if !ok {
		return nil
	}
	rng := rand.New(rand.NewPCG(8, 9))
	held, slots, err := refreshCrowd(ctx, s, rng)
	if err != nil {
		return err
	}
	expect := func(slots []tokenauth.Slot) error {
		found, err := findRefresh(ctx, r, slots)
		if err != nil {
			return err
		}
		for i, slot := range slots {
			want, ok := held[slot]
			if err := isFound(found[i], want, ok); err != nil {
				return fmt.Errorf("FindRefresh result %d of %d: %w", i+1, len(slots), err)
			}
		}
		return nil
	}
	for _, slot := range slots {
		if err := expect([]tokenauth.Slot{slot}); err != nil {
			return err
		}
	}
	for n := 1; n <= maxBatch; n++ {
		rng.Shuffle(len(slots), func(i, j int) { slots[i], slots[j] = slots[j], slots[i] })
		if err := expect(slots[:n]); err != nil {
			return err
		}
	}
	nobodys := make([]tokenauth.Slot, maxBatch)
	for i := range nobodys {
		nobodys[i] = tokenauth.SlotOf(fmt.Sprint("nobody", i/2), fmt.Sprint("client", i%2))
	}
	return expect(nobodys)
}

// findRefreshKept checks that later calls and changes do not modify the results of
// earlier calls, that FindRefresh does not modify its argument, and that the storage does
// not modify the tokens that Refresh gets.
func findRefreshKept(ctx context.Context, s tokenauth.Storage) error {
	r, ok := s.(tokenauth.Refresher)
	if !ok {
		return nil
	}
	rng := rand.New(rand.NewPCG(10, 11))
	held, slots, err := refreshCrowd(ctx, s, rng)
	if err != nil {
		return err
	}
	type call struct {
		asked []tokenauth.Slot
		found []tokenauth.Found
		want  []tokenauth.Found // a copy of found, made when the call returned
	}
	var calls []call
	for round, n := range []int{1, 2, 2, maxBatch, 1, 2, maxBatch, 2, 1} {
		rng.Shuffle(len(slots), func(i, j int) { slots[i], slots[j] = slots[j], slots[i] })
		asked := slices.Clone(slots[:n])
		found, err := r.FindRefresh(ctx, asked)
		if err != nil {
			return fmt.Errorf("FindRefresh for %d slots returned an error: %w", n, err)
		}
		if len(found) != n {
			return fmt.Errorf("FindRefresh for %d slots returned %d results", n, len(found))
		}
		if !slices.Equal(asked, slots[:n]) {
			return fmt.Errorf("FindRefresh modified its argument of %d slots", n)
		}
		calls = append(calls, call{asked, found, copyOf(found)})
		for i, slot := range asked { // refresh some of them
			was, ok := held[slot]
			if !ok || was.Refresh == nil || i%3 != 0 {
				continue
			}
			if err := isFound(found[i], was, true); err != nil {
				return fmt.Errorf("FindRefresh result %d of %d: %w", i+1, n, err)
			}
			t := next(was, 10_000+100*round+i)
			kept := copyOf([]tokenauth.Found{{Token: t}})[0].Token
			if stored, err := r.Refresh(ctx, found[i].Token, t); err != nil || !stored {
				return fmt.Errorf("Refresh of a token that FindRefresh returned: got %v and error %v, want true", stored, err)
			}
			if err := sameRefresh(t, kept); err != nil {
				return fmt.Errorf("Refresh modified its argument: %w", err)
			}
			held[slot] = t
		}
	}
	for _, slot := range slots[:8] {
		if err := s.RevokeUser(ctx, slot.User); err != nil {
			return fmt.Errorf("RevokeUser returned an error: %w", err)
		}
	}
	for _, c := range calls {
		for i, want := range c.want {
			if got := c.found[i]; (got.Err == nil) != (want.Err == nil) || sameRefresh(got.Token, want.Token) != nil {
				return fmt.Errorf("a result of FindRefresh for %d slots changed after FindRefresh had returned: first digest %v and error %v, now digest %v and error %v",
					len(c.asked), want.Token.Digest, want.Err, got.Token.Digest, got.Err)
			}
		}
	}
	return nil
}

func findRefreshContextEnded(ctx context.Context, s tokenauth.Storage) error {
	r, ok := s.(tokenauth.Refresher)
	if !ok {
		return nil
	}
	held := make([]tokenauth.Token, 16)
	slots := make([]tokenauth.Slot, len(held))
	for i := range held {
		held[i] = withRefresh(token(fmt.Sprint("user", i), "", i), i)
		slots[i] = held[i].Slot
	}
	if err := all(ctx, s, held...); err != nil {
		return err
	}
	// The context ends before each of the first calls. In each later call it ends a moment
	// later than in the call before.
	slow := 0
	for round := range 40 {
		n := []int{len(slots), 1}[round%2]
		ended, cancel := context.WithCancel(ctx)
		timer := time.AfterFunc(time.Duration(round/2)*100*time.Microsecond, cancel)
		if round <= maxSlow {
			cancel()
		}
		began := time.Now()
		found, err := r.FindRefresh(ended, slices.Clone(slots[:n]))
		timer.Stop()
		cancel()
		took := time.Since(began)
		if took > patience {
			slow++
		}
		switch {
		case slow >= maxSlow:
			return fmt.Errorf("%d calls of FindRefresh took longer than %v although their contexts ended, one of them %v", slow, patience, took)
		case errors.Is(err, tokenauth.ErrNotFound) || errors.Is(err, tokenauth.ErrCorrupt):
			return fmt.Errorf("FindRefresh with a context that ended returned error %w, although all slots hold tokens", err)
		case err == nil && len(found) != n:
			return fmt.Errorf("FindRefresh with a context that ended returned %d results for %d slots and no error, want one result for each slot, or an error", len(found), n)
		case err != nil:
			continue
		}
		for i, got := range found {
			switch {
			case errors.Is(got.Err, tokenauth.ErrNotFound) || errors.Is(got.Err, tokenauth.ErrCorrupt):
				return fmt.Errorf("FindRefresh with a context that ended returned error %w for a stored token", got.Err)
			case got.Err == nil:
				if err := sameRefresh(got.Token, held[i]); err != nil {
					return fmt.Errorf("FindRefresh with a context that ended returned a wrong token: %w", err)
				}
			}
		}
	}
	return nil
}

// findRefreshRace reads slots while their tokens are refreshed. Each slot must be read
// after the call began, and as a whole: the State must be that of the Digest.
func findRefreshRace(ctx context.Context, s tokenauth.Storage) error {
	r, ok := s.(tokenauth.Refresher)
	if !ok {
		return nil
	}
	const changing = 3
	// The slot of a worker has the token of change 0 first, then that of change 1, and
	// so on.
	at := func(worker int, change int64) tokenauth.Token {
		user := fmt.Sprint("user", worker)
		first := withRefresh(onDevice(user, "", "phone", 0), 0)
		if change == 0 {
			return first
		}
		t := next(first, int(change))
		if change > 1 {
			t.Replaced = next(first, int(change-1)).Digest
		}
		return t
	}
	var changed, begun [changing]atomic.Int64
	var slots []tokenauth.Slot
	for worker := range changing {
		if err := all(ctx, s, at(worker, 0)); err != nil {
			return err
		}
		slots = append(slots, at(worker, 0).Slot)
	}
	change := func(worker int) error {
		n := begun[worker].Add(1)
		stored, err := r.Refresh(ctx, at(worker, n-1), at(worker, n))
		if err != nil || !stored {
			return fmt.Errorf("Refresh by the only caller returned %v and error %v, want true", stored, err)
		}
		changed[worker].Store(n)
		return nil
	}
	return readDuringChanges(changing, change, func(*rand.Rand) error {
		var before [changing]int64
		for i := range before {
			before[i] = changed[i].Load()
		}
		found, err := findRefresh(ctx, r, slots)
		if err != nil {
			return err
		}
		for i, f := range found {
			if f.Err != nil {
				return fmt.Errorf("FindRefresh returned error %w for a slot that always holds a token", f.Err)
			}
			n, err := strconv.ParseInt(strings.TrimSpace(string(f.Token.Digest[:])), 10, 64)
			if err != nil || n < before[i] || n > begun[i].Load() {
				return fmt.Errorf("FindRefresh returned digest %v, want that of a change from %d to %d", f.Token.Digest, before[i], begun[i].Load())
			}
			if err := sameRefresh(f.Token, at(i, n)); err != nil {
				return fmt.Errorf("FindRefresh read the token of change %d in part: %w", n, err)
			}
		}
		return nil
	})
}
