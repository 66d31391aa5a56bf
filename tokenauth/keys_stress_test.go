package tokenauth_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bearerkit/bearerkit/storage/memory"
	"github.com/bearerkit/bearerkit/tokenauth"
)

// While a user is changed all the time, each validation by any replica has the state
// that the user had at some moment during the validation.
func TestKeysFollowTheirOwnersUnderLoad(t *testing.T) {
	t.Parallel()
	for name, store := range map[string]tokenauth.Storage{"one look-up at a time": new(memory.Store), "look-ups in batches": new(batching)} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			users := newOwners(alice())
			var replicas []*tokenauth.Keys
			var auth *tokenauth.Service
			for range 2 {
				a, keys := keyed(t, store, users, tokenauth.Options{})
				auth, replicas = a, append(replicas, keys)
			}
			key, _ := makeKey(t, replicas[0], alice(), tokenauth.Key{Roles: []string{"Staff", "Reader"}})

			// A state that is complete has an even number. Its remainder says what it is.
			const withStaff, withoutStaff, disabled = 0, 2, 4
			var state atomic.Int64
			stop := time.Now().Add(700 * time.Millisecond)
			var wg sync.WaitGroup
			wg.Go(func() {
				for time.Now().Before(stop) {
					next := state.Add(1) + 1
					users.disable("17", next%6 == disabled)
					roles := []string{"Reader", "Staff"}
					if next%6 == withoutStaff {
						roles = roles[:1]
					}
					users.change("17", func(p *tokenauth.Principal) { p.Roles, p.Stamp = roles, fmt.Sprint(next) })
					if err := auth.RevokeUser(t.Context(), "17"); err != nil {
						t.Error(err)
					}
					state.Store(next)
					time.Sleep(time.Duration(next%5) * time.Millisecond)
				}
			})
			var checked [6]atomic.Int64
			for i := range 8 {
				wg.Go(func() {
					for time.Now().Before(stop) {
						before := state.Load()
						token, err := replicas[i%2].Validate(t.Context(), key)
						if before%2 != 0 || state.Load() != before {
							continue // it changed meanwhile
						}
						checked[before%6].Add(1)
						switch before % 6 {
						case disabled:
							if !errors.Is(err, tokenauth.ErrInvalidToken) {
								t.Errorf("a disabled user's key has the roles %v, error %v", token.Principal.Roles, err)
							}
						default:
							if err != nil || slices.Contains(token.Principal.Roles, "Staff") != (before%6 == withStaff) {
								t.Errorf("in state %d, the key has the roles %v, error %v", before%6, token.Principal.Roles, err)
							}
						}
					}
				})
			}
			wg.Wait()
			for _, s := range []int{withStaff, withoutStaff, disabled} {
				if checked[s].Load() == 0 {
					t.Errorf("state %d was never checked", s)
				}
			}
		})
	}
}

// A request with a key waits for a look-up of the owner no longer than its context, even
// if it is the one that makes the look-up.
func TestContextsEndTheWaitForTheOwner(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		users := newOwners(alice())
		_, keys := keyed(t, new(memory.Store), users, tokenauth.Options{Timeout: time.Minute})
		key, _ := makeKey(t, keys, alice(), tokenauth.Key{})
		users.setDuring(func(call int) {
			if call == 2 { // the first one was Create's
				time.Sleep(10 * time.Second)
			}
		})
		var all sync.WaitGroup
		began := time.Now()
		for _, test := range []struct {
			patience, took time.Duration
			want           string
		}{
			{time.Second, time.Second, "unavailable"}, // looks the owner up
			{2 * time.Second, 2 * time.Second, "unavailable"},
			{time.Hour, 10 * time.Second, "valid"}, // looks the owner up, later
			{3 * time.Second, 3 * time.Second, "unavailable"},
			{time.Hour, 10 * time.Second, "valid"},
		} {
			all.Go(func() {
				ctx, cancel := context.WithTimeout(t.Context(), test.patience)
				defer cancel()
				_, err := keys.Validate(ctx, key)
				if got, took := reason(err), time.Since(began); got != test.want || took != test.took {
					t.Errorf("with a context of %v, Validate returned %q after %v, error %v, want %q after %v", test.patience, got, took, err, test.want, test.took)
				}
			})
			synctest.Wait()
		}
		all.Wait()
		expectKey(t, keys, key, "Reader,Staff")
	})
}

// If a Reloader never returns, the requests for this user fail soon. Later ones succeed as
// soon as it returns again.
func TestAReloaderThatHangsDoesNotBlockItsUser(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const timeout = 3 * time.Second
		users := newOwners(alice(), bob())
		_, keys := keyed(t, new(memory.Store), users, tokenauth.Options{Timeout: timeout})
		key, _ := makeKey(t, keys, alice(), tokenauth.Key{})
		bobs, _ := makeKey(t, keys, bob(), tokenauth.Key{})
		expectKey(t, keys, bobs, "")
		hang := make(chan struct{})
		users.setDuring(func(int) { <-hang })
		var all sync.WaitGroup
		for range 20 {
			all.Go(func() {
				began := time.Now()
				_, err := keys.Validate(t.Context(), key)
				if took := time.Since(began); !errors.Is(err, tokenauth.ErrUnavailable) || took > 2*timeout {
					t.Errorf("Validate took %v, error %v, want ErrUnavailable", took, err)
				}
			})
			time.Sleep(time.Second)
			expectKey(t, keys, bobs, "")
		}
		all.Wait()
		users.setDuring(nil)
		expectKey(t, keys, key, "Reader,Staff")
		close(hang)
		synctest.Wait()
		expectKey(t, keys, key, "Reader,Staff")
	})
}

// A panic of a Reloader is an error for all requests that wait for it, is logged, and
// does not end the process.
func TestAPanicOfAReloaderIsAnError(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	users := newOwners(alice())
	_, keys := keyed(t, new(memory.Store), users, tokenauth.Options{Logger: slog.New(slog.NewTextHandler(&log, nil))})
	key, _ := makeKey(t, keys, alice(), tokenauth.Key{})
	users.setDuring(func(int) { panic("a bug of the host") })
	if _, err := keys.Validate(t.Context(), key); err == nil || errors.Is(err, tokenauth.ErrInvalidToken) {
		t.Errorf("Validate returned error %v", err)
	}
	if text := log.String(); !strings.Contains(text, "panic in the authenticator") || strings.Contains(text, "a bug of the host") {
		t.Errorf("the log is %s", text)
	}
	users.setDuring(nil)
	expectKey(t, keys, key, "Reader,Staff")
}
