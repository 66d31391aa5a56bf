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

// lookups find tokens in the storage: those that wait at the same moment together,
// if it is a BatchFinder.
type lookups struct {
	storage Storage
	timeout *deadline.Timeout
	batches *batch.Batcher[Slot, Found] // nil if the storage is no BatchFinder
	log     *securityLog
}

// newLookups is the one place that looks for a BatchFinder.
func newLookups(s Storage, timeout *deadline.Timeout, logger *slog.Logger, log *securityLog) *lookups {
	l := &lookups{storage: s, timeout: timeout, log: log}
	finder, ok := s.(BatchFinder)
	switch {
	case !ok:
	case wrapper.BypassesFind(s):
		logger.Warn("tokenauth: a wrapper has its own Find, and FindBatch of the storage in it, which is therefore not called: add FindBatch to the wrapper, and requests that wait at the same moment share statements again",
			"wrapper", reflect.TypeOf(s).String())
	default:
		l.batches = batch.New(timeout, func(ctx context.Context, slots []Slot) ([]Found, error) {
			return l.findBatch(ctx, finder, slots)
		})
	}
	return l
}

// find asks the storage for the token in the slot. It compares the slot that comes
// back with the one asked for: drivers have handed one request's row to another after
// a cancelled context, and a user must never be signed in as another.
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

func (l *lookups) findOne(ctx context.Context, slot Slot) (Token, error) {
	call, cancel, err := l.timeout.Call(ctx)
	if err != nil {
		return Token{}, err
	}
	defer cancel()
	defer calling("the storage")
	return l.storage.Find(call, slot)
}

// findBatch calls a BatchFinder, and returns errPanic if that panics: several requests
// may wait for the call, and none of them would recover the panic.
func (l *lookups) findBatch(ctx context.Context, finder BatchFinder, slots []Slot) (found []Found, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = errPanic
			defer func() { _ = recover() }() // the host's logger may panic, too
			l.log.panicked(ctx, "the storage", p)
		}
	}()
	found, err = finder.FindBatch(ctx, slots)
	if errors.Is(err, ErrNotFound) || errors.Is(err, ErrCorrupt) {
		err = fmt.Errorf("FindBatch returned an error for all slots that says something about one: %v", err)
	}
	return found, err
}
