package storagetest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/bearerkit/bearerkit/tokenauth"
)

const halfSecond = 500 * time.Millisecond

// renamed checks a storage that holds some tokens, of which its methods know the fields.
type renamed struct {
	tokenauth.Storage
	tokens []*tokenauth.Token
}

// to renames a token, and expects that the storage then holds all tokens with all their
// fields, and the name.
func (r *renamed) to(ctx context.Context, t *tokenauth.Token, name string) error {
	t.DeviceName = name
	return r.still(ctx, fmt.Sprintf("of a token to %q", name), t.Slot, t.Digest, name)
}

// still calls Rename, and expects that the storage then holds the tokens.
func (r *renamed) still(ctx context.Context, what string, slot tokenauth.Slot, d tokenauth.Digest, name string) error {
	if err := r.Storage.(tokenauth.Renamer).Rename(ctx, slot, d, name); err != nil {
		return fmt.Errorf("Rename %s returned an error: %w", what, err)
	}
	if err := r.hold(ctx); err != nil {
		return fmt.Errorf("after Rename %s: %w", what, err)
	}
	return nil
}

func (r *renamed) hold(ctx context.Context) error {
	var want []tokenauth.Token
	for _, t := range r.tokens {
		want = append(want, *t)
		if _, ok := r.Storage.(tokenauth.Refresher); ok {
			if err := holdsRefresh(ctx, r.Storage, *t); err != nil {
				return err
			}
		}
	}
	return keysHeld(ctx, r.Storage, want)
}

func rename(ctx context.Context, s tokenauth.Storage) error {
	if _, ok := s.(tokenauth.Renamer); !ok {
		return nil
	}
	named, bare, phone, others := key("alice", 1), key("alice", 5), onDevice("alice", "web", "phone", 2), key("bob", 4)
	bare.DeviceName = ""
	phone.DeviceName, phone.Lifetime = "Ann's phone", time.Hour
	expired, before := onDevice("alice", "web", "watch", 3), onDevice("alice", "web", "watch", 3)
	expired.IssuedAt, expired.ExpiresAt = epoch.AddDate(-20, 0, 0), epoch.AddDate(-19, 0, 0)
	copy(before.Digest[:], "before")
	expired.Replaced = before.Digest
	if _, ok := s.(tokenauth.Refresher); ok {
		phone = withRefresh(phone, 5)
	}
	r := &renamed{s, []*tokenauth.Token{&named, &bare, &phone, &expired, &others}}
	if err := all(ctx, s, named, bare, phone, before, expired, others); err != nil {
		return err
	}
	if recorder, ok := s.(tokenauth.UseRecorder); ok {
		named.LastSeen = useOf(named, 7).At
		if err := record(ctx, recorder, useOf(named, 7)); err != nil {
			return err
		}
	}
	if err := r.hold(ctx); err != nil {
		return err
	}
	names := []string{"CI", "ci", "ci ", "", "CI", "", "'; DROP TABLE keys; --", `"\%_*?:{}$1`, "Ann’s 🔑", strings.Repeat("ü", 50), strings.Repeat("x", 100), "x"}
	for _, name := range names {
		for _, t := range r.tokens {
			if err := r.to(ctx, t, name); err != nil {
				return err
			}
		}
	}
	again := key("alice", 6) // replaces a token, and keeps its name
	again.Slot, again.DeviceName, again.Replaced = named.Slot, "", named.Digest
	again.IssuedAt = again.IssuedAt.Add(halfSecond) // otherwise the storage may drop the name
	return first(
		func() error { return r.to(ctx, &named, "the last one") },
		func() error { return r.still(ctx, "with another digest", named.Slot, others.Digest, "stolen") },
		func() error {
			return r.still(ctx, "with the digest of the token before", expired.Slot, before.Digest, "stolen")
		},
		func() error { return r.still(ctx, "with no digest", named.Slot, tokenauth.Digest{}, "stolen") },
		func() error {
			return r.still(ctx, "in an empty slot", tokenauth.Slot{User: named.Slot.User}, named.Digest, "stolen")
		},
		func() error { return r.still(ctx, "in an empty slot", key("nobody", 1).Slot, named.Digest, "stolen") },
		func() error { return isEmpty(ctx, s, tokenauth.Slot{User: named.Slot.User}) },
		func() error { return all(ctx, s, again) },
		func() error { named = again; named.DeviceName = "the last one"; return r.hold(ctx) },
		func() error { return r.to(ctx, &named, "") },
		func() error { return r.to(ctx, &named, "a name") },
		func() error { return s.Revoke(ctx, named.Slot, named.Digest) },
		func() error {
			r.tokens = r.tokens[1:]
			return r.still(ctx, "of a token that was revoked", named.Slot, named.Digest, "stolen")
		},
		func() error { return isEmpty(ctx, s, named.Slot) },
		func() error { return renameEnded(ctx, s, bare) },
	)
}

// renameEnded calls Rename with an ended context. If it returns no error, the token must
// have the new name. Otherwise it has the old or the new one.
func renameEnded(ctx context.Context, s tokenauth.Storage, t tokenauth.Token) error {
	ended, cancel := context.WithCancel(ctx)
	cancel()
	began := time.Now()
	renameErr := s.(tokenauth.Renamer).Rename(ended, t.Slot, t.Digest, "ended")
	if took := time.Since(began); took > patience {
		return fmt.Errorf("Rename took %v although its context had ended, want at most %v", took, patience)
	}
	now := t
	now.DeviceName = "ended"
	err := holds(ctx, s, now)
	if err != nil && renameErr != nil {
		err = holds(ctx, s, t)
	}
	if err != nil {
		return fmt.Errorf("after Rename with an ended context, which returned the error %v: %w", renameErr, err)
	}
	return nil
}

func renameRace(ctx context.Context, s tokenauth.Storage) error {
	r, ok := s.(tokenauth.Renamer)
	if !ok {
		return nil
	}
	const renamed = "renamed"
	// A race is a call that runs concurrently with Rename. The slot must then hold one of
	// the tokens that want returns, or be empty if there are none.
	type race struct {
		name string
		do   func(was tokenauth.Token) error
		want func(was tokenauth.Token) []tokenauth.Token
	}
	newer := func(was tokenauth.Token, name string) tokenauth.Token {
		t := was
		t.Digest[31], t.Replaced, t.DeviceName = 'x', was.Digest, name
		t.IssuedAt, t.ExpiresAt = was.IssuedAt.Add(halfSecond), was.ExpiresAt.Add(-time.Hour)
		return t
	}
	with := func(t tokenauth.Token, name string) tokenauth.Token { t.DeviceName = name; return t }
	races := []race{
		{"Replace with a name", func(was tokenauth.Token) error { return s.Replace(ctx, newer(was, "new")) },
			func(was tokenauth.Token) []tokenauth.Token { return []tokenauth.Token{newer(was, "new")} }},
		{"Replace without a name", func(was tokenauth.Token) error { return s.Replace(ctx, newer(was, "")) },
			func(was tokenauth.Token) []tokenauth.Token {
				return []tokenauth.Token{newer(was, was.DeviceName), newer(was, renamed)}
			}},
		{"Revoke", func(was tokenauth.Token) error { return s.Revoke(ctx, was.Slot, was.Digest) },
			func(tokenauth.Token) []tokenauth.Token { return nil }},
		{"RevokeUser", func(was tokenauth.Token) error { return s.RevokeUser(ctx, was.Slot.User) },
			func(tokenauth.Token) []tokenauth.Token { return nil }},
		{"Rename", func(was tokenauth.Token) error { return r.Rename(ctx, was.Slot, was.Digest, "another") },
			func(was tokenauth.Token) []tokenauth.Token {
				return []tokenauth.Token{with(was, renamed), with(was, "another")}
			}},
	}
	if recorder, ok := s.(tokenauth.UseRecorder); ok {
		until := epoch.AddDate(100, 0, 0)
		races = append(races, race{"RecordUses", func(was tokenauth.Token) error {
			u := useOf(was, 1)
			u.ExpiresAt = until
			return record(ctx, recorder, u)
		}, func(was tokenauth.Token) []tokenauth.Token {
			was.ExpiresAt = until
			return []tokenauth.Token{with(was, renamed)}
		}})
	}
	for _, race := range races {
		for round := range 30 {
			was := key("alice", 1)
			copy(was.Digest[:], fmt.Sprintf("%-31d", round))
			was.ExpiresAt = epoch.AddDate(70, 0, 0)
			if err := errors.Join(s.RevokeUser(ctx, was.Slot.User), all(ctx, s, was)); err != nil {
				return err
			}
			err := together(2, func(i int) error {
				if i == round%2 { // on an idle machine, one of the calls often begins first
					return r.Rename(ctx, was.Slot, was.Digest, renamed)
				}
				return race.do(was)
			})
			if err != nil {
				return fmt.Errorf("one of concurrent calls of Rename and %s returned an error: %w", race.name, err)
			}
			if err := holdsAny(ctx, s, was.Slot, race.want(was)); err != nil {
				return fmt.Errorf("after concurrent calls of Rename and %s: %w", race.name, err)
			}
		}
	}
	return nil
}

// holdsAny returns an error unless the slot holds one of the tokens, or is empty if there
// are none.
func holdsAny(ctx context.Context, s tokenauth.Storage, slot tokenauth.Slot, tokens []tokenauth.Token) error {
	if len(tokens) == 0 {
		return isEmpty(ctx, s, slot)
	}
	var errs []error
	for _, t := range tokens {
		err := holds(ctx, s, t)
		if err == nil {
			return nil
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
