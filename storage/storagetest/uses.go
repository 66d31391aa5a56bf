package storagetest

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/bearerkit/bearerkit/tokenauth"
)

// useOf returns a use of the token, in the hour that began at the given number
// of hours after [epoch].
func useOf(t tokenauth.Token, hour int) tokenauth.Use {
	return tokenauth.Use{Slot: t.Slot, Digest: t.Digest, At: epoch.Add(time.Duration(hour) * time.Hour)}
}

// recorded returns an error unless the storage holds the tokens, and List
// returns each with its LastSeen. It expects only what Find returns if the
// storage is not a [tokenauth.Lister].
func recorded(ctx context.Context, s tokenauth.Storage, tokens ...tokenauth.Token) error {
	byUser := make(map[string][]tokenauth.Token)
	for _, want := range tokens {
		byUser[want.Principal.UserID] = append(byUser[want.Principal.UserID], want)
		want.LastSeen = time.Time{} // only List sets it
		if err := holds(ctx, s, want); err != nil {
			return err
		}
	}
	if l, ok := s.(tokenauth.Lister); ok {
		for user, want := range byUser {
			if err := lists(ctx, l, user, want...); err != nil {
				return err
			}
		}
	}
	return nil
}

// record calls RecordUses with the uses.
func record(ctx context.Context, r tokenauth.UseRecorder, uses ...tokenauth.Use) error {
	if err := r.RecordUses(ctx, uses); err != nil {
		return fmt.Errorf("RecordUses of %d uses returned an error: %w", len(uses), err)
	}
	return nil
}

func recordUses(ctx context.Context, s tokenauth.Storage) error {
	r, ok := s.(tokenauth.UseRecorder)
	if !ok {
		return nil
	}
	plain, phone, tablet := token("alice", "", 1), onDevice("alice", "", "phone", 2), onDevice("alice", "", "tablet", 3)
	phone.DeviceName, phone.IssuedAt = "Ann's phone", epoch.Add(999*time.Millisecond)
	expired := token("alice", "web", 4)
	expired.IssuedAt, expired.ExpiresAt = epoch.AddDate(-20, 0, 0), epoch.AddDate(-19, 0, 0)
	others := token("bob", "", 5)
	tokens := []*tokenauth.Token{&plain, &phone, &tablet, &expired, &others}
	hold := func() error {
		var want []tokenauth.Token
		for _, t := range tokens {
			want = append(want, *t)
		}
		return recorded(ctx, s, want...)
	}
	// used records a use of the token, and expects that its last use was in the
	// hour seen.
	used := func(t *tokenauth.Token, hour, seen int) error {
		if err := record(ctx, r, useOf(*t, hour)); err != nil {
			return err
		}
		t.LastSeen = useOf(*t, seen).At
		if err := hold(); err != nil {
			return fmt.Errorf("after a use in hour %d, with the last use in hour %d: %w", hour, seen, err)
		}
		return nil
	}
	return first(
		func() error { return all(ctx, s, plain, phone, tablet, expired, others) },
		hold, // no use is recorded yet
		func() error { return used(&plain, 5, 5) },
		func() error { return used(&phone, 3, 3) },
		func() error { return used(&plain, 5, 5) }, // the same hour
		func() error { return used(&plain, 4, 5) }, // an earlier hour
		func() error { return used(&plain, 6, 6) },
		func() error { return used(&others, 7, 7) },
		func() error { return used(&plain, 24*365*50, 24*365*50) },
	)
}

func recordUsesDigest(ctx context.Context, s tokenauth.Storage) error {
	r, ok := s.(tokenauth.UseRecorder)
	if !ok {
		return nil
	}
	old, now, later := onDevice("alice", "", "phone", 1), onDevice("alice", "", "phone", 2), onDevice("alice", "", "phone", 3)
	empty := token("alice", "", 4)
	extends := func(t tokenauth.Token, hour int) tokenauth.Use {
		u := useOf(t, hour)
		u.ExpiresAt = t.ExpiresAt.AddDate(1, 0, 0)
		return u
	}
	// uses records the uses, and expects that the user then has only this token.
	uses := func(want *tokenauth.Token, uses ...tokenauth.Use) error {
		return first(
			func() error { return record(ctx, r, uses...) },
			func() error { return recorded(ctx, s, *want) },
			func() error { return isEmpty(ctx, s, empty.Slot) },
		)
	}
	return first(
		func() error { return record(ctx, r, extends(old, 1), extends(empty, 1)) }, // nothing is stored yet
		func() error { return isEmpty(ctx, s, old.Slot) },
		func() error { return isEmpty(ctx, s, empty.Slot) },
		func() error { return all(ctx, s, old) },
		func() error { return uses(&old, extends(now, 2), extends(empty, 2)) }, // the slot holds another token
		func() error { old.LastSeen = useOf(old, 9).At; return uses(&old, useOf(old, 9)) },
		func() error { return all(ctx, s, now) },
		func() error { now.Replaced = old.Digest; return uses(&now) }, // the new token was not used
		func() error { return uses(&now, extends(old, 10)) },
		func() error { now.LastSeen = useOf(now, 3).At; return uses(&now, useOf(now, 3)) }, // earlier than the use of the old token
		func() error { return uses(&now, extends(old, 11)) },
		func() error { return s.Revoke(ctx, now.Slot, now.Digest) },
		func() error { return record(ctx, r, extends(now, 12), extends(old, 12)) },
		func() error { return isEmpty(ctx, s, now.Slot) },
		func() error { return all(ctx, s, later) },
		func() error { return uses(&later, extends(now, 13)) },
		func() error { later.LastSeen = useOf(later, 1).At; return uses(&later, useOf(later, 1)) },
		func() error { return s.RevokeUser(ctx, later.Slot.User) },
		func() error { return record(ctx, r, extends(later, 14)) },
		func() error { return isEmpty(ctx, s, later.Slot) },
	)
}

func recordUsesExtends(ctx context.Context, s tokenauth.Storage) error {
	r, ok := s.(tokenauth.UseRecorder)
	if !ok {
		return nil
	}
	t, other := onDevice("alice", "", "phone", 1), token("alice", "", 2)
	t.DeviceName, t.IssuedAt, t.Lifetime = "Ann's phone", epoch.Add(time.Millisecond), time.Hour
	t.ExpiresAt = epoch.AddDate(0, 0, 1) // expired, because a storage may purge by the earlier time of its own clock
	other.ExpiresAt = t.ExpiresAt
	extend := func(hour int, to, want time.Time) error {
		u := useOf(t, hour)
		u.ExpiresAt = to
		t.ExpiresAt = want
		if u.At.After(t.LastSeen) {
			t.LastSeen = u.At
		}
		if err := record(ctx, r, u); err != nil {
			return err
		}
		err := recorded(ctx, s, t, other)
		if _, ok := s.(tokenauth.BatchFinder); ok && err == nil {
			err = findsAll(ctx, s, []tokenauth.Slot{t.Slot, other.Slot})
		}
		if err != nil {
			return fmt.Errorf("after a use that makes the token live until %v: %w", to, err)
		}
		return nil
	}
	began := t.ExpiresAt
	at := func(hours int) time.Time { return began.Add(time.Duration(hours) * time.Hour) }
	return first(
		func() error { return all(ctx, s, t, other) },
		func() error { return extend(1, at(1), at(1)) },
		func() error { return extend(2, at(1).Add(time.Second), at(1).Add(time.Second)) },
		func() error { return extend(3, at(-1), at(1).Add(time.Second)) },
		func() error { return extend(4, time.Time{}, at(1).Add(time.Second)) },
		func() error { return extend(4, at(4), at(4)) }, // a use in this hour was recorded already
		func() error { return extend(2, at(5), at(5)) }, // or a later one
		func() error { return extend(6, at(5), at(5)) },
		func() error { // a purge goes by the new time, too
			p, ok := s.(tokenauth.Purger)
			if !ok {
				return nil
			}
			removed, err := p.Purge(ctx, at(5))
			if err != nil || removed != 1 { // the other token
				return fmt.Errorf("Purge by the time to which a token was extended removed %d tokens and returned error %v, want 1 and no error", removed, err)
			}
			return recorded(ctx, s, t)
		},
	)
}

func recordUsesMany(ctx context.Context, s tokenauth.Storage) error {
	r, ok := s.(tokenauth.UseRecorder)
	if !ok {
		return nil
	}
	const users, devices = 20, 50
	var tokens []tokenauth.Token
	for user := range users {
		for device := range devices {
			tokens = append(tokens, onDevice(fmt.Sprint("user", user), "", fmt.Sprint("device", device), len(tokens)))
		}
	}
	if err := allTogether(ctx, s, tokens); err != nil {
		return err
	}
	// Each token is used in an hour of its own. Of each 10 uses, one is the use of
	// an old token, two extend the token, and one has an empty slot.
	for call, n := range []int{1, 64, len(tokens)} {
		var uses []tokenauth.Use
		for i := range n {
			t := &tokens[i]
			u := useOf(*t, 1000*call+i)
			switch i % 10 {
			case 3:
				u.Digest[0] ^= 1
			case 5:
				u.Slot = tokenauth.SlotOf(fmt.Sprint("nobody", i), "")
			case 7, 9:
				u.ExpiresAt = t.ExpiresAt.Add(time.Duration(1+i) * time.Hour)
				t.ExpiresAt = u.ExpiresAt
			}
			if u.Slot == t.Slot && u.Digest == t.Digest {
				t.LastSeen = u.At
			}
			uses = append(uses, u)
		}
		if err := record(ctx, r, uses...); err != nil {
			return err
		}
		for user := range users {
			if err := recorded(ctx, s, tokens[devices*user:devices*(user+1)]...); err != nil {
				return fmt.Errorf("after RecordUses of %d uses: %w", n, err)
			}
		}
		for _, u := range uses {
			if u.Slot.Client == tokenauth.SlotOf("", "").Client {
				if err := isEmpty(ctx, s, u.Slot); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func recordUsesRace(ctx context.Context, s tokenauth.Storage) error {
	r, ok := s.(tokenauth.UseRecorder)
	if !ok {
		return nil
	}
	for round := range 30 {
		// Four tokens are used, and each use extends its token. At the same time,
		// one of the tokens is replaced, one is revoked, one is removed with its
		// user, and one is used in other hours.
		of := func(user string, n int) tokenauth.Token {
			t := onDevice(user, "", "phone", 10*round+n)
			t.Lifetime = time.Hour
			return t
		}
		replaced, now, revoked, removed, used := of("alice", 0), of("alice", 1), of("bob", 2), of("carol", 3), of("dave", 4)
		if err := all(ctx, s, replaced, revoked, removed, used); err != nil {
			return err
		}
		use := func(t tokenauth.Token, hour int) tokenauth.Use {
			u := useOf(t, hour)
			u.ExpiresAt = t.ExpiresAt.Add(time.Duration(hour) * time.Hour)
			return u
		}
		const recorders = 4
		err := together(3+recorders, func(i int) error {
			switch i {
			case 0:
				return all(ctx, s, now)
			case 1:
				return s.Revoke(ctx, revoked.Slot, revoked.Digest)
			case 2:
				return s.RevokeUser(ctx, removed.Slot.User)
			}
			hour := 1 + (round+i)%recorders // the latest hour is not always the last call
			uses := []tokenauth.Use{use(replaced, hour), use(revoked, hour), use(removed, hour), use(used, hour)}
			return record(ctx, r, append(uses[i%4:], uses[:i%4]...)...) // each call has another order
		})
		if err != nil {
			return err
		}
		now.Replaced = replaced.Digest
		latest := use(used, recorders)
		used.LastSeen, used.ExpiresAt = latest.At, latest.ExpiresAt
		err = first(
			func() error { return recorded(ctx, s, now) },
			func() error { return isEmpty(ctx, s, revoked.Slot) },
			func() error { return isEmpty(ctx, s, removed.Slot) },
			func() error { return recorded(ctx, s, used) },
			func() error { return s.Revoke(ctx, used.Slot, used.Digest) }, // so that the next round stores into an empty slot
			func() error { return s.Revoke(ctx, now.Slot, now.Digest) },
		)
		if err != nil {
			return err
		}
	}
	return nil
}

func recordUsesContextEnded(ctx context.Context, s tokenauth.Storage) error {
	r, ok := s.(tokenauth.UseRecorder)
	if !ok {
		return nil
	}
	var tokens []tokenauth.Token
	for i := range 64 {
		tokens = append(tokens, onDevice("alice", "", fmt.Sprint("device", i), i))
	}
	if err := allTogether(ctx, s, tokens); err != nil {
		return err
	}
	// uses returns a use of each token, and sets the fields of the tokens to what
	// they are after that use.
	uses := func(hour int) (uses []tokenauth.Use) {
		for i := range tokens {
			t := &tokens[i]
			u := useOf(*t, hour)
			u.ExpiresAt = epoch.AddDate(80, 0, hour)
			t.LastSeen, t.ExpiresAt = u.At, u.ExpiresAt
			uses = append(uses, u)
		}
		return uses
	}
	// recordUntil calls RecordUses with a context that ends after d.
	recordUntil := func(d time.Duration, uses []tokenauth.Use) (recordErr, err error) {
		ended, cancel := context.WithCancel(ctx)
		defer cancel()
		if d == 0 {
			cancel()
		} else {
			defer time.AfterFunc(d, cancel).Stop()
		}
		began := time.Now()
		recordErr = r.RecordUses(ended, uses)
		if took := time.Since(began); took > patience {
			err = fmt.Errorf("RecordUses took %v although its context ended, want at most %v", took, patience)
		}
		return recordErr, err
	}
	// With a context that ended before the call, each use is recorded and extends
	// its token, or does neither.
	unused := slices.Clone(tokens)
	recordErr, err := recordUntil(0, uses(1))
	if err != nil {
		return err
	}
	for i := range tokens {
		got, err := s.Find(ctx, tokens[i].Slot)
		switch {
		case err != nil:
			return fmt.Errorf("Find returned an error: %w", err)
		case recordErr != nil && !got.ExpiresAt.Equal(tokens[i].ExpiresAt):
			tokens[i] = unused[i]
		}
	}
	if err := recorded(ctx, s, tokens...); err != nil {
		return fmt.Errorf("after RecordUses with an ended context returned error %v: %w", recordErr, err)
	}
	// Each further context ends 50 µs later after the call began. If the call
	// returns no error, all uses are recorded. If it returns one, it may still
	// take effect after it returned.
	for round := range 40 {
		recordErr, err := recordUntil(time.Duration(1+round)*50*time.Microsecond, uses(2+round))
		switch {
		case err != nil:
			return err
		case recordErr != nil:
			continue
		}
		if err := recorded(ctx, s, tokens...); err != nil {
			return fmt.Errorf("RecordUses with a context that ended returned nil, but did not record a use: %w", err)
		}
	}
	return first(
		func() error { return record(ctx, r, uses(100)...) },
		func() error { return recorded(ctx, s, tokens...) },
	)
}
