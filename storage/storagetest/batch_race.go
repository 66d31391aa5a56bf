package storagetest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/bearerkit/bearerkit/tokenauth"
)

func findBatchFresh(ctx context.Context, s tokenauth.Storage) error {
	if _, ok := s.(tokenauth.BatchFinder); !ok {
		return nil
	}
	var slots []tokenauth.Slot
	for i := range 8 {
		slots = append(slots, tokenauth.SlotOf(fmt.Sprint("user", i/2), fmt.Sprint("client", i%2)))
	}
	at := func(i, n int) tokenauth.Token {
		return token(fmt.Sprint("user", i/2), fmt.Sprint("client", i%2), 10*n+i)
	}
	changes := []func(i, n int) error{
		func(i, n int) error { return s.Replace(ctx, at(i, n)) },
		func(i, n int) error { return s.Replace(ctx, at(i, n+1)) },
		func(i, n int) error { return s.Revoke(ctx, slots[i], at(i, n+1).Digest) },
		func(i, n int) error { return s.Replace(ctx, at(i, n+2)) },
		func(i, n int) error { return s.RevokeUser(ctx, slots[i].User) },
	}
	if r, ok := s.(tokenauth.BulkRevoker); ok {
		changes = append(changes,
			func(i, n int) error { return s.Replace(ctx, at(i, n+3)) },
			func(i, n int) error { return r.RevokeClient(ctx, fmt.Sprint("client", i%2)) },
		)
	}
	rng := rand.New(rand.NewPCG(5, 6))
	for n := range 4 {
		i := rng.IntN(len(slots) / 2)
		for _, change := range changes {
			err := first(
				func() error { return change(i, 10*n) },
				func() error { return change(len(slots)-1-i, 10*n) },
				func() error { return findsAll(ctx, s, slots) },
			)
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// A life is a sequence of numbered changes to one slot, made while other
// goroutines read the slot. If n is divisible by 3, change n revokes the token
// of change n-1. Otherwise change n stores token n. The field begun is the
// number of the last change that has begun, and changed is the number of the
// last change that is complete.
type life struct {
	user           int
	begun, changed atomic.Int64
}

func (l *life) token(n int64) tokenauth.Token {
	return token(fmt.Sprint("user", l.user), "", int(n))
}

func (l *life) slot() tokenauth.Slot { return l.token(0).Slot }

// step makes the next change to the slot.
func (l *life) step(ctx context.Context, s tokenauth.Storage) (err error) {
	n := l.begun.Add(1)
	if n%3 == 0 {
		err = s.Revoke(ctx, l.slot(), l.token(n-1).Digest)
	} else {
		err = s.Replace(ctx, l.token(n))
	}
	l.changed.Store(n)
	return err
}

// check returns an error unless found is a result that the slot allowed at some
// time during a call of FindBatch. The argument before is the number of the
// last change that was complete when that call began.
func (l *life) check(found tokenauth.Found, before int64) error {
	after := l.begun.Load()
	if errors.Is(found.Err, tokenauth.ErrNotFound) {
		for n := before; n <= after; n++ {
			if n%3 == 0 {
				return nil
			}
		}
		return fmt.Errorf("FindBatch returned ErrNotFound for a slot that held a token during the whole call, from change %d to change %d", before, after)
	}
	if found.Err != nil {
		return fmt.Errorf("FindBatch returned error %w for one of the slots", found.Err)
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(found.Token.Digest[:])), 10, 64)
	if err != nil || found.Token.Slot != l.slot() || found.Token.Principal.UserID != fmt.Sprint("user", l.user) {
		return fmt.Errorf("FindBatch returned a token of %q with slot %x and digest %q, want a token of user%d with slot %x and a number as digest",
			found.Token.Principal.UserID, found.Token.Slot, found.Token.Digest[:], l.user, l.slot())
	}
	if n < before || n > after {
		return fmt.Errorf("FindBatch returned the token of change %d, want one of the changes %d to %d", n, before, after)
	}
	return nil
}

func findBatchRace(ctx context.Context, s tokenauth.Storage) error {
	f, ok := s.(tokenauth.BatchFinder)
	if !ok {
		return nil
	}
	const changing = 4
	lives := make([]*life, 12)
	for i := range lives {
		lives[i] = &life{user: i}
		if err := lives[i].step(ctx, s); err != nil {
			return err
		}
	}
	// The first four slots change all the time. Each reader reads these four
	// and one of the other slots, in random order.
	return readDuringChanges(changing, func(worker int) error { return lives[worker].step(ctx, s) }, func(rng *rand.Rand) error {
		asked := append(rng.Perm(changing), changing+rng.IntN(len(lives)-changing))
		rng.Shuffle(len(asked), func(i, j int) { asked[i], asked[j] = asked[j], asked[i] })
		return readLives(ctx, f, lives, asked)
	})
}

// readDuringChanges lets workers call change again and again while readers call read.
// However busy the machine is, there are several changes by each worker between the first
// read and the last one. Afterwards, one more read sees the last changes.
func readDuringChanges(workers int, change func(worker int) error, read func(*rand.Rand) error) error {
	const readers, reads, changes = 6, 40, 8
	var reading, behind atomic.Int64 // readers that go on, and workers with too few changes
	reading.Store(readers)
	behind.Store(int64(workers))
	err := together(workers+readers, func(i int) (err error) {
		if i < workers {
			n := 0
			for ; reading.Load() > 0 && err == nil; n++ {
				if err = change(i); n == changes {
					behind.Add(-1)
				}
			}
			if n <= changes { // it ended early
				behind.Add(-1)
			}
			return err
		}
		defer reading.Add(-1)
		rng := rand.New(rand.NewPCG(7, uint64(i)))
		for n := 0; (n < reads || behind.Load() > 0) && err == nil; n++ {
			err = read(rng)
		}
		return err
	})
	if err == nil {
		err = read(rand.New(rand.NewPCG(7, 7)))
	}
	return err
}

// readLives calls FindBatch for the slots of some lives, and checks each
// result. The argument asked contains the indexes of these lives.
func readLives(ctx context.Context, f tokenauth.BatchFinder, lives []*life, asked []int) error {
	var slots []tokenauth.Slot
	var before []int64
	for _, i := range asked {
		slots = append(slots, lives[i].slot())
		before = append(before, lives[i].changed.Load())
	}
	found, err := batch(ctx, f, slots)
	if err != nil {
		return err
	}
	for i, one := range asked {
		if err := lives[one].check(found[i], before[i]); err != nil {
			return err
		}
	}
	return nil
}
