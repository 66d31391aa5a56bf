package storagetest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/bearerkit/bearerkit/tokenauth"
)

// patience is the time limit for a rule that only requires "soon".
const patience = 3 * time.Second

// holds returns an error unless Find finds the token want in the slot of want.
func holds(ctx context.Context, s tokenauth.Storage, want tokenauth.Token) error {
	got, err := s.Find(ctx, want.Slot)
	if err != nil {
		return fmt.Errorf("Find returned an error: %w", err)
	}
	return same(got, want)
}

func same(got, want tokenauth.Token) error {
	g, w := got.Principal, want.Principal
	switch {
	case got.Slot != want.Slot:
		return fmt.Errorf("the token has slot %x, want %x", got.Slot, want.Slot)
	case got.Digest != want.Digest:
		return fmt.Errorf("the token has digest %v, want %v", got.Digest, want.Digest)
	case got.Replaced != want.Replaced:
		return fmt.Errorf("the token records %v as the digest of the token that it replaced, want %v", got.Replaced, want.Replaced)
	case got.ClientID != want.ClientID:
		return fmt.Errorf("the token has client ID %q, want %q", got.ClientID, want.ClientID)
	case got.Device != want.Device || got.DeviceName != want.DeviceName:
		return fmt.Errorf("the token has device %q with name %q, want %q with name %q", got.Device, got.DeviceName, want.Device, want.DeviceName)
	case got.Lifetime != want.Lifetime:
		return fmt.Errorf("the token has lifetime %v, want %v", got.Lifetime, want.Lifetime)
	case !got.LastSeen.Equal(want.LastSeen):
		return fmt.Errorf("the token was last seen at %v, want %v", got.LastSeen, want.LastSeen)
	case !got.IssuedAt.Equal(want.IssuedAt) || !got.ExpiresAt.Equal(want.ExpiresAt):
		return fmt.Errorf("the token is issued at %v and expires at %v, want %v and %v", got.IssuedAt, got.ExpiresAt, want.IssuedAt, want.ExpiresAt)
	case g.UserID != w.UserID || g.UserName != w.UserName || g.Stamp != w.Stamp ||
		!slices.Equal(g.Roles, w.Roles) || !maps.Equal(g.Attributes, w.Attributes):
		return fmt.Errorf("the token has principal %q, want %q", g, w)
	}
	return nil
}

// isEmpty returns an error unless Find returns ErrNotFound for the slot.
func isEmpty(ctx context.Context, s tokenauth.Storage, slot tokenauth.Slot) error {
	got, err := s.Find(ctx, slot)
	if !errors.Is(err, tokenauth.ErrNotFound) {
		return fmt.Errorf("Find returned digest %v and error %v for a slot that must be empty, want ErrNotFound", got.Digest, err)
	}
	return nil
}

// all calls Replace for each token, one after another.
func all(ctx context.Context, s tokenauth.Storage, tokens ...tokenauth.Token) error {
	for _, t := range tokens {
		if err := s.Replace(ctx, t); err != nil {
			return fmt.Errorf("Replace returned an error: %w", err)
		}
	}
	return nil
}

// first runs the checks in order until one fails, and returns its error.
func first(checks ...func() error) error {
	for _, check := range checks {
		if err := check(); err != nil {
			return err
		}
	}
	return nil
}

func emptySlot(ctx context.Context, s tokenauth.Storage) error {
	return isEmpty(ctx, s, tokenauth.SlotOf("nobody", ""))
}

func roundTrip(ctx context.Context, s tokenauth.Storage) error {
	full := token("alice", "mobile", 1)
	full.Principal.Roles = []string{"Administrator", "Reader"}
	full.Principal.Attributes = map[string]string{"email": "alice@example.com", "": "named by nothing"}
	bare := token("bob", "", 2)
	bare.Principal = tokenauth.Principal{UserID: "bob"}
	for _, t := range append(deviceTokens(), full, bare) {
		if err := errors.Join(all(ctx, s, t), holds(ctx, s, t)); err != nil {
			return err
		}
	}
	// After Options.Devices and Options.MaxLifetime are turned off, a token
	// without these fields replaces one that has them.
	before, after := token("carol", "mobile", 3), token("carol", "mobile", 4)
	before.IssuedAt, before.Lifetime = epoch.Add(123*time.Millisecond), 90*24*time.Hour
	after.Replaced = before.Digest
	return errors.Join(all(ctx, s, before, after), holds(ctx, s, after))
}

// oddTokens returns tokens with unusual text in IDs, names, roles and
// attributes: quotes, control characters, long text, and texts that differ only
// in case.
func oddTokens() (tokens []tokenauth.Token) {
	values := []string{
		"17", "017", "a", "A", "a ", " a", "ä", "a\u0308", "ß", "ss", "\U0001F511", "'; DROP TABLE users; --", `"\`, "%_*?:{}$1",
		"\r\n\t\x1b", "null", "true", "{}", "[]", strings.Repeat("ü", 256),
	}
	for i, v := range values {
		client := v
		if len(v) > 256 {
			client = ""
		}
		t := token(v, client, i)
		t.Principal.UserName, t.Principal.Stamp = v, v
		t.Principal.Roles = []string{v, v + "2"}
		t.Principal.Attributes = map[string]string{v: v, "x": ""}
		t.IssuedAt, t.ExpiresAt = time.Unix(0, 0).UTC(), time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)
		if len(v) <= 100 && !strings.ContainsFunc(v, unicode.IsControl) {
			t.DeviceName = v
		}
		tokens = append(tokens, t)
	}
	return tokens
}

func oddValues(ctx context.Context, s tokenauth.Storage) error {
	tokens := oddTokens()
	if err := all(ctx, s, tokens...); err != nil {
		return err
	}
	for _, t := range tokens {
		if err := holds(ctx, s, t); err != nil {
			return fmt.Errorf("user ID %q: %w", t.Principal.UserID, err)
		}
	}
	return nil
}

func expired(ctx context.Context, s tokenauth.Storage) error {
	t := token("alice", "", 1)
	t.IssuedAt, t.ExpiresAt = epoch.AddDate(-20, 0, 0), epoch.AddDate(-19, 0, 0)
	return errors.Join(all(ctx, s, t), holds(ctx, s, t))
}

func replaced(ctx context.Context, s tokenauth.Storage) error {
	a, b, c := token("alice", "", 1), token("alice", "", 2), token("alice", "", 3)
	a.Replaced = tokenauth.Digest{9} // Replace must ignore this
	if err := all(ctx, s, a); err != nil {
		return err
	}
	a.Replaced = tokenauth.Digest{}
	b.Principal.Roles, b.Principal.UserName = []string{"Administrator"}, "renamed"
	b.Principal.Attributes, b.Principal.Stamp = map[string]string{"k": "v"}, "changed"
	b.IssuedAt, b.ExpiresAt = epoch.Add(time.Hour), epoch.Add(2*time.Hour)
	return first(
		func() error { return holds(ctx, s, a) },
		func() error { return all(ctx, s, b) },
		func() error { b.Replaced = a.Digest; return holds(ctx, s, b) },
		func() error { return all(ctx, s, c) },
		func() error { c.Replaced = b.Digest; return holds(ctx, s, c) },
		func() error { return s.Revoke(ctx, c.Slot, c.Digest) },
		func() error { return all(ctx, s, a) },
		func() error { return holds(ctx, s, a) }, // the slot was empty, so nothing was replaced
	)
}

func slotsApart(ctx context.Context, s tokenauth.Storage) error {
	tokens := []tokenauth.Token{
		token("alice", "", 1), token("alice", "mobile", 2), token("alice", "web", 3),
		token("bob", "", 4), token("bob", "mobile", 5), token("", "alice", 6),
	}
	if err := all(ctx, s, tokens...); err != nil {
		return err
	}
	for _, t := range tokens {
		if err := holds(ctx, s, t); err != nil {
			return err
		}
	}
	return nil
}

func revoke(ctx context.Context, s tokenauth.Storage) error {
	old, now, other := token("alice", "", 1), token("alice", "", 2), token("alice", "web", 3)
	if err := all(ctx, s, old, now, other); err != nil {
		return err
	}
	now.Replaced = old.Digest
	return first(
		func() error { return s.Revoke(ctx, old.Slot, old.Digest) },
		func() error { return holds(ctx, s, now) },
		func() error { return s.Revoke(ctx, other.Slot, now.Digest) },
		func() error { return holds(ctx, s, other) },
		func() error { return s.Revoke(ctx, now.Slot, now.Digest) },
		func() error { return isEmpty(ctx, s, now.Slot) },
		func() error { return s.Revoke(ctx, now.Slot, now.Digest) }, // a second call succeeds
		func() error { return holds(ctx, s, other) },
		func() error { return s.Revoke(ctx, tokenauth.SlotOf("nobody", ""), now.Digest) },
	)
}

func revokeUser(ctx context.Context, s tokenauth.Storage) error {
	a1, a2, a3, b := token("alice", "", 1), token("alice", "web", 2), onDevice("alice", "web", "phone", 4), token("bob", "", 3)
	if err := all(ctx, s, a1, a2, a3, b); err != nil {
		return err
	}
	return first(
		func() error { return s.RevokeUser(ctx, a1.Slot.User) },
		func() error { return isEmpty(ctx, s, a1.Slot) },
		func() error { return isEmpty(ctx, s, a2.Slot) },
		func() error { return isEmpty(ctx, s, a3.Slot) },
		func() error { return holds(ctx, s, b) },
		func() error { return s.RevokeUser(ctx, a1.Slot.User) }, // a second call succeeds
		func() error { return s.RevokeUser(ctx, tokenauth.UserKeyOf("nobody")) },
		func() error { return holds(ctx, s, b) },
	)
}

// together calls do(0) to do(n-1) concurrently, and returns all errors joined.
func together(n int, do func(i int) error) error {
	errs := make([]error, n)
	start := make(chan struct{})
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			<-start
			errs[i] = do(i)
		})
	}
	close(start)
	wg.Wait()
	return errors.Join(errs...)
}

func replaceRace(ctx context.Context, s tokenauth.Storage) error {
	const n = 64
	slot := tokenauth.SlotOf("alice", "")
	if err := together(n, func(i int) error { return s.Replace(ctx, token("alice", "", i+1)) }); err != nil {
		return err
	}
	got, err := s.Find(ctx, slot)
	if err != nil {
		return err
	}
	// The last call must have replaced the token of another call, so the
	// digests differ.
	if got.Replaced.IsZero() || got.Replaced == got.Digest {
		return fmt.Errorf("after %d concurrent calls of Replace, the token has digest %v and replaced digest %v, want the digests of the tokens of two calls", n, got.Digest, got.Replaced)
	}
	// Only one token may remain: once it is revoked, the slot must be empty.
	if err := s.Revoke(ctx, slot, got.Digest); err != nil {
		return err
	}
	return isEmpty(ctx, s, slot)
}

func revokeRace(ctx context.Context, s tokenauth.Storage) error {
	for round := range 50 {
		old, now := token("alice", "", 2*round+1), token("alice", "", 2*round+2)
		if err := all(ctx, s, old); err != nil {
			return err
		}
		err := together(2, func(i int) error {
			if i == 0 {
				return s.Replace(ctx, now)
			}
			return s.Revoke(ctx, old.Slot, old.Digest)
		})
		if err != nil {
			return err
		}
		got, err := s.Find(ctx, now.Slot)
		if err != nil {
			return fmt.Errorf("Revoke of the old token also removed the new one: %w", err)
		}
		if got.Digest != now.Digest {
			return fmt.Errorf("the slot holds the token with digest %v, want the new token with digest %v", got.Digest, now.Digest)
		}
	}
	return nil
}

func revokeUserRace(ctx context.Context, s tokenauth.Storage) error {
	for round := range 20 {
		// These tokens are stored before the call of RevokeUser, each at its
		// own client. Other tokens are stored while the call runs.
		const before = 4
		for i := range before {
			if err := all(ctx, s, token("alice", fmt.Sprint("before", i), 100*round+i)); err != nil {
				return err
			}
		}
		err := together(8, func(i int) error {
			if i > 0 {
				return s.Replace(ctx, token("alice", fmt.Sprint("during", i), 100*round+50+i))
			}
			if err := s.RevokeUser(ctx, tokenauth.UserKeyOf("alice")); err != nil {
				return err
			}
			for j := range before {
				if err := isEmpty(ctx, s, tokenauth.SlotOf("alice", fmt.Sprint("before", j))); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func contextEnded(ctx context.Context, s tokenauth.Storage) error {
	old, now := token("alice", "", 1), token("alice", "", 2)
	if err := all(ctx, s, old); err != nil {
		return err
	}
	ended, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := s.Find(ended, old.Slot); errors.Is(err, tokenauth.ErrNotFound) {
		return errors.New("Find with an ended context returned ErrNotFound for a stored token")
	}
	if err := s.Replace(ended, now); err == nil {
		now.Replaced = old.Digest
		return holds(ctx, s, now)
	}
	got, err := s.Find(ctx, old.Slot)
	if err != nil {
		return err
	}
	if got.Digest == now.Digest {
		now.Replaced = old.Digest
		return same(got, now)
	}
	return same(got, old)
}

func purge(ctx context.Context, s tokenauth.Storage) error {
	p, ok := s.(tokenauth.Purger)
	if !ok {
		return nil
	}
	const n = 2500 // more than any storage removes in one batch
	err := together(8, func(worker int) error {
		for i := worker; i < n; i += 8 {
			t := token(fmt.Sprint("user", i), "", i)
			if i%2 == 0 {
				t.ExpiresAt = epoch.Add(-time.Second)
			} else {
				t.ExpiresAt = epoch
			}
			if err := s.Replace(ctx, t); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	removed, err := p.Purge(ctx, epoch)
	if err != nil {
		return fmt.Errorf("Purge returned an error: %w", err)
	}
	if removed != n/2 {
		return fmt.Errorf("Purge removed %d tokens, want %d", removed, n/2)
	}
	for i := range n {
		slot := tokenauth.SlotOf(fmt.Sprint("user", i), "")
		if i%2 == 0 {
			err = isEmpty(ctx, s, slot)
		} else {
			_, err = s.Find(ctx, slot)
		}
		if err != nil {
			return fmt.Errorf("user %d: %w", i, err)
		}
	}
	removed, err = p.Purge(ctx, epoch)
	if err != nil || removed != 0 {
		return fmt.Errorf("a second call of Purge removed %d tokens and returned error %v, want 0 tokens and no error", removed, err)
	}
	return nil
}

func purgeStops(ctx context.Context, s tokenauth.Storage) error {
	p, ok := s.(tokenauth.Purger)
	if !ok {
		return nil
	}
	t := token("alice", "", 1)
	if err := all(ctx, s, t); err != nil {
		return err
	}
	ended, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := p.Purge(ended, t.ExpiresAt.Add(time.Second)); !errors.Is(err, context.Canceled) {
		return fmt.Errorf("Purge with an ended context returned error %v, want context.Canceled", err)
	}
	return holds(ctx, s, t)
}

func purgeRace(ctx context.Context, s tokenauth.Storage) error {
	p, ok := s.(tokenauth.Purger)
	if !ok {
		return nil
	}
	for round := range 30 {
		old, now := token("alice", "", 2*round+1), token("alice", "", 2*round+2)
		old.ExpiresAt = epoch.Add(-time.Hour)
		if err := all(ctx, s, old); err != nil {
			return err
		}
		err := together(2, func(i int) error {
			if i == 0 {
				return s.Replace(ctx, now)
			}
			_, err := p.Purge(ctx, epoch)
			return err
		})
		if err != nil {
			return err
		}
		if got, err := s.Find(ctx, now.Slot); err != nil || got.Digest != now.Digest {
			return fmt.Errorf("Purge removed the token that replaced an expired one: Find returned digest %v and error %w", got.Digest, err)
		}
	}
	return nil
}
