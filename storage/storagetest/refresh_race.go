package storagetest

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/bearerkit/bearerkit/tokenauth"
)

// refreshRace lets many callers refresh one token. Every second round, they all repeat
// the latest refresh, so that only the State differs.
func refreshRace(ctx context.Context, s tokenauth.Storage) error {
	r, ok := s.(tokenauth.Refresher)
	if !ok {
		return nil
	}
	const callers = 12
	was := withRefresh(onDevice("alice", "", "phone", 1), 1)
	other := withRefresh(onDevice("alice", "", "tablet", 2), 2)
	if err := all(ctx, s, was, other); err != nil {
		return err
	}
	for round := range 24 {
		found, err := findHeld(ctx, r, was)
		if err != nil {
			return err
		}
		var tokens [callers]tokenauth.Token
		var stored [callers]bool
		err = together(callers, func(i int) (err error) {
			n := 100*(round+1) + i
			if tokens[i] = next(was, n); round%2 == 1 {
				tokens[i] = repeated(was, n)
			}
			stored[i], err = r.Refresh(ctx, found, tokens[i])
			return err
		})
		if err != nil {
			return fmt.Errorf("one of concurrent calls of Refresh returned an error: %w", err)
		}
		n := 0
		for i := range callers {
			if stored[i] {
				n++
				was = tokens[i]
			}
		}
		if n != 1 {
			return fmt.Errorf("of %d concurrent calls of Refresh for one token, %d returned true, want 1", callers, n)
		}
		if err := errors.Join(holdsRefresh(ctx, s, was), holdsRefresh(ctx, s, other)); err != nil {
			return fmt.Errorf("after concurrent calls of Refresh: %w", err)
		}
	}
	return nil
}

// against calls Refresh and do concurrently, round after round. The function result
// checks what the slot holds afterwards.
func against(ctx context.Context, s tokenauth.Storage, signIn func(round int) tokenauth.Token, do func(was tokenauth.Token) error,
	result func(stored bool, was, t tokenauth.Token) error) error {
	r := s.(tokenauth.Refresher)
	for round := range 40 {
		was := signIn(round)
		if err := all(ctx, s, was); err != nil {
			return err
		}
		found, err := findOne(ctx, r, was.Slot)
		if err == nil && (found.Digest != was.Digest || found.Refresh == nil) {
			err = fmt.Errorf("found digest %v, want %v and a Refresh", found.Digest, was.Digest)
		}
		if err != nil {
			return fmt.Errorf("FindRefresh: %w", err)
		}
		t := next(was, 1000+round)
		var stored bool
		err = together(2, func(i int) (err error) {
			if i == round%2 { // on an idle machine, one of the calls often begins first
				stored, err = r.Refresh(ctx, found, t)
				return err
			}
			return do(was)
		})
		if err != nil {
			return err
		}
		if err := result(stored, was, t); err != nil {
			return fmt.Errorf("Refresh returned %v: %w", stored, err)
		}
	}
	return nil
}

// phones returns tokens on one device, each with a Refresh.
func phones(round int) tokenauth.Token {
	return withRefresh(onDevice("alice", "mobile", "phone", round), round)
}

func refreshReplaceRace(ctx context.Context, s tokenauth.Storage) error {
	if _, ok := s.(tokenauth.Refresher); !ok {
		return nil
	}
	for _, refresh := range []bool{false, true} {
		signIn := func(was tokenauth.Token) tokenauth.Token {
			t := was
			t.Refresh = nil
			t.Digest[31] = 'x'
			if refresh {
				t = withRefresh(t, 1)
				t.Refresh.State = fmt.Appendf(nil, "%x", was.Digest)
			}
			return t
		}
		err := against(ctx, s, phones, func(was tokenauth.Token) error { return s.Replace(ctx, signIn(was)) },
			func(stored bool, was, t tokenauth.Token) error {
				want := signIn(was)
				if want.Replaced = was.Digest; stored {
					want.Replaced = t.Digest
				}
				if refresh {
					return holdsRefresh(ctx, s, want)
				}
				return holds(ctx, s, want)
			})
		if err != nil {
			return fmt.Errorf("with a concurrent Replace, %w", err)
		}
		if err := s.Revoke(ctx, phones(0).Slot, signIn(phones(39)).Digest); err != nil {
			return err
		}
	}
	return nil
}

func refreshRevokeRace(ctx context.Context, s tokenauth.Storage) error {
	if _, ok := s.(tokenauth.Refresher); !ok {
		return nil
	}
	err := against(ctx, s, phones, func(was tokenauth.Token) error { return s.Revoke(ctx, was.Slot, was.Digest) },
		func(stored bool, was, t tokenauth.Token) error {
			if !stored {
				return holdNone(ctx, s, was)
			}
			return errors.Join(holdsRefresh(ctx, s, t), s.Revoke(ctx, t.Slot, t.Digest))
		})
	if err != nil {
		return fmt.Errorf("with a concurrent Revoke, %w", err)
	}
	return nil
}

// refreshRevokeUserRace refreshes the tokens of a user on several devices, again and
// again, while they are ended.
func refreshRevokeUserRace(ctx context.Context, s tokenauth.Storage) error {
	r, ok := s.(tokenauth.Refresher)
	if !ok {
		return nil
	}
	endings := []func() error{func() error { return s.RevokeUser(ctx, tokenauth.UserKeyOf("alice")) }}
	names := []string{"RevokeUser"}
	if b, ok := s.(tokenauth.BulkRevoker); ok {
		endings = append(endings, func() error { return b.RevokeClient(ctx, "mobile") }, func() error { return b.RevokeAll(ctx) })
		names = append(names, "RevokeClient", "RevokeAll")
	}
	for round := range 18 {
		const devices = 4
		var tokens [devices]tokenauth.Token
		number := func(i, n int) int { return 1_000_000*round + 100_000*i + n }
		for i := range tokens {
			n := number(i, 0)
			tokens[i] = withRefresh(onDevice("alice", "mobile", fmt.Sprint("device", i), n), n)
		}
		if err := all(ctx, s, tokens[:]...); err != nil {
			return err
		}
		end, name := endings[round%len(endings)], names[round%len(endings)]
		var over atomic.Bool
		err := together(devices+1, func(i int) error {
			if i == devices {
				defer over.Store(true)
				time.Sleep(time.Duration(round) * 100 * time.Microsecond) // so that it begins at different moments
				return end()
			}
			was := tokens[i]
			for n := 1; ; n++ {
				last := over.Load()
				t := next(was, number(i, n))
				stored, err := r.Refresh(ctx, was, t)
				if err != nil || !stored || last {
					return err
				}
				was = t
			}
		})
		if err != nil {
			return err
		}
		if err := holdNone(ctx, s, tokens[:]...); err != nil {
			return fmt.Errorf("after %s with concurrent calls of Refresh: %w", name, err)
		}
	}
	return nil
}

func refreshPurgeRace(ctx context.Context, s tokenauth.Storage) error {
	p, purges := s.(tokenauth.Purger)
	if _, ok := s.(tokenauth.Refresher); !ok || !purges {
		return nil
	}
	expired := func(round int) tokenauth.Token {
		t := phones(round)
		t.ExpiresAt, t.Refresh.ExpiresAt = epoch.Add(-2*time.Hour), epoch.Add(-2*time.Hour)
		return t
	}
	purge := func(tokenauth.Token) error {
		_, err := p.Purge(ctx, epoch)
		return err
	}
	err := against(ctx, s, expired, purge, func(stored bool, was, t tokenauth.Token) error {
		if !stored {
			return holdNone(ctx, s, was)
		}
		return errors.Join(holdsRefresh(ctx, s, t), s.Revoke(ctx, t.Slot, t.Digest))
	})
	if err != nil {
		return fmt.Errorf("with a concurrent Purge, %w", err)
	}
	return nil
}

// maxSlow is how many calls with an ended context must take longer than patience before a
// rule is broken. A busy machine may delay one.
const maxSlow = 3

func refreshContextEnded(ctx context.Context, s tokenauth.Storage) error {
	r, ok := s.(tokenauth.Refresher)
	if !ok {
		return nil
	}
	was := phones(1)
	if err := all(ctx, s, was); err != nil {
		return err
	}
	// The context ends before each of the first calls. In each later call it ends 50 µs
	// later than in the call before.
	slow := 0
	for round := range 40 {
		found, err := findHeld(ctx, r, was)
		if err != nil {
			return err
		}
		t := next(was, 10+round)
		ended, cancel := context.WithCancel(ctx)
		timer := time.AfterFunc(time.Duration(round)*50*time.Microsecond, cancel)
		if round < maxSlow {
			cancel()
		}
		began := time.Now()
		stored, refreshErr := r.Refresh(ended, found, t)
		timer.Stop()
		cancel()
		took := time.Since(began)
		if took > patience {
			slow++
		}
		switch {
		case slow >= maxSlow:
			return fmt.Errorf("%d calls of Refresh took longer than %v although their contexts ended, one of them %v", slow, patience, took)
		case refreshErr == nil && !stored:
			return errors.New("Refresh with a context that ended returned false and no error, although the slot held the token")
		}
		if refreshErr != nil {
			// The call may still take effect, so end that: another sign-in makes it
			// store nothing.
			now, err := findOne(ctx, r, was.Slot)
			if err != nil {
				return fmt.Errorf("FindRefresh returned an error: %w", err)
			}
			if sameRefresh(now, was) != nil && sameRefresh(now, t) != nil {
				return fmt.Errorf("Refresh with a context that ended returned error %w and left the token with digest %v and state %q, want the token before or the new one", refreshErr, now.Digest, now.Refresh.State)
			}
			t = phones(1000 + round)
			if err := all(ctx, s, t); err != nil {
				return err
			}
			now, err = findOne(ctx, r, was.Slot)
			if err != nil {
				return fmt.Errorf("FindRefresh returned an error: %w", err)
			}
			t.Replaced = now.Replaced
		}
		if err := holdsRefresh(ctx, s, t); err != nil {
			return fmt.Errorf("after Refresh with a context that ended returned %v and error %v: %w", stored, refreshErr, err)
		}
		was = t
	}
	return nil
}
