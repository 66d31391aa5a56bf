package storagetest_test

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/bearerkit/bearerkit/storage/memory"
	"github.com/bearerkit/bearerkit/storage/storagetest"
	"github.com/bearerkit/bearerkit/tokenauth"
)

// A batchStore is a correct BatchFinder, unless findBatch replaces its
// FindBatch by a broken one. It has no other optional interface.
type batchStore struct {
	tokenauth.Storage
	batchMethods
}

type batchMethods struct {
	findBatch func(tokenauth.Storage, context.Context, []tokenauth.Slot) ([]tokenauth.Found, error)
	changed   func(tokenauth.Slot) // after Replace and Revoke
}

func (b *batchStore) Replace(ctx context.Context, t tokenauth.Token) error {
	if b.changed != nil {
		defer b.changed(t.Slot)
	}
	return b.Storage.Replace(ctx, t)
}

func (b *batchStore) Revoke(ctx context.Context, s tokenauth.Slot, d tokenauth.Digest) error {
	if b.changed != nil {
		defer b.changed(s)
	}
	return b.Storage.Revoke(ctx, s, d)
}

func (b *batchStore) FindBatch(ctx context.Context, slots []tokenauth.Slot) ([]tokenauth.Found, error) {
	if b.findBatch != nil {
		return b.findBatch(b.Storage, ctx, slots)
	}
	return findEach(b.Storage, ctx, slots)
}

// findEach is a correct FindBatch that calls Find for each slot.
func findEach(s tokenauth.Storage, ctx context.Context, slots []tokenauth.Slot) ([]tokenauth.Found, error) {
	found := make([]tokenauth.Found, len(slots))
	for i, slot := range slots {
		found[i].Token, found[i].Err = s.Find(ctx, slot)
	}
	return found, nil
}

// then returns a FindBatch that passes correct results to spoil, and returns the
// results of that.
func then(spoil func(ctx context.Context, slots []tokenauth.Slot, found []tokenauth.Found) ([]tokenauth.Found, error)) batchMethods {
	return batchMethods{findBatch: func(s tokenauth.Storage, ctx context.Context, slots []tokenauth.Slot) ([]tokenauth.Found, error) {
		found, _ := findEach(s, ctx, slots)
		return spoil(ctx, slots, found)
	}}
}

// spoilEach returns a FindBatch that calls spoil for each correct result.
func spoilEach(spoil func(*tokenauth.Found)) batchMethods {
	return then(func(_ context.Context, _ []tokenauth.Slot, found []tokenauth.Found) ([]tokenauth.Found, error) {
		for i := range found {
			spoil(&found[i])
		}
		return found, nil
	})
}

func compareSlots(a, b tokenauth.Slot) int {
	return cmp.Or(bytes.Compare(a.User[:], b.User[:]), bytes.Compare(a.Client[:], b.Client[:]))
}

func TestRunDetectsBrokenBatches(t *testing.T) {
	t.Parallel()
	const (
		answers, kept, ended = "FindBatch", "FindBatchKept", "FindBatchContextEnded"
		fresh, race          = "FindBatchFresh", "FindBatchRace"
	)
	tests := []struct {
		name   string
		broken func() batchMethods
		rules  []string // the rules that must fail; no others may
	}{
		{"none", func() batchMethods { return batchMethods{} }, nil},
		{"hides expired tokens", func() batchMethods {
			return spoilEach(func(f *tokenauth.Found) {
				if f.Token.ExpiresAt.Before(time.Now()) {
					*f = tokenauth.Found{Err: tokenauth.ErrNotFound}
				}
			})
		}, []string{answers}},
		{"reads no attributes", func() batchMethods {
			return spoilEach(func(f *tokenauth.Found) { f.Token.Principal.Attributes = nil })
		}, []string{answers}},
		{"returns an empty token and no error for an empty slot, if it is alone", func() batchMethods {
			return then(func(_ context.Context, slots []tokenauth.Slot, found []tokenauth.Found) ([]tokenauth.Found, error) {
				if len(slots) == 1 {
					found[0].Err = nil
				}
				return found, nil
			})
		}, []string{answers}},
		{"fails if one slot of many is empty", func() batchMethods {
			return then(func(_ context.Context, slots []tokenauth.Slot, found []tokenauth.Found) ([]tokenauth.Found, error) {
				for _, f := range found {
					if f.Err != nil && len(found) > 32 {
						return nil, f.Err
					}
				}
				return found, nil
			})
		}, []string{answers, kept}},
		{"fails if all slots are empty", func() batchMethods {
			return then(func(_ context.Context, slots []tokenauth.Slot, found []tokenauth.Found) ([]tokenauth.Found, error) {
				for _, f := range found {
					if f.Err == nil {
						return found, nil
					}
				}
				if len(slots) > 1 {
					return nil, tokenauth.ErrNotFound
				}
				return found, nil
			})
		}, []string{answers, fresh}},
		{"reads 63 slots at most", func() batchMethods {
			return then(func(_ context.Context, slots []tokenauth.Slot, found []tokenauth.Found) ([]tokenauth.Found, error) {
				return found[:min(63, len(found))], nil
			})
		}, []string{answers}},
		{"leaves out the empty slots at the end", func() batchMethods {
			return then(func(_ context.Context, slots []tokenauth.Slot, found []tokenauth.Found) ([]tokenauth.Found, error) {
				for len(found) > 20 && found[len(found)-1].Err != nil {
					found = found[:len(found)-1]
				}
				return found, nil
			})
		}, []string{answers}},
		{"returns many results in the order of their keys", func() batchMethods {
			return batchMethods{findBatch: func(s tokenauth.Storage, ctx context.Context, slots []tokenauth.Slot) ([]tokenauth.Found, error) {
				if len(slots) > 16 {
					slots = slices.SortedFunc(slices.Values(slots), compareSlots)
				}
				return findEach(s, ctx, slots)
			}}
		}, []string{answers}},
		{"returns the previous slot's token for an empty slot", func() batchMethods {
			return then(func(_ context.Context, slots []tokenauth.Slot, found []tokenauth.Found) ([]tokenauth.Found, error) {
				for i := 1; i < len(found); i++ {
					if found[i].Err != nil {
						found[i] = found[i-1]
					}
				}
				return found, nil
			})
		}, []string{answers, fresh, race}},
		{"returns one token for all slots of a user, in large batches", func() batchMethods {
			return then(func(_ context.Context, slots []tokenauth.Slot, found []tokenauth.Found) ([]tokenauth.Found, error) {
				byUser := make(map[tokenauth.UserKey]tokenauth.Found)
				for i, slot := range slots {
					if found[i].Err == nil {
						byUser[slot.User] = found[i]
					}
				}
				for i, slot := range slots {
					if f, ok := byUser[slot.User]; ok && len(slots) > 32 {
						found[i] = f
						found[i].Token.Slot = slot // so that a comparison of the slot alone does not detect it
					}
				}
				return found, nil
			})
		}, []string{answers}},
		{"sorts the slots of its argument", func() batchMethods {
			return then(func(_ context.Context, slots []tokenauth.Slot, found []tokenauth.Found) ([]tokenauth.Found, error) {
				slices.SortFunc(slots, compareSlots)
				return found, nil
			})
		}, []string{kept}},
		{"reuses the slice of results of one slot", func() batchMethods {
			one := make([]tokenauth.Found, 1)
			return then(func(_ context.Context, slots []tokenauth.Slot, found []tokenauth.Found) ([]tokenauth.Found, error) {
				if len(found) == 1 {
					copy(one, found)
					return one, nil
				}
				return found, nil
			})
		}, []string{kept}},
		{"returns ErrNotFound for each slot when the context has ended", func() batchMethods {
			return then(func(ctx context.Context, slots []tokenauth.Slot, found []tokenauth.Found) ([]tokenauth.Found, error) {
				if ctx.Err() != nil {
					for i := range found {
						found[i] = tokenauth.Found{Err: tokenauth.ErrNotFound}
					}
				}
				return found, nil
			})
		}, []string{ended}},
		{"returns ErrCorrupt for a slot when the context has ended", func() batchMethods {
			return then(func(ctx context.Context, slots []tokenauth.Slot, found []tokenauth.Found) ([]tokenauth.Found, error) {
				if ctx.Err() != nil {
					found[len(found)-1] = tokenauth.Found{Err: errors.Join(tokenauth.ErrCorrupt, ctx.Err())}
				}
				return found, nil
			})
		}, []string{ended}},
		{"returns ErrNotFound for the batch when the context has ended", func() batchMethods {
			return then(func(ctx context.Context, slots []tokenauth.Slot, found []tokenauth.Found) ([]tokenauth.Found, error) {
				if ctx.Err() != nil {
					return nil, tokenauth.ErrNotFound
				}
				return found, nil
			})
		}, []string{ended}},
		{"returns half of the results when the context ends", func() batchMethods {
			return then(func(ctx context.Context, slots []tokenauth.Slot, found []tokenauth.Found) ([]tokenauth.Found, error) {
				if ctx.Err() != nil {
					return found[:len(found)/2], nil
				}
				return found, nil
			})
		}, []string{ended}},
		{"returns long after the context has ended", func() batchMethods {
			return then(func(ctx context.Context, slots []tokenauth.Slot, found []tokenauth.Found) ([]tokenauth.Found, error) {
				if ctx.Err() != nil {
					time.Sleep(4 * time.Second)
				}
				return found, ctx.Err()
			})
		}, []string{ended}},
		{"caches tokens, and invalidates them only in Replace and Revoke", keepsTokens, []string{fresh}},
		{"joins a call in progress", joinsCalls, []string{race}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			want := slices.Sorted(slices.Values(test.rules))
			found := make(map[string]error)
			var got []string
			// On a busy machine, the calls of a rule about a race may not meet.
			for try := 0; try < 5 && !slices.Equal(got, want); try++ {
				maps.Copy(found, storagetest.Check(t.Context(), func() tokenauth.Storage {
					return &batchStore{new(memory.Store), test.broken()}
				}))
				got = slices.Sorted(maps.Keys(found))
			}
			if !slices.Equal(got, want) {
				t.Errorf("got failures of the rules %v, want %v: %v", got, want, found)
			}
		})
	}
}

// keepsTokens returns a FindBatch with a cache that RevokeUser does not
// invalidate.
func keepsTokens() batchMethods {
	var mu sync.Mutex
	cache := make(map[tokenauth.Slot]tokenauth.Token)
	return batchMethods{
		changed: func(slot tokenauth.Slot) {
			mu.Lock()
			defer mu.Unlock()
			delete(cache, slot)
		},
		findBatch: func(s tokenauth.Storage, ctx context.Context, slots []tokenauth.Slot) ([]tokenauth.Found, error) {
			mu.Lock()
			defer mu.Unlock()
			found, _ := findEach(s, ctx, slots)
			for i, slot := range slots {
				if t, ok := cache[slot]; ok {
					found[i] = tokenauth.Found{Token: t}
				} else if found[i].Err == nil {
					cache[slot] = found[i].Token
				}
			}
			return found, nil
		},
	}
}

// joinsCalls returns a FindBatch that reads a slot once for all concurrent calls.
func joinsCalls() batchMethods {
	type call struct {
		done  chan struct{}
		found tokenauth.Found
	}
	var mu sync.Mutex
	calls := make(map[tokenauth.Slot]*call)
	find := func(s tokenauth.Storage, ctx context.Context, slot tokenauth.Slot) tokenauth.Found {
		mu.Lock()
		c, ok := calls[slot]
		if !ok {
			c = &call{done: make(chan struct{})}
			calls[slot] = c
		}
		mu.Unlock()
		if ok {
			<-c.done
			return c.found
		}
		c.found.Token, c.found.Err = s.Find(ctx, slot)
		time.Sleep(100 * time.Microsecond) // as a network would delay the answer
		mu.Lock()
		delete(calls, slot)
		mu.Unlock()
		close(c.done)
		return c.found
	}
	return batchMethods{findBatch: func(s tokenauth.Storage, ctx context.Context, slots []tokenauth.Slot) ([]tokenauth.Found, error) {
		found := make([]tokenauth.Found, len(slots))
		for i, slot := range slots {
			found[i] = find(s, ctx, slot)
		}
		return found, nil
	}}
}
