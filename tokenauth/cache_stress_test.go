package tokenauth_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bearerkit/bearerkit/internal/throwaway"
	"github.com/bearerkit/bearerkit/storage/memory"
	"github.com/bearerkit/bearerkit/tokenauth"
)

// A slowStore answers with a delay. It reports changes with a delay, out of
// order, or only by InvalidateAll. Its heartbeats keep the contract of a
// Watcher.
type slowStore struct {
	*memory.Store
	slow time.Duration

	mu      sync.Mutex
	pending map[int]change // changes that were committed and not yet reported
	next    int
	feeds   map[int]tokenauth.Invalidator
}

type change struct {
	user tokenauth.UserKey
	at   time.Time
}

func (s *slowStore) pause() {
	if s.slow > 0 {
		time.Sleep(rand.N(s.slow))
	}
}

func (s *slowStore) Find(ctx context.Context, slot tokenauth.Slot) (tokenauth.Token, error) {
	s.pause()
	t, err := s.Store.Find(ctx, slot)
	s.pause()
	return t, err
}

func (s *slowStore) commit(u tokenauth.UserKey, do func() error) error {
	s.mu.Lock()
	id := s.next
	s.next++
	s.pending[id] = change{u, time.Now()} // the time before the commit
	s.mu.Unlock()
	err := do()
	time.AfterFunc(rand.N(8*s.slow+1), func() { s.report(id, u) })
	return err
}

func (s *slowStore) report(id int, u tokenauth.UserKey) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, feed := range s.feeds {
		if rand.N(20) == 0 {
			feed.InvalidateAll() // the store lost the change
		} else {
			feed.Invalidate(u)
		}
	}
	delete(s.pending, id)
}

func (s *slowStore) Replace(ctx context.Context, t tokenauth.Token) error {
	return s.commit(t.Slot.User, func() error { return s.Store.Replace(ctx, t) })
}

func (s *slowStore) Revoke(ctx context.Context, slot tokenauth.Slot, d tokenauth.Digest) error {
	return s.commit(slot.User, func() error { return s.Store.Revoke(ctx, slot, d) })
}

func (s *slowStore) RevokeUser(ctx context.Context, u tokenauth.UserKey) error {
	return s.commit(u, func() error { return s.Store.RevokeUser(ctx, u) })
}

func (s *slowStore) Watch(ctx context.Context, beat time.Duration, feed tokenauth.Invalidator) error {
	s.mu.Lock()
	id := s.next
	s.next++
	s.feeds[id] = feed
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.feeds, id)
	}()
	for {
		s.mu.Lock()
		asOf := time.Now()
		for _, c := range s.pending {
			if c.at.Before(asOf) {
				asOf = c.at.Add(-1)
			}
		}
		feed.Heartbeat(asOf)
		s.mu.Unlock()
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(beat + rand.N(beat)): // sometimes later than the lease allows
		}
		if rand.N(60) == 0 {
			return errors.New("connection lost")
		}
	}
}

// A tokenLife records what the test knows about an access token.
type tokenLife struct {
	accessToken string
	ending      atomic.Bool  // a call that ends the token has begun
	ended       atomic.Int64 // Unix nanoseconds, after that call returned; 0 before
	final       atomic.Bool  // this replica refused or ended the token
}

// Sign-ins, revocations and validations race. Meanwhile the storage answers
// late. Its feed reports late, out of order, or not until it reconnects.
func TestCacheUnderStress(t *testing.T) {
	t.Parallel()
	length := time.Second
	if throwaway.Long() {
		length = 10 * time.Second
	}
	const lease, users = 100 * time.Millisecond, 6
	store := &slowStore{Store: new(memory.Store), slow: 4 * time.Millisecond, pending: make(map[int]change), feeds: make(map[int]tokenauth.Invalidator)}
	here := newService(t, store, new(staff), &tokenauth.Options{Cache: &tokenauth.CacheOptions{Lease: lease, MaxEntries: 8}})
	elsewhere := newService(t, store, new(staff), nil)

	ctx, cancel := context.WithTimeout(t.Context(), length)
	defer cancel()
	var wg, watching sync.WaitGroup
	stop, end := context.WithCancel(t.Context())
	watching.Go(func() { here.Run(stop) })

	var lives [users]atomic.Pointer[[]*tokenLife]
	for u := range users {
		p := tokenauth.Principal{UserID: strconv.Itoa(u), Roles: []string{"r" + strconv.Itoa(u%2)}}
		wg.Go(func() {
			var all []*tokenLife
			for ctx.Err() == nil {
				last := all
				for _, l := range last {
					l.ending.Store(true)
				}
				by, local := elsewhere, false
				if rand.N(4) == 0 {
					by, local = here, true
				}
				var fresh *tokenLife
				switch rand.N(5) {
				case 0:
					if err := by.RevokeUser(context.Background(), p.UserID); err != nil {
						t.Error(err)
					}
				default:
					issued, err := by.Issue(context.Background(), p, nil)
					if err != nil {
						t.Error(err)
						continue
					}
					fresh = &tokenLife{accessToken: issued.AccessToken.Reveal()}
				}
				now := time.Now().UnixNano()
				for _, l := range last {
					l.ended.CompareAndSwap(0, now)
					if local {
						l.final.Store(true)
					}
				}
				if fresh != nil {
					all = append(all[max(0, len(all)-3):len(all):len(all)], fresh)
				}
				now2 := all
				lives[u].Store(&now2)
				time.Sleep(rand.N(12 * time.Millisecond))
			}
		})
	}
	var accepted, refused, again, late, wrong atomic.Int64
	for range 24 {
		wg.Go(func() {
			for ctx.Err() == nil {
				all := lives[rand.N(users)].Load()
				if all == nil || len(*all) == 0 {
					time.Sleep(time.Millisecond)
					continue
				}
				l := (*all)[rand.N(len(*all))]
				final, ended, began := l.final.Load(), l.ended.Load(), time.Now().UnixNano()
				_, err := here.Validate(context.Background(), l.accessToken)
				switch {
				case err == nil:
					accepted.Add(1)
					if final {
						again.Add(1)
					}
					if ended != 0 && began-ended > int64(lease) {
						late.Add(1)
					}
				case errors.Is(err, tokenauth.ErrInvalidToken):
					refused.Add(1)
					if !l.ending.Load() {
						wrong.Add(1)
					}
					l.final.Store(true)
				default:
					t.Error(err)
				}
				if rand.N(64) == 0 {
					time.Sleep(time.Millisecond)
				}
			}
		})
	}
	wg.Wait()
	stats := here.CacheStats()
	t.Logf("accepted %d, refused %d; %+v", accepted.Load(), refused.Load(), stats)
	if n := again.Load(); n > 0 {
		t.Errorf("this replica accepted %d times a token that it had refused or ended", n)
	}
	if n := late.Load(); n > 0 {
		t.Errorf("%d times a token was accepted longer than Lease after it ended", n)
	}
	if n := wrong.Load(); n > 0 {
		t.Errorf("%d times a valid token was refused", n)
	}
	if stats.Entries > 8 {
		t.Errorf("the cache has %d entries, want at most 8", stats.Entries)
	}
	end()
	watching.Wait()
}
