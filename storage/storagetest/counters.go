package storagetest

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/bearerkit/bearerkit/tokenauth"
	"github.com/bearerkit/bearerkit/tokenauth/throttle"
)

// counterKey returns a key whose bytes are not valid text.
func counterKey(n byte) throttle.Key { return throttle.Key{0xff, 0, '\'', '\\', n} }

// update calls UpdateCounters, and adds the name of the method to the error.
func update(ctx context.Context, s throttle.Storage, keys []throttle.Key, change func([]throttle.Counter)) error {
	if err := s.UpdateCounters(ctx, keys, change); err != nil {
		return fmt.Errorf("UpdateCounters returned an error: %w", err)
	}
	return nil
}

// counted returns an error unless the counters with these keys equal want.
func counted(ctx context.Context, s throttle.Storage, keys []throttle.Key, want ...throttle.Counter) error {
	var got []throttle.Counter
	if err := update(ctx, s, keys, func(c []throttle.Counter) { got = slices.Clone(c) }); err != nil {
		return err
	}
	if !slices.Equal(got, want) {
		return fmt.Errorf("the counters are %+v, want %+v", got, want)
	}
	return nil
}

// to returns a function for UpdateCounters. That function sets the counters to
// the values in want.
func to(want ...throttle.Counter) func([]throttle.Counter) {
	return func(c []throttle.Counter) { copy(c, want) }
}

// count is a function for UpdateCounters that adds one failure to each counter.
func count(c []throttle.Counter) {
	for i := range c {
		c[i].Failures++
		c[i].FailedAt = time.Now().UnixMilli()
	}
}

func countersRoundTrip(ctx context.Context, s tokenauth.Storage) error {
	counter, ok := s.(throttle.Storage)
	if !ok {
		return nil
	}
	now := time.Now().UnixMilli()
	full := throttle.Counter{Failures: 3, FailedAt: now, Pending: 2, PendingAt: now + 1, SucceededAt: now + 2}
	many := throttle.Counter{Failures: 1 << 40, FailedAt: now - 3}
	begun := throttle.Counter{Pending: 1, PendingAt: now}
	known := throttle.Counter{SucceededAt: now}
	helped := throttle.Counter{Failures: -10, FailedAt: now, SucceededAt: now}
	none := throttle.Counter{}
	keys := []throttle.Key{counterKey(3), counterKey(1), {}, counterKey(2)}
	err := first(
		func() error { return counted(ctx, counter, keys, none, none, none, none) },
		func() error { return update(ctx, counter, keys, to(full, many, begun, known)) },
		func() error { return counted(ctx, counter, keys, full, many, begun, known) },
		func() error {
			return counted(ctx, counter, []throttle.Key{keys[3], counterKey(4), keys[0]}, known, none, full)
		},
		func() error { return update(ctx, counter, keys[:2], to(known, none)) },
		func() error { return counted(ctx, counter, keys, known, none, begun, known) },
		func() error { return update(ctx, counter, keys[1:3], to(helped, none)) },
		func() error { return counted(ctx, counter, keys, known, helped, none, known) },
		func() error { return update(ctx, counter, keys[1:2], to(full)) },
		func() error { return counted(ctx, counter, keys, known, full, none, known) },
	)
	p, ok := s.(tokenauth.Purger)
	if err != nil || !ok {
		return err
	}
	if _, err := p.Purge(ctx, time.Now()); err != nil {
		return err
	}
	return counted(ctx, counter, keys, known, full, none, known)
}

func countersAtomic(ctx context.Context, s tokenauth.Storage) error {
	counter, ok := s.(throttle.Storage)
	if !ok {
		return nil
	}
	const workers, rounds = 16, 8
	own := func(worker int) throttle.Key { return counterKey(byte(100 + worker)) }
	err := together(workers, func(worker int) error {
		// All workers change the first two counters, half of them in reverse
		// order, so that a storage with locks could deadlock. Each worker also
		// changes a counter that it shares with some other workers, and a
		// counter that no other worker changes.
		keys := []throttle.Key{counterKey(0), counterKey(1), counterKey(byte(2 + worker%3)), own(worker)}
		zero, one := 0, 1
		if worker%2 == 1 {
			slices.Reverse(keys)
			zero, one = 3, 2
		}
		for round := range rounds {
			var saw []throttle.Counter // the counters in the last call of the function below; the results of earlier calls were not stored
			err := update(ctx, counter, keys, func(c []throttle.Counter) {
				saw = slices.Clone(c)
				count(c)
			})
			switch {
			case err != nil:
				return err
			case saw[zero].Failures != saw[one].Failures:
				return fmt.Errorf("two counters that always change together differ: %d and %d", saw[zero].Failures, saw[one].Failures)
			case saw[3-zero].Failures != int64(round):
				return fmt.Errorf("a counter that only one goroutine increments is %d after %d increments", saw[3-zero].Failures, round)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	var got []int64
	keys := []throttle.Key{counterKey(0), counterKey(1), counterKey(2), counterKey(3), counterKey(4)}
	if err := update(ctx, counter, keys, func(c []throttle.Counter) {
		got = nil
		for i := range c {
			got = append(got, c[i].Failures)
		}
	}); err != nil {
		return err
	}
	if got[0] != workers*rounds || got[1] != workers*rounds || got[2]+got[3]+got[4] != workers*rounds {
		return fmt.Errorf("the counters are %d, want %[2]d for the first, for the second, and for the sum of the other three", got, workers*rounds)
	}
	return nil
}

func countersUnchanged(ctx context.Context, s tokenauth.Storage) error {
	counter, ok := s.(throttle.Storage)
	if !ok {
		return nil
	}
	now := time.Now().UnixMilli()
	a, b := throttle.Counter{Failures: 3, FailedAt: now}, throttle.Counter{SucceededAt: now}
	keys := []throttle.Key{counterKey(1), counterKey(2), counterKey(3)}
	nothing := func([]throttle.Counter) {}
	err := first(
		func() error { return update(ctx, counter, keys, nothing) },
		func() error { return update(ctx, counter, keys[:2], to(a, b)) },
		func() error { return update(ctx, counter, keys, nothing) },
		func() error { return counted(ctx, counter, keys, a, b, throttle.Counter{}) },
		func() error { return update(ctx, counter, keys, func(c []throttle.Counter) { c[2] = a }) },
		func() error { return counted(ctx, counter, keys, a, b, a) },
	)
	if err != nil {
		return err
	}
	// A call that changes nothing must not overwrite concurrent changes.
	const workers, rounds = 8, 8
	err = together(workers, func(worker int) error {
		for range rounds {
			change, of := nothing, keys
			if worker%2 == 0 {
				change, of = count, keys[:1]
			}
			if err := update(ctx, counter, of, change); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	want := a.Failures + workers/2*rounds
	if err := update(ctx, counter, keys[:1], func(c []throttle.Counter) { a = c[0] }); err != nil {
		return err
	}
	if a.Failures != want {
		return fmt.Errorf("after concurrent calls a counter is %d, want %d: a call that changed nothing may have overwritten a concurrent change", a.Failures, want)
	}
	return nil
}

func countersContextEnded(ctx context.Context, s tokenauth.Storage) error {
	counter, ok := s.(throttle.Storage)
	if !ok {
		return nil
	}
	keys := []throttle.Key{counterKey(1), counterKey(2), counterKey(3)}
	for _, when := range []string{"before the call", "during the change"} {
		var before, after []throttle.Counter
		if err := update(ctx, counter, keys, func(c []throttle.Counter) {
			c[0].Failures, c[1] = 7, throttle.Counter{}
			c[0].FailedAt = time.Now().UnixMilli()
			c[2] = c[0]
			before = slices.Clone(c)
		}); err != nil {
			return err
		}
		ended, cancel := context.WithCancel(ctx)
		if when == "before the call" {
			cancel()
		}
		failed := counter.UpdateCounters(ended, keys, func(c []throttle.Counter) {
			cancel()
			count(c)
			after = slices.Clone(c)
		})
		cancel()
		var got []throttle.Counter
		if err := update(ctx, counter, keys, func(c []throttle.Counter) { got = slices.Clone(c) }); err != nil {
			return err
		}
		changed := after != nil && slices.Equal(got, after)
		switch {
		case failed == nil && !changed:
			return fmt.Errorf("UpdateCounters with a context that ended %s returned nil, but the counters are %+v, want %+v", when, got, after)
		case !changed && !slices.Equal(got, before):
			return fmt.Errorf("UpdateCounters with a context that ended %s left the counters at %+v, want %+v or %+v", when, got, before, after)
		}
	}
	return nil
}
