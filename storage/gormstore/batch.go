package gormstore

import (
	"context"
	"errors"
	"slices"

	"github.com/bearerkit/bearerkit/tokenauth"
)

// FindBatch implements [tokenauth.BatchFinder]. It runs one statement for each batch of
// up to 64 slots. The statement looks up each token by its primary key. For a single
// slot, FindBatch calls [Store.Find].
func (s *Store) FindBatch(ctx context.Context, slots []tokenauth.Slot) ([]tokenauth.Found, error) {
	if len(slots) == 1 {
		t, err := s.Find(ctx, slots[0])
		if err != nil && !errors.Is(err, tokenauth.ErrNotFound) && !errors.Is(err, tokenauth.ErrCorrupt) {
			return nil, err
		}
		return []tokenauth.Found{{Token: t, Err: err}}, nil
	}
	found := make([]tokenauth.Found, len(slots))
	at := 0
	for batch := range slices.Chunk(slots, maxBatch) {
		if err := s.readBatch(ctx, s.findBatch, batch, found[at:]); err != nil {
			return nil, err
		}
		at += len(batch)
	}
	return found, nil
}

// errOtherRow means that the driver returned a row of another query. Some drivers have
// done so after a context was canceled.
var errOtherRow = errors.New("gormstore: the driver returned a row that this query did not ask for (some drivers return rows of an earlier, canceled query)")

// readBatch finds the tokens in slots with one statement, s.findBatch or s.findRefresh,
// and stores the result for slots[i] in found[i].
func (s *Store) readBatch(ctx context.Context, b batchStatement, slots []tokenauth.Slot, found []tokenauth.Found) error {
	for i := range slots {
		found[i].Err = tokenauth.ErrNotFound
	}
	r := tokenRows.Get().(*tokenRow)
	defer r.free()
	columns := r.indexed
	if b == s.findRefresh {
		columns = r.indexedRefreshed
	}
	find, args := s.batch(b, slots)
	return find.queryRows(ctx, func(scan func(...any) error) error {
		t, err := r.readIndexed(scan, columns)
		if r.index < 0 || r.index >= len(slots) || err == nil && t.Slot != slots[r.index] {
			return errOtherRow
		}
		found[r.index] = tokenauth.Found{Token: t, Err: err}
		return nil // continue: only this row is corrupt, or the connection failed and no row follows
	}, args...)
}

// batch returns the statement that finds the rows of slots, and its arguments.
func (s *Store) batch(b batchStatement, slots []tokenauth.Slot) (find *statement, args []any) {
	find, size := b.large, maxBatch
	if len(slots) <= smallBatch {
		find, size = b.small, smallBatch
	}
	const key = len(tokenauth.UserKey{})
	all := make([]byte, 0, 2*key*len(slots))
	for i := range slots {
		all = append(all, slots[i].User[:]...)
	}
	for i := range slots {
		all = append(all, slots[i].Client[:]...)
	}
	users, clients := all[:key*len(slots)], all[key*len(slots):]
	part := s.dialect.batchPart(size)
	args = make([]any, 0, 2*size/part+1)
	for from := 0; from < size; from += part {
		first, last := key*min(from, len(slots)), key*min(from+part, len(slots))
		args = append(args, users[first:last], clients[first:last])
	}
	return find, append(args, len(slots))
}
