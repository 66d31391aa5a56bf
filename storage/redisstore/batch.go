package redisstore

import (
	"context"
	"errors"
	"strings"

	"github.com/redis/rueidis"

	"github.com/bearerkit/bearerkit/tokenauth"
)

// FindBatch implements [tokenauth.BatchFinder] with one HGET for each slot. It
// sends all HGETs in one pipeline, or on a cluster in one pipeline for each
// master. If one master fails, the whole call returns that error.
//
// With several slots, FindBatch may return some time after its context ends, if
// another call of the client is opening the connection. The delay is at most
// the Timeout of [rueidis.ClientOption.Dialer]. The other methods start a
// goroutine to avoid the delay. FindBatch does not, because [tokenauth.Service]
// stops waiting for it when the context ends.
func (s *Store) FindBatch(ctx context.Context, slots []tokenauth.Slot) ([]tokenauth.Found, error) {
	if len(slots) == 1 {
		t, err := s.Find(ctx, slots[0])
		if err != nil && !ofOneSlot(err) {
			return nil, err
		}
		return []tokenauth.Found{{Token: t, Err: err}}, nil
	}
	commands := make(rueidis.Commands, len(slots))
	for i := range slots {
		commands[i] = s.hget(slots[i])
	}
	found := make([]tokenauth.Found, len(slots))
	for i, answer := range s.client.DoMulti(ctx, commands...) {
		t, err := tokenOf(answer.AsBytes())
		if err != nil && !ofOneSlot(err) {
			return nil, err
		}
		found[i] = tokenauth.Found{Token: t, Err: err}
	}
	return found, nil
}

// hget returns the command that reads the token in a [tokenauth.Slot].
func (s *Store) hget(slot tokenauth.Slot) rueidis.Completed {
	return s.read("HGET", []string{s.key(slot.User)}, field(slot.Client))
}

// tokenOf decodes the reply to the command that hget returns. For an empty slot
// it returns [tokenauth.ErrNotFound].
func tokenOf(value []byte, err error) (tokenauth.Token, error) {
	if err == nil {
		return decode(value)
	}
	if rueidis.IsRedisNil(err) {
		return tokenauth.Token{}, tokenauth.ErrNotFound
	}
	return tokenauth.Token{}, err
}

// ofOneSlot reports whether an error concerns one slot only, so that a batch's
// results for the other slots are still valid. One such error is WRONGTYPE,
// which means that a user's key does not hold a hash.
func ofOneSlot(err error) bool {
	if errors.Is(err, tokenauth.ErrNotFound) || errors.Is(err, tokenauth.ErrCorrupt) {
		return true
	}
	e, ok := rueidis.IsRedisErr(err)
	return ok && strings.HasPrefix(e.Error(), "WRONGTYPE ")
}
