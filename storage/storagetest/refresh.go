package storagetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/bearerkit/bearerkit/tokenauth"
)

// maxState is the largest size of [tokenauth.Refresh.State], in bytes.
const maxState = 512

// withRefresh returns t with a refresh token that expires a month after t. The number
// n makes its State unique.
func withRefresh(t tokenauth.Token, n int) tokenauth.Token {
	state := fmt.Appendf(nil, "%d\x00\xff '\\%%", n)
	t.Refresh = &tokenauth.Refresh{ExpiresAt: t.ExpiresAt.AddDate(0, 1, 0), State: state}
	return t
}

// next returns the token after a refresh of t. It differs from t in the fields that a
// refresh changes. The number n makes its Digest and its State unique.
func next(t tokenauth.Token, n int) tokenauth.Token {
	u := token(t.Principal.UserID, t.ClientID, n)
	u.Slot, u.Device, u.DeviceName, u.Lifetime = t.Slot, t.Device, t.DeviceName, t.Lifetime
	u.Replaced = t.Digest
	if len(u.Principal.UserName) > 256 {
		u.Principal.UserName = t.Principal.UserName
	}
	u.IssuedAt = t.IssuedAt.Add(time.Hour)
	u.ExpiresAt = t.ExpiresAt.Add(time.Hour)
	return withRefresh(u, n)
}

// repeated returns the token after a repeated refresh, which changes the State only.
func repeated(t tokenauth.Token, n int) tokenauth.Token {
	expires := t.Refresh.ExpiresAt
	t = withRefresh(t, n)
	t.Refresh.ExpiresAt = expires
	return t
}

// sameRefresh is like same, and also compares what is kept of the refresh token.
func sameRefresh(got, want tokenauth.Token) error {
	g, w := got.Refresh, want.Refresh
	switch {
	case (g == nil) != (w == nil):
		return fmt.Errorf("the token with digest %v has a Refresh: %v, want %v", got.Digest, g != nil, w != nil)
	case g == nil:
	case !g.ExpiresAt.Equal(w.ExpiresAt):
		return fmt.Errorf("the refresh token expires at %v, want %v", g.ExpiresAt, w.ExpiresAt)
	case !bytes.Equal(g.State, w.State):
		return fmt.Errorf("the refresh token has State %q, want %q", g.State, w.State)
	}
	return same(got, want)
}

// findRefresh calls FindRefresh with a copy of the slots. It returns an error unless
// there is one result for each slot.
func findRefresh(ctx context.Context, r tokenauth.Refresher, slots []tokenauth.Slot) ([]tokenauth.Found, error) {
	found, err := r.FindRefresh(ctx, slices.Clone(slots))
	if err != nil {
		return nil, fmt.Errorf("FindRefresh for %d slots returned an error: %w", len(slots), err)
	}
	if len(found) != len(slots) {
		return nil, fmt.Errorf("FindRefresh for %d slots returned %d results", len(slots), len(found))
	}
	return found, nil
}

// findOne returns what FindRefresh finds in one slot.
func findOne(ctx context.Context, r tokenauth.Refresher, slot tokenauth.Slot) (tokenauth.Token, error) {
	found, err := findRefresh(ctx, r, []tokenauth.Slot{slot})
	if err != nil {
		return tokenauth.Token{}, err
	}
	return found[0].Token, found[0].Err
}

// findHeld returns the token that FindRefresh finds in the slot of want. It returns an error
// if that is another token.
func findHeld(ctx context.Context, r tokenauth.Refresher, want tokenauth.Token) (tokenauth.Token, error) {
	got, err := findOne(ctx, r, want.Slot)
	if err == nil {
		err = sameRefresh(got, want)
	}
	if err != nil {
		return got, fmt.Errorf("FindRefresh: %w", err)
	}
	return got, nil
}

// refreshes returns an error unless Refresh of the token was by t reports the expected
// result. The argument was has the fields that the test knows; the storage gets the token
// as FindRefresh returned it, if that is the same token.
func refreshes(ctx context.Context, r tokenauth.Refresher, was, t tokenauth.Token, want bool) error {
	if found, err := findHeld(ctx, r, was); err == nil {
		was = found
	}
	stored, err := r.Refresh(ctx, was, t)
	if err != nil {
		return fmt.Errorf("Refresh returned an error: %w", err)
	}
	if stored != want {
		return fmt.Errorf("Refresh returned %v, want %v", stored, want)
	}
	return nil
}

// refreshesFound refreshes the token that FindRefresh finds in the slot.
func refreshesFound(ctx context.Context, r tokenauth.Refresher, slot tokenauth.Slot, n int) error {
	was, err := findOne(ctx, r, slot)
	if err == nil && was.Refresh == nil {
		err = errors.New("the token has no Refresh")
	}
	if err != nil {
		return fmt.Errorf("FindRefresh: %w", err)
	}
	return refreshes(ctx, r, was, next(was, n), true)
}

// holdsRefresh returns an error unless each method that reads the slot of want finds this
// token: FindRefresh and List with its Refresh, and Find at least with everything else.
func holdsRefresh(ctx context.Context, s tokenauth.Storage, want tokenauth.Token) error {
	unseen := want
	unseen.LastSeen = time.Time{} // only List sets it
	if _, err := findHeld(ctx, s.(tokenauth.Refresher), unseen); err != nil {
		return err
	}
	if err := holds(ctx, s, unseen); err != nil {
		return err
	}
	l, ok := s.(tokenauth.Lister)
	if !ok {
		return nil
	}
	listed, err := l.List(ctx, want.Slot.User)
	if err != nil {
		return fmt.Errorf("List returned an error: %w", err)
	}
	i := slices.IndexFunc(listed, func(t tokenauth.Token) bool { return t.Slot == want.Slot })
	if i < 0 {
		return fmt.Errorf("List did not return the token of a slot")
	}
	if err := sameRefresh(listed[i], want); err != nil {
		return fmt.Errorf("List: %w", err)
	}
	return nil
}

// holdNone returns an error unless the slots of all tokens are empty, also for
// FindRefresh.
func holdNone(ctx context.Context, s tokenauth.Storage, tokens ...tokenauth.Token) error {
	for _, t := range tokens {
		if got, err := findOne(ctx, s.(tokenauth.Refresher), t.Slot); !errors.Is(err, tokenauth.ErrNotFound) {
			return fmt.Errorf("FindRefresh returned digest %v and error %v for a slot that must be empty, want ErrNotFound", got.Digest, err)
		}
		if err := isEmpty(ctx, s, t.Slot); err != nil {
			return err
		}
	}
	return nil
}

// refreshTokens returns tokens with refresh tokens of all kinds, and a few without one.
func refreshTokens() (tokens []tokenauth.Token) {
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	states := [][]byte{
		{0}, {0xff}, []byte("x"), []byte(" x "), []byte("x\x00\x00"), []byte(`\x00`), []byte("'; DROP--\"\\%_*?"), []byte("\r\n\t\x1b\x1a"),
		{0xc3, 0x28}, all, bytes.Repeat([]byte{0}, 107), bytes.Repeat([]byte{0xa5}, 319), bytes.Repeat(all, 2), bytes.Repeat([]byte(" "), maxState),
	}
	for i, t := range append(deviceTokens(), oddTokens()...) {
		if i%5 == 4 {
			t.IssuedAt, t.ExpiresAt = epoch.AddDate(-20, 0, 0), epoch.AddDate(-19, 0, 0)
			t.Lifetime = 0 // a storage may limit it to the lifetime of the token
		}
		t.Refresh = &tokenauth.Refresh{ExpiresAt: t.ExpiresAt, State: states[i%len(states)]}
		switch i % 4 {
		case 0:
			t.Refresh.ExpiresAt = t.ExpiresAt.Add(-time.Second)
		case 1:
			t.Refresh.ExpiresAt = time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)
		case 2:
			t.Refresh.ExpiresAt = epoch.AddDate(-19, 0, 0) // expired long ago
		}
		tokens = append(tokens, t)
	}
	for i := range 3 {
		tokens = append(tokens, onDevice("alice", "", fmt.Sprint("without", i), 200+i))
	}
	return tokens
}

func refreshRoundTrip(ctx context.Context, s tokenauth.Storage) error {
	if _, ok := s.(tokenauth.Refresher); !ok {
		return nil
	}
	tokens := refreshTokens()
	if err := all(ctx, s, tokens...); err != nil {
		return err
	}
	for _, t := range tokens {
		if err := holdsRefresh(ctx, s, t); err != nil {
			return fmt.Errorf("user ID %q, device %q: %w", t.Principal.UserID, t.Device, err)
		}
	}
	return nil
}

func refresh(ctx context.Context, s tokenauth.Storage) error {
	r, ok := s.(tokenauth.Refresher)
	if !ok {
		return nil
	}
	phone, tablet, plain := onDevice("alice", "mobile", "phone", 1), onDevice("alice", "mobile", "tablet", 2), token("alice", "web", 3)
	phone.DeviceName, phone.IssuedAt = "Ann's phone", epoch.Add(123*time.Millisecond)
	plain.Principal.Attributes = map[string]string{"email": "alice@example.com"}
	bobs := token("bob", "web", 4)
	held := []tokenauth.Token{withRefresh(phone, 1), withRefresh(tablet, 2), withRefresh(plain, 3), withRefresh(bobs, 4), token("bob", "", 5)}
	if err := all(ctx, s, held...); err != nil {
		return err
	}
	// step refreshes the token in held[i], and expects that no other slot changes.
	step := func(i int, what string, t tokenauth.Token) error {
		was := held[i]
		err := refreshes(ctx, r, was, t, true)
		held[i] = t
		for _, want := range held {
			if err == nil {
				err = holdsRefresh(ctx, s, want)
			}
		}
		if err == nil && !bytes.Equal(was.Refresh.State, t.Refresh.State) {
			err = refreshes(ctx, r, was, next(was, 9999), false) // the token before
		}
		if err == nil {
			err = holdsRefresh(ctx, s, t)
		}
		if err != nil {
			return fmt.Errorf("after a refresh that changes %s: %w", what, err)
		}
		return nil
	}
	n := 10
	change := func(i int, what string, do func(t *tokenauth.Token)) func() error {
		return func() error {
			n++
			t := next(held[i], n)
			do(&t)
			return step(i, what, t)
		}
	}
	return first(
		change(0, "the pair of tokens", func(*tokenauth.Token) {}),
		change(0, "the milliseconds", func(t *tokenauth.Token) { t.IssuedAt = t.IssuedAt.Add(654 * time.Millisecond) }),
		change(0, "the user", func(t *tokenauth.Token) {
			t.Principal.UserName, t.Principal.Stamp = "Renamed 📱", "new stamp"
			t.Principal.Roles = []string{"Administrator", "Auditor"}
			t.Principal.Attributes = map[string]string{"a": "", "ü": "'"}
		}),
		change(0, "the user's roles and attributes to none", func(t *tokenauth.Token) {
			t.Principal.Roles, t.Principal.Attributes, t.Principal.Stamp = nil, nil, ""
		}),
		change(0, "the expiry to an earlier time", func(t *tokenauth.Token) {
			t.ExpiresAt, t.Refresh.ExpiresAt = t.ExpiresAt.AddDate(-1, 0, 0), t.Refresh.ExpiresAt.AddDate(-2, 0, 0)
		}),
		change(0, "Replaced to an older digest", func(t *tokenauth.Token) { t.Replaced = tokenauth.Digest{9} }),
		change(0, "Replaced to none", func(t *tokenauth.Token) { t.Replaced = tokenauth.Digest{} }),
		change(0, "the size of the state", func(t *tokenauth.Token) { t.Refresh.State = bytes.Repeat([]byte{0, 0xff}, maxState/2) }),
		change(0, "the size of the state to one byte", func(t *tokenauth.Token) { t.Refresh.State = []byte{0} }),
		change(2, "the pair of tokens in a slot without a device", func(*tokenauth.Token) {}),
		change(2, "the same again", func(*tokenauth.Token) {}),
		change(3, "the pair of tokens of another user", func(*tokenauth.Token) {}),
		func() error { return step(0, "the state only", repeated(held[0], 500)) },
		func() error { return step(0, "the state only, again", repeated(held[0], 501)) },
		change(0, "the pair of tokens after that", func(*tokenauth.Token) {}),
		func() error { // a sign-in replaces a refreshed token as any other
			now := token("alice", "web", 600)
			now.Principal.Stamp = held[2].Principal.Stamp
			if err := all(ctx, s, now); err != nil {
				return err
			}
			now.Replaced = held[2].Digest
			return holds(ctx, s, now)
		},
	)
}

func refreshCompares(ctx context.Context, s tokenauth.Storage) error {
	r, ok := s.(tokenauth.Refresher)
	if !ok {
		return nil
	}
	was := withRefresh(onDevice("alice", "mobile", "phone", 1), 1)
	was.Principal.Stamp = "Stamp"
	was.Refresh.State = []byte("State\x00")
	without := token("alice", "mobile", 2)
	bobs := withRefresh(token("bob", "mobile", 3), 3)
	if err := all(ctx, s, was, without, bobs); err != nil {
		return err
	}
	found, err := findHeld(ctx, r, was)
	if err != nil {
		return err
	}
	// differs checks that Refresh stores nothing for a token that differs in one field
	// from the one that FindRefresh returned.
	differs := func(what string, do func(*tokenauth.Token)) error {
		other := found
		refresh := *found.Refresh
		refresh.State = bytes.Clone(refresh.State)
		other.Refresh = &refresh
		do(&other)
		t := next(was, 100)
		t.Slot = other.Slot
		stored, err := r.Refresh(ctx, other, t)
		if err == nil && stored {
			err = errors.New("Refresh returned true, want false")
		}
		for _, want := range []tokenauth.Token{was, without, bobs} {
			if err == nil {
				err = holdsRefresh(ctx, s, want)
			}
		}
		if err != nil {
			return fmt.Errorf("Refresh of a token that differs in %s: %w", what, err)
		}
		return nil
	}
	for _, test := range []struct {
		what string
		do   func(*tokenauth.Token)
	}{
		{"the first byte of the digest", func(t *tokenauth.Token) { t.Digest[0] ^= 1 }},
		{"the last byte of the digest", func(t *tokenauth.Token) { t.Digest[31] ^= 0x20 }},
		{"the digest, which is none", func(t *tokenauth.Token) { t.Digest = tokenauth.Digest{} }},
		{"the first bit of the state", func(t *tokenauth.Token) { t.Refresh.State[0] ^= 0x80 }},
		{"the last bit of the state", func(t *tokenauth.Token) { t.Refresh.State[5] ^= 1 }},
		{"the case of the state", func(t *tokenauth.Token) { t.Refresh.State = []byte("state\x00") }},
		{"a byte that the state lacks", func(t *tokenauth.Token) { t.Refresh.State = t.Refresh.State[:5] }},
		{"a further zero of the state", func(t *tokenauth.Token) { t.Refresh.State = append(t.Refresh.State, 0) }},
		{"a further space of the state", func(t *tokenauth.Token) { t.Refresh.State = append(t.Refresh.State, ' ') }},
		{"the state, which is that of another user", func(t *tokenauth.Token) { t.Refresh.State = bobs.Refresh.State }},
		{"the stamp", func(t *tokenauth.Token) { t.Principal.Stamp = "another" }},
		{"the case of the stamp", func(t *tokenauth.Token) { t.Principal.Stamp = "stamp" }},
		{"a space after the stamp", func(t *tokenauth.Token) { t.Principal.Stamp = "Stamp " }},
		{"the stamp, which is empty", func(t *tokenauth.Token) { t.Principal.Stamp = "" }},
		{"the slot, which is another user's", func(t *tokenauth.Token) { t.Slot = bobs.Slot }},
		{"the slot, whose token has no refresh token", func(t *tokenauth.Token) { t.Slot = without.Slot }},
		{"the slot and the digest, of a token without a refresh token", func(t *tokenauth.Token) { t.Slot, t.Digest = without.Slot, without.Digest }},
	} {
		if err := differs(test.what, test.do); err != nil {
			return err
		}
	}
	nobodys := withRefresh(token("nobody", "", 5), 5)
	return first(
		func() error { return refreshes(ctx, r, nobodys, next(nobodys, 6), false) },
		func() error { return holdNone(ctx, s, nobodys) },
		func() error { return refreshes(ctx, r, was, next(was, 7), true) }, // it was not spoiled
		func() error { return holdsRefresh(ctx, s, next(was, 7)) },
	)
}

func refreshReplaced(ctx context.Context, s tokenauth.Storage) error {
	r, ok := s.(tokenauth.Refresher)
	if !ok {
		return nil
	}
	was := withRefresh(onDevice("alice", "mobile", "phone", 1), 1)
	was.DeviceName, was.IssuedAt = "Ann's phone", epoch.Add(time.Millisecond)
	refreshed := next(was, 2)
	plain, again := was, withRefresh(was, 4)
	plain.Refresh = nil
	copy(plain.Digest[:], fmt.Sprintf("%-32d", 3))
	copy(again.Digest[:], fmt.Sprintf("%-32d", 4))
	again.DeviceName = ""
	// A sign-in without a refresh token ends the one before, whether or not the
	// storage keeps it.
	signedIn := func(was tokenauth.Token) error {
		now := plain
		now.Replaced = was.Digest
		return first(
			func() error { return all(ctx, s, plain) },
			func() error { return refreshes(ctx, r, was, next(was, 10), false) },
			func() error { return holds(ctx, s, now) },
		)
	}
	return first(
		func() error { return all(ctx, s, was) },
		func() error { return signedIn(was) },
		func() error { return all(ctx, s, again) },
		func() error {
			again.Replaced, again.DeviceName = plain.Digest, was.DeviceName
			return holdsRefresh(ctx, s, again)
		},
		func() error { return refreshes(ctx, r, was, next(was, 11), false) },
		func() error { return all(ctx, s, was) },
		func() error { return refreshes(ctx, r, again, next(again, 12), false) },
		func() error { was.Replaced = again.Digest; return holdsRefresh(ctx, s, was) },
		func() error { return refreshes(ctx, r, was, refreshed, true) },
		func() error { return signedIn(refreshed) },
		func() error { return refreshes(ctx, r, was, next(was, 13), false) },
	)
}

func refreshRevoked(ctx context.Context, s tokenauth.Storage) error {
	r, ok := s.(tokenauth.Refresher)
	if !ok {
		return nil
	}
	type ending struct {
		name string
		do   func(t tokenauth.Token) error
	}
	endings := []ending{
		{"Revoke", func(t tokenauth.Token) error { return s.Revoke(ctx, t.Slot, t.Digest) }},
		{"RevokeUser", func(t tokenauth.Token) error { return s.RevokeUser(ctx, t.Slot.User) }},
	}
	if b, ok := s.(tokenauth.BulkRevoker); ok {
		endings = append(endings,
			ending{"RevokeClient", func(t tokenauth.Token) error { return b.RevokeClient(ctx, t.ClientID) }},
			ending{"RevokeAll", func(tokenauth.Token) error { return b.RevokeAll(ctx) }})
	}
	if u, ok := s.(tokenauth.UseRecorder); ok {
		endings = append(endings, ending{"RevokeUnused", func(t tokenauth.Token) error {
			_, err := u.RevokeUnused(ctx, t.IssuedAt.Add(time.Second))
			return err
		}})
	}
	n := 0
	for _, e := range endings {
		for _, signedIn := range []tokenauth.Token{token("alice", "mobile", 0), onDevice("alice", "mobile", "phone", 0)} {
			copy(signedIn.Digest[:], fmt.Sprintf("%-32d", n))
			was := withRefresh(signedIn, n)
			now := next(was, n+1)
			later := next(now, n+2)
			n += 10
			err := first(
				func() error { return all(ctx, s, was) },
				func() error { return e.do(was) },
				func() error { return refreshes(ctx, r, was, now, false) },
				func() error { return holdNone(ctx, s, was) },
				func() error { return all(ctx, s, was) },
				func() error { return refreshes(ctx, r, was, now, true) },
				func() error { return s.Revoke(ctx, was.Slot, was.Digest) }, // of the token before, so it changes nothing
				func() error { return holdsRefresh(ctx, s, now) },
				func() error { return e.do(now) },
				func() error { return refreshes(ctx, r, now, later, false) },
				func() error { return holdNone(ctx, s, now) },
			)
			if err != nil {
				return fmt.Errorf("with %s, device %q: %w", e.name, was.Device, err)
			}
		}
	}
	return nil
}

func refreshPurge(ctx context.Context, s tokenauth.Storage) error {
	p, purges := s.(tokenauth.Purger)
	r, ok := s.(tokenauth.Refresher)
	if !ok || !purges {
		return nil
	}
	before, at := epoch.Add(-time.Second), epoch
	expiring := func(n int, access, refresh time.Time) tokenauth.Token {
		t := withRefresh(token(fmt.Sprint("user", n), "", n), n)
		t.IssuedAt, t.ExpiresAt, t.Refresh.ExpiresAt = epoch.AddDate(-1, 0, 0), access, refresh
		return t
	}
	tokens := []tokenauth.Token{
		expiring(1, before, before), expiring(2, before, at), expiring(3, at, before), expiring(4, at, at),
		expiring(5, before.AddDate(-1, 0, 0), epoch.AddDate(1, 0, 0)), expiring(6, before.AddDate(0, -1, 0), before.AddDate(-1, 0, 0)),
	}
	// These are refreshed, and then expire later or earlier.
	later, earlier := expiring(7, before, before), expiring(8, at.AddDate(1, 0, 0), at.AddDate(1, 0, 0))
	if err := all(ctx, s, append(tokens, later, earlier)...); err != nil {
		return err
	}
	for _, step := range []struct {
		was             tokenauth.Token
		access, refresh time.Time
	}{{later, before, at}, {earlier, before, before}} {
		t := next(step.was, 100)
		t.ExpiresAt, t.Refresh.ExpiresAt = step.access, step.refresh
		if err := refreshes(ctx, r, step.was, t, true); err != nil {
			return err
		}
		tokens = append(tokens, t)
	}
	removed, err := p.Purge(ctx, epoch)
	if err != nil {
		return fmt.Errorf("Purge returned an error: %w", err)
	}
	gone := int64(0)
	for _, t := range tokens {
		if t.ExpiresAt.Before(epoch) && t.Refresh.ExpiresAt.Before(epoch) {
			gone++
			err = holdNone(ctx, s, t)
		} else {
			err = holdsRefresh(ctx, s, t)
		}
		if err != nil {
			return fmt.Errorf("after Purge of what expired before %v, a token that expires at %v, with a refresh token that expires at %v: %w", epoch, t.ExpiresAt, t.Refresh.ExpiresAt, err)
		}
	}
	if removed != gone {
		return fmt.Errorf("Purge removed %d tokens, want %d", removed, gone)
	}
	return nil
}

func refreshUses(ctx context.Context, s tokenauth.Storage) error {
	u, records := s.(tokenauth.UseRecorder)
	r, ok := s.(tokenauth.Refresher)
	if !ok || !records {
		return nil
	}
	was := withRefresh(onDevice("alice", "", "phone", 1), 1)
	now, again := next(was, 2), repeated(next(was, 2), 3)
	return first(
		func() error { return all(ctx, s, was) },
		func() error { return record(ctx, u, useOf(was, 5)) },
		func() error { was.LastSeen = useOf(was, 5).At; return holdsRefresh(ctx, s, was) },
		func() error { seen := was; seen.LastSeen = time.Time{}; return refreshes(ctx, r, seen, now, true) },
		func() error { return holdsRefresh(ctx, s, now) },     // the new token was not used
		func() error { return record(ctx, u, useOf(was, 6)) }, // of the token before
		func() error { return holdsRefresh(ctx, s, now) },
		func() error { return record(ctx, u, useOf(now, 2)) },
		func() error { now.LastSeen = useOf(now, 2).At; return holdsRefresh(ctx, s, now) },
		func() error { seen := now; seen.LastSeen = time.Time{}; return refreshes(ctx, r, seen, again, true) },
		func() error { again.LastSeen = now.LastSeen; return holdsRefresh(ctx, s, again) }, // the same token
	)
}
