package redisstore

import (
	"context"
	"errors"
	"strings"

	"github.com/redis/rueidis"

	"github.com/bearerkit/bearerkit/tokenauth"
)

// FindBatch implements tokenauth.BatchFinder, by one HGET for each slot, all in one
// pipeline, or one for each master of a cluster. An error of one master is the error
// of the call.
//
// For several slots it starts no goroutine, unlike the other methods: nobody waits for
// it in the Service once the context has ended. So where another call of the client
// makes the connection meanwhile, it may return later than its context ends, by
// ClientOption.Dialer.Timeout at most.
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

// hget returns the command that reads a slot.
func (s *Store) hget(slot tokenauth.Slot) rueidis.Completed {
	return s.read("HGET", []string{s.key(slot.User)}, field(slot.Client))
}

// tokenOf returns the token of an answer to hget.
func tokenOf(value []byte, err error) (tokenauth.Token, error) {
	if err == nil {
		return decode(value)
	}
	if rueidis.IsRedisNil(err) {
		return tokenauth.Token{}, tokenauth.ErrNotFound
	}
	return tokenauth.Token{}, err
}

// ofOneSlot reports whether the error says nothing of other slots. That a key holds
// something else than a hash is a storage error, but only for its own user.
func ofOneSlot(err error) bool {
	if errors.Is(err, tokenauth.ErrNotFound) || errors.Is(err, tokenauth.ErrCorrupt) {
		return true
	}
	e, ok := rueidis.IsRedisErr(err)
	return ok && strings.HasPrefix(e.Error(), "WRONGTYPE ")
}
