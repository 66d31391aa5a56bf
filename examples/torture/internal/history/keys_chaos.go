package history

import (
	"context"
	"time"

	"github.com/bearerkit/bearerkit/tokenauth"
)

// A keyChaos is a chaos with the abilities that API keys need.
type keyChaos struct {
	*deviceChaos
	uses    tokenauth.UseRecorder
	renamer tokenauth.Renamer
}

// keyStorage returns the storage as one whose calls fail at random. It is a
// [tokenauth.BatchFinder] if batched is true.
func keyStorage(s tokenauth.Storage, rate float64, seed uint64, batched bool) tokenauth.Storage {
	c := &keyChaos{newDeviceChaos(s, rate, seed), s.(tokenauth.UseRecorder), s.(tokenauth.Renamer)}
	if batched {
		return &batchedKeyChaos{c}
	}
	return c
}

// watchedKeyStorage returns the storage as one whose calls and whose feed fail at random.
func watchedKeyStorage(s tokenauth.Storage, rate float64, seed uint64) tokenauth.Storage {
	c := &batchedKeyChaos{&keyChaos{newDeviceChaos(s, rate, seed), s.(tokenauth.UseRecorder), s.(tokenauth.Renamer)}}
	return &watchedKeyChaos{c, &watchedChaos{c.deviceChaos, s.(tokenauth.Watcher), 2 * lease}}
}

// RecordUses implements [tokenauth.UseRecorder].
func (c *keyChaos) RecordUses(ctx context.Context, uses []tokenauth.Use) error {
	return c.befall(ctx, func() error { return c.uses.RecordUses(ctx, uses) })
}

// RevokeUnused implements [tokenauth.UseRecorder].
func (c *keyChaos) RevokeUnused(ctx context.Context, before time.Time) (ended int64, err error) {
	return ended, c.befall(ctx, func() error {
		ended, err = c.uses.RevokeUnused(ctx, before)
		return err
	})
}

// Rename implements [tokenauth.Renamer].
func (c *keyChaos) Rename(ctx context.Context, s tokenauth.Slot, d tokenauth.Digest, name string) error {
	return c.befall(ctx, func() error { return c.renamer.Rename(ctx, s, d, name) })
}

// A batchedKeyChaos is a keyChaos that is a [tokenauth.BatchFinder]. If the storage is
// not one, it calls Find for each slot.
type batchedKeyChaos struct{ *keyChaos }

// FindBatch implements [tokenauth.BatchFinder].
func (c *batchedKeyChaos) FindBatch(ctx context.Context, slots []tokenauth.Slot) ([]tokenauth.Found, error) {
	if finder, ok := c.Storage.(tokenauth.BatchFinder); ok {
		return (&batchedChaos{c.chaos, finder}).FindBatch(ctx, slots)
	}
	found := make([]tokenauth.Found, len(slots))
	for i, slot := range slots {
		found[i].Token, found[i].Err = c.Find(ctx, slot)
	}
	return found, nil
}

// A watchedKeyChaos is a batchedKeyChaos whose feed fails, too.
type watchedKeyChaos struct {
	*batchedKeyChaos
	feed *watchedChaos
}

// Watch implements [tokenauth.Watcher].
func (c *watchedKeyChaos) Watch(ctx context.Context, beat time.Duration, feed tokenauth.Invalidator) error {
	return c.feed.Watch(ctx, beat, feed)
}
