package tokenauth

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"reflect"

	"github.com/bearerkit/bearerkit/tokenauth/internal/batch"
	"github.com/bearerkit/bearerkit/tokenauth/internal/deadline"
	"github.com/bearerkit/bearerkit/tokenauth/internal/wrapper"
)

// lookups finds tokens in the storage. If the storage is a [BatchFinder],
// look-ups that are waiting at the same time share one call.
type lookups struct {
	storage Storage
	timeout *deadline.Timeout
	batches *batch.Batcher[Slot, Found] // nil if the storage is not a BatchFinder
	log     *securityLog
}

// newLookups returns a lookups for the storage. It is the only place that
// checks whether the storage is a [BatchFinder].
func newLookups(s Storage, timeout *deadline.Timeout, logger *slog.Logger, log *securityLog) *lookups {
	l := &lookups{storage: s, timeout: timeout, log: log}
	finder, ok := s.(BatchFinder)
	switch {
	case !ok:
	case wrapper.BypassesFind(s):
		logger.Warn("tokenauth: a storage wrapper has its own Find but inherits FindBatch from the storage that it wraps; the Service looks up each token separately until the wrapper has its own FindBatch",
			"wrapper", reflect.TypeOf(s).String())
	default:
		l.batches = batch.New(timeout, func(ctx context.Context, slots []Slot) ([]Found, error) {
			return l.findBatch(ctx, finder.FindBatch, slots)
		})
	}
	return l
}

// newRefreshLookups returns a lookups that finds tokens with their [Token.Refresh].
func newRefreshLookups(r Refresher, timeout *deadline.Timeout, log *securityLog) *lookups {
	l := &lookups{timeout: timeout, log: log}
	l.batches = batch.New(timeout, func(ctx context.Context, slots []Slot) ([]Found, error) {
		return l.findBatch(ctx, r.FindRefresh, slots)
	})
	return l
}

// find returns the token in the slot. It checks that the storage returned that
// slot's token, because some database drivers have returned another request's
// row after a canceled context. Without the check, a user could be signed in as
// another user.
func (l *lookups) find(ctx context.Context, slot Slot) (*Token, error) {
	var found Found
	var err error
	if l.batches != nil {
		found, err = l.batches.Find(ctx, slot)
	} else {
		found.Token, err = l.findOne(ctx, slot)
	}
	if err == nil {
		err = found.Err
	}
	if err != nil {
		return nil, err
	}
	if found.Token.Slot != slot {
		return nil, errForeignRow
	}
	return &found.Token, nil
}

// findBoth returns the tokens in two different slots, together if possible. It checks
// both as find does. The second result is not valid if the first one has an error.
func (l *lookups) findBoth(ctx context.Context, first, second Slot) (one, two Found, err error) {
	if l.batches != nil {
		one, two, err = l.batches.FindBoth(ctx, first, second)
	} else if one.Token, one.Err = l.findOne(ctx, first); one.Err == nil {
		two.Token, two.Err = l.findOne(ctx, second)
	}
	for _, f := range []struct {
		found *Found
		slot  Slot
	}{{&one, first}, {&two, second}} {
		if err == nil && f.found.Err == nil && f.found.Token.Slot != f.slot {
			f.found.Err = errForeignRow
		}
	}
	return one, two, err
}

// findSignIn is find for a slot that an access token names. It returns [ErrNotFound] if
// the slot holds an API key, or a record that keys need. A client that has a key can
// make up an access token that names the key's slot: the key must not become a sign-in.
func (l *lookups) findSignIn(ctx context.Context, slot Slot) (*Token, error) {
	t, err := l.find(ctx, slot)
	if err == nil && t.ClientID == keyClient {
		return nil, ErrNotFound
	}
	return t, err
}

// findToken is findSignIn as a [reader].
func (l *lookups) findToken(ctx context.Context, slot Slot) (*Token, int64, error) {
	t, err := l.findSignIn(ctx, slot)
	return t, 0, err
}

func (l *lookups) findOne(ctx context.Context, slot Slot) (Token, error) {
	call, cancel, err := l.timeout.Call(ctx)
	if err != nil {
		return Token{}, err
	}
	defer cancel()
	defer calling("the storage")
	return l.storage.Find(call, slot)
}

// findBatch calls [BatchFinder.FindBatch] or [Refresher.FindRefresh], and returns errPanic if it panics.
// It recovers the panic itself, because several requests may be waiting for the
// call. The call may also run in a goroutine of its own, where none of these
// requests could recover the panic.
func (l *lookups) findBatch(ctx context.Context, find func(context.Context, []Slot) ([]Found, error), slots []Slot) (found []Found, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = errPanic
			defer func() { _ = recover() }() // the host's logger may panic, too
			l.log.panicked(ctx, "the storage", p)
		}
	}()
	found, err = find(ctx, slots)
	if errors.Is(err, ErrNotFound) || errors.Is(err, ErrCorrupt) {
		err = fmt.Errorf("FindBatch or FindRefresh returned ErrNotFound or ErrCorrupt as its own error, but must set it as Found.Err of the slot concerned: %v", err)
	}
	return found, err
}
