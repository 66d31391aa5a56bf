package storagetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/bearerkit/bearerkit/tokenauth"
)

// revokesUnused calls RevokeUnused, and returns an error unless it ends the
// tokens of ends, and keeps those of stays.
func revokesUnused(ctx context.Context, s tokenauth.Storage, before time.Time, ends, stays []tokenauth.Token) error {
	n, err := s.(tokenauth.UseRecorder).RevokeUnused(ctx, before)
	if err != nil {
		return fmt.Errorf("RevokeUnused returned an error: %w", err)
	}
	if err := errors.Join(areEmpty(ctx, s, ends), allHeld(ctx, s, stays)); err != nil {
		return fmt.Errorf("after RevokeUnused with the time %v: %w", before, err)
	}
	if n != int64(len(ends)) {
		return fmt.Errorf("RevokeUnused returned that it ended %d tokens, want %d", n, len(ends))
	}
	return nil
}

// revokeUnused checks each combination of when a token was issued and used. The
// time of the call is given in milliseconds first, and then in whole seconds.
func revokeUnused(ctx context.Context, s tokenauth.Storage) error {
	r, ok := s.(tokenauth.UseRecorder)
	if !ok {
		return nil
	}
	issued := func(client, device string, n int, at time.Time) tokenauth.Token {
		t := token("alice", client, n)
		if device != "" {
			t = onDevice("alice", client, device, n)
		}
		t.IssuedAt = at
		return t
	}
	bound, half := epoch.Add(10*time.Hour), epoch.Add(500*time.Millisecond)
	ancient := issued("ancient", "", 1, epoch.AddDate(-1, 0, 0))
	just := issued("just", "", 2, epoch)
	justDevice := issued("", "just", 3, half.Add(-time.Millisecond))
	atHalf := issued("", "half", 4, half)
	unused := issued("unused", "", 5, bound.Add(-time.Second))
	usedBefore := issued("", "before", 6, epoch.Add(time.Hour))
	usedAt := issued("at", "", 7, epoch.AddDate(-1, 0, 0))
	usedAfter := issued("", "after", 8, epoch.AddDate(-1, 0, 0))
	atBound := issued("bound", "", 9, bound)
	newer := issued("", "newer", 10, bound.Add(time.Millisecond))
	// The use of the token that this one replaced does not count.
	old, replacing := issued("", "replaced", 11, epoch.AddDate(-1, 0, 0)), issued("", "replaced", 12, epoch.Add(time.Hour))

	if err := all(ctx, s, ancient, just, justDevice, atHalf, unused, usedBefore, usedAt, usedAfter, atBound, newer, old); err != nil {
		return err
	}
	err := record(ctx, r, useOf(usedBefore, 9), useOf(usedAt, 10), useOf(usedAfter, 11), useOf(old, 12), useOf(newer, 0),
		useOf(ancient, 0)) // half a second before the first call's time
	if err != nil {
		return err
	}
	if err := all(ctx, s, replacing); err != nil {
		return err
	}
	replacing.Replaced = old.Digest
	stay := []tokenauth.Token{usedAt, usedAfter, atBound, newer}
	later := []tokenauth.Token{atHalf, unused, usedBefore, replacing}
	return first(
		func() error { return revokesUnused(ctx, s, epoch.AddDate(-2, 0, 0), nil, append(later, stay...)) },
		func() error {
			return revokesUnused(ctx, s, half, []tokenauth.Token{ancient, just, justDevice}, append(later, stay...))
		},
		func() error { return revokesUnused(ctx, s, bound, later, stay) },
		func() error { return revokesUnused(ctx, s, bound, nil, stay) },
		func() error {
			return revokesUnused(ctx, s, bound.Add(time.Second), []tokenauth.Token{usedAt, atBound, newer}, []tokenauth.Token{usedAfter})
		},
	)
}

// revokeUnusedAll checks RevokeUnused with more tokens than fit into one batch,
// both of one user and of many users, and with the slots that belong to no user.
func revokeUnusedAll(ctx context.Context, s tokenauth.Storage) error {
	r, ok := s.(tokenauth.UseRecorder)
	if !ok {
		return nil
	}
	var ends, stays []tokenauth.Token
	for i := range manyDevices {
		phone, plain := onDevice("alice", "web", fmt.Sprint("device", i), 2*i), token(fmt.Sprint("user", i), "", 2*i+1)
		if i%20 == 0 {
			stays = append(stays, phone)
		} else {
			ends = append(ends, phone, plain)
		}
	}
	var names []tokenauth.Token // a Service stores its name there
	for i := range 3 {
		name := token("", fmt.Sprint("service", i), 10_000+i)
		name.Slot.User = tokenauth.UserKey(bytes.Repeat([]byte{0xFF}, len(name.Slot.User)))
		names = append(names, name)
	}
	stored := append(append(append([]tokenauth.Token(nil), ends...), stays...), names...)
	if err := allTogether(ctx, s, stored); err != nil {
		return err
	}
	var uses []tokenauth.Use
	for _, t := range stays {
		uses = append(uses, useOf(t, 5))
	}
	bound := epoch.Add(5 * time.Hour)
	err := first(
		func() error { return record(ctx, r, uses...) },
		func() error { return revokesUnused(ctx, s, bound, ends, append(stays, names...)) },
	)
	if err != nil {
		return err
	}
	ended, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := r.RevokeUnused(ended, bound.Add(time.Second)); err == nil {
		if err := areEmpty(ctx, s, stays); err != nil {
			return fmt.Errorf("RevokeUnused with an ended context returned nil, but did not empty a slot: %w", err)
		}
	}
	if _, err := r.RevokeUnused(ctx, bound.Add(time.Second)); err != nil {
		return fmt.Errorf("RevokeUnused returned an error: %w", err)
	}
	return errors.Join(areEmpty(ctx, s, stays), allHeld(ctx, s, names))
}

func revokeUnusedRace(ctx context.Context, s tokenauth.Storage) error {
	r, ok := s.(tokenauth.UseRecorder)
	if !ok {
		return nil
	}
	const users = 4
	bound := epoch.Add(time.Hour)
	for round := range 30 {
		// No token was used. While RevokeUnused runs, half of the users sign in
		// again, and the others use their tokens.
		var before, after []tokenauth.Token
		for user := range users {
			old, now := onDevice(fmt.Sprint("user", user), "", "phone", 2*users*round+user), onDevice(fmt.Sprint("user", user), "", "phone", 2*users*round+users+user)
			now.IssuedAt = bound
			before, after = append(before, old), append(after, now)
		}
		if err := all(ctx, s, before...); err != nil {
			return err
		}
		var ended int64
		err := together(1+users, func(i int) (err error) {
			switch user := i - 1; {
			case i == 0:
				ended, err = r.RevokeUnused(ctx, bound)
				return err
			case user%2 == 0:
				return all(ctx, s, after[user])
			default:
				return record(ctx, r, useOf(before[user], 1))
			}
		})
		if err != nil {
			return err
		}
		if err := afterUnusedRace(ctx, s, before, after, ended); err != nil {
			return err
		}
		for _, t := range before {
			if err := s.RevokeUser(ctx, t.Slot.User); err != nil {
				return fmt.Errorf("RevokeUser returned an error: %w", err)
			}
		}
	}
	return nil
}

// afterUnusedRace checks the slots after the race of [revokeUnusedRace].
// Even-numbered users have their new token. Each other user has the old token
// with its use, or none.
func afterUnusedRace(ctx context.Context, s tokenauth.Storage, before, after []tokenauth.Token, ended int64) error {
	var gone int64
	for user, old := range before {
		if user%2 == 0 {
			got, err := s.Find(ctx, old.Slot)
			if err != nil || got.Digest != after[user].Digest {
				return fmt.Errorf("RevokeUnused removed a token that was stored while it ran: Find returned digest %v and error %w", got.Digest, err)
			}
			if got.Replaced.IsZero() {
				gone++
			}
			continue
		}
		if err := isEmpty(ctx, s, old.Slot); err == nil {
			gone++
			continue
		}
		old.LastSeen = useOf(old, 1).At
		if err := recorded(ctx, s, old); err != nil {
			return fmt.Errorf("after RevokeUnused and RecordUses ran concurrently: %w", err)
		}
	}
	if ended != gone {
		return fmt.Errorf("RevokeUnused returned that it ended %d tokens, but it ended %d", ended, gone)
	}
	return nil
}
