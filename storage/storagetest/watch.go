package storagetest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/bearerkit/bearerkit/tokenauth"
)

// firstBeat is the beat of the first attempt to test a rule of Watch.
const firstBeat = 100 * time.Millisecond

// A watching is one call of Watch. It is also the [tokenauth.Invalidator] for
// that call, and records all calls of its methods.
type watching struct {
	beat   time.Duration
	cancel context.CancelFunc
	ended  chan struct{} // closed when Watch has returned

	mu       sync.Mutex
	news     chan struct{}             // closed and replaced after each recorded call
	changed  map[tokenauth.UserKey]int // how often Invalidate was called for each user
	all      int                       // how often InvalidateAll was called
	alive    int                       // how often Heartbeat was called
	asOf     time.Time                 // the argument of the last Heartbeat
	returned bool                      // whether Watch has returned
	err      error                     // the result of Watch
	wrong    error                     // the errors for calls that broke a rule
}

func watch(ctx context.Context, w tokenauth.Watcher, beat time.Duration) *watching {
	ctx, cancel := context.WithCancel(ctx)
	g := &watching{
		beat:    beat,
		cancel:  cancel,
		ended:   make(chan struct{}),
		news:    make(chan struct{}),
		changed: make(map[tokenauth.UserKey]int),
	}
	go func() {
		defer close(g.ended)
		err := w.Watch(ctx, beat, g)
		g.tell(func() { g.err, g.returned = err, true })
	}()
	return g
}

// tell runs f, which records a call or the end of Watch. It then wakes the
// callers of wait.
func (g *watching) tell(f func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.returned {
		g.wrong = errors.Join(g.wrong, errors.New("a method of the feed was called after Watch returned"))
	}
	f()
	close(g.news)
	g.news = make(chan struct{})
}

// Invalidate implements [tokenauth.Invalidator].
func (g *watching) Invalidate(u tokenauth.UserKey) { g.tell(func() { g.changed[u]++ }) }

// InvalidateAll implements [tokenauth.Invalidator].
func (g *watching) InvalidateAll() { g.tell(func() { g.all++ }) }

// Heartbeat implements [tokenauth.Invalidator].
func (g *watching) Heartbeat(asOf time.Time) {
	g.tell(func() {
		g.alive++
		g.asOf = asOf
		switch {
		case asOf.After(time.Now()):
			g.wrong = errors.Join(g.wrong, errors.New("Watch sent a heartbeat whose time is in the future"))
		case asOf == asOf.Round(0):
			g.wrong = errors.Join(g.wrong, errors.New("Watch sent a heartbeat whose time has no monotonic clock reading"))
		}
	})
}

var (
	errLate  = errors.New("the time limit has passed")
	errEarly = errors.New("Watch returned too early")
)

// watched tests a rule of Watch, and tests it again if Watch returned too early. Watch
// returns if it lost the connection or had to wait too long for a notification, as on a
// busy machine, and a Service then calls it again. Each attempt has a longer beat, so
// that Watch may wait longer. A storage breaks the rule if Watch returns too early three
// times.
func watched(rule func(context.Context, tokenauth.Storage, tokenauth.Watcher, time.Duration) error) func(context.Context, tokenauth.Storage) error {
	return func(ctx context.Context, s tokenauth.Storage) error {
		w, ok := s.(tokenauth.Watcher)
		if !ok {
			return nil
		}
		var err error
		for _, beat := range []time.Duration{firstBeat, 3 * firstBeat, 9 * firstBeat} {
			if err = rule(ctx, s, w, beat); !errors.Is(err, errEarly) {
				break
			}
		}
		return err
	}
}

// wait waits until the function right returns true or an error, or until a call
// of a method breaks a rule. If neither happens within the limit, wait returns
// errLate.
func (g *watching) wait(ctx context.Context, limit time.Duration, right func() (bool, error)) error {
	timeout := time.After(limit)
	for late := false; ; {
		g.mu.Lock()
		ok, err := right()
		err = errors.Join(g.wrong, err)
		news := g.news
		g.mu.Unlock()
		if ok || err != nil {
			return err
		}
		if late {
			return errLate
		}
		select {
		case <-news:
		case <-timeout:
			late = true // check once more, because the machine may have been busy
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// aliveAgain waits for n calls of Heartbeat with times later than the start of
// aliveAgain.
func (g *watching) aliveAgain(ctx context.Context, n int, limit time.Duration) error {
	now, begin := time.Now(), -1
	err := g.wait(ctx, limit, func() (bool, error) {
		if g.returned {
			return false, fmt.Errorf("%w, with error %w", errEarly, g.err)
		}
		if begin < 0 && g.asOf.After(now) {
			begin = g.alive - 1
		}
		return begin >= 0 && g.alive >= begin+n, nil
	})
	if errors.Is(err, errLate) {
		return fmt.Errorf("Watch sent fewer than %d heartbeats in %v, with a beat of %v", n, limit, g.beat)
	}
	return err
}

// reports waits until Watch reports a change to the user's tokens, and returns
// an error if the report is late. The argument before is the number of reports
// before the change. The argument after is a time at which the change was
// complete.
func (g *watching) reports(ctx context.Context, u tokenauth.UserKey, before int, after time.Time) error {
	err := g.wait(ctx, patience, func() (bool, error) {
		switch {
		case g.changed[u]+g.all > before, g.returned:
			return true, nil
		case g.asOf.After(after):
			return false, fmt.Errorf("Watch sent a heartbeat whose time is %v after the change, but has not reported the change", g.asOf.Sub(after))
		}
		return false, nil
	})
	if errors.Is(err, errLate) {
		return fmt.Errorf("Watch did not report the change within %v", patience)
	}
	return err
}

// told returns how many reports concerned the user: the reports for this user
// and the reports for all users.
func (g *watching) told(u tokenauth.UserKey) int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.changed[u] + g.all
}

// end cancels the context of Watch and waits until Watch returns. It returns an
// error if any call of a method broke a rule.
func (g *watching) end() error {
	g.cancel()
	select {
	case <-g.ended:
	case <-time.After(patience):
		return fmt.Errorf("Watch had not returned %v after its context ended", patience)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.wrong
}

// current returns a token that is valid now. Tests of Watch need such tokens,
// because Watch need not report the end of a token that has expired.
func current(user, client string, n int) tokenauth.Token {
	t := token(user, client, n)
	life := t.ExpiresAt.Sub(t.IssuedAt)
	t.IssuedAt = time.Now().Truncate(time.Second).UTC()
	t.ExpiresAt = t.IssuedAt.Add(life)
	return t
}

func watchReports(ctx context.Context, s tokenauth.Storage, w tokenauth.Watcher, beat time.Duration) error {
	// Several calls of Watch may run concurrently, and each must report all
	// changes.
	watchings := []*watching{watch(ctx, w, beat), watch(ctx, w, beat)}
	err := reportsEach(ctx, s, watchings)
	for _, g := range watchings {
		err = errors.Join(err, g.end())
	}
	return err
}

func reportsEach(ctx context.Context, s tokenauth.Storage, watchings []*watching) error {
	alive := func() error {
		for _, g := range watchings {
			if err := g.aliveAgain(ctx, 1, patience); err != nil {
				return err
			}
		}
		return nil
	}
	if err := alive(); err != nil {
		return err
	}
	for round := range 8 {
		n := 10 * round
		replaced, revoked := current("alice", "", n), current("bob", "", n+1)
		web, mobile := current("carol", "web", n+2), current("carol", "mobile", n+3)
		dave, phone := current("dave", "watch", n+5), onDevice("erin", "tv", "phone", n+6)
		unused, other := current("frank", "", n+7), current("grace", "", n+8)
		phone.IssuedAt = dave.IssuedAt
		unused.IssuedAt = unused.IssuedAt.Add(-2 * time.Hour)
		refreshed := current("heidi", "", n+9)
		if _, ok := s.(tokenauth.Refresher); ok {
			refreshed = withRefresh(refreshed, n+9)
		}
		if err := all(ctx, s, replaced, revoked, web, mobile, dave, phone, unused, other, refreshed); err != nil {
			return err
		}
		// Wait until the reports of these changes have arrived, so that they
		// are not mistaken for reports of the changes below.
		if err := alive(); err != nil {
			return err
		}
		type ending struct {
			name string
			user tokenauth.UserKey
			do   func() error
		}
		endings := []ending{
			{"Replace", replaced.Slot.User, func() error { return s.Replace(ctx, current("alice", "", n+4)) }},
			{"Revoke", revoked.Slot.User, func() error { return s.Revoke(ctx, revoked.Slot, revoked.Digest) }},
			{"RevokeUser", web.Slot.User, func() error { return s.RevokeUser(ctx, web.Slot.User) }},
		}
		if r, ok := s.(tokenauth.Refresher); ok {
			endings = append(endings, ending{"Refresh", refreshed.Slot.User, func() error {
				return refreshesFound(ctx, r, refreshed.Slot, n+1000)
			}})
		}
		if r, ok := s.(tokenauth.UseRecorder); ok {
			endings = append(endings, ending{"RevokeUnused", unused.Slot.User, func() error {
				_, err := r.RevokeUnused(ctx, unused.IssuedAt.Add(time.Hour))
				return err
			}})
		}
		if r, ok := s.(tokenauth.BulkRevoker); ok {
			endings = append(endings,
				ending{"RevokeClient", dave.Slot.User, func() error { return r.RevokeClient(ctx, dave.ClientID) }},
				ending{"RevokeClient of a device", phone.Slot.User, func() error { return r.RevokeClient(ctx, phone.ClientID) }},
				ending{"RevokeAll", other.Slot.User, func() error { return r.RevokeAll(ctx) }},
			)
		}
		for _, test := range endings {
			before := make([]int, len(watchings))
			for i, g := range watchings {
				before[i] = g.told(test.user)
			}
			if err := test.do(); err != nil {
				return err
			}
			returned := time.Now()
			for i, g := range watchings {
				if err := g.reports(ctx, test.user, before[i], returned); err != nil {
					return fmt.Errorf("after %s: %w", test.name, err)
				}
			}
		}
	}
	return nil
}

// watchIgnoresUses counts the reports for the users themselves. A storage may
// call InvalidateAll at any time, and sometimes report a change twice. So the
// rule is broken only if three recordings in a row are reported.
func watchIgnoresUses(ctx context.Context, s tokenauth.Storage, w tokenauth.Watcher, beat time.Duration) error {
	r, ok := s.(tokenauth.UseRecorder)
	if !ok {
		return nil
	}
	phone, plain := onDevice("alice", "", "phone", 1), current("bob", "", 2)
	phone.IssuedAt = plain.IssuedAt
	g := watch(ctx, w, beat)
	count := func() int {
		g.mu.Lock()
		defer g.mu.Unlock()
		return g.changed[phone.Slot.User] + g.changed[plain.Slot.User]
	}
	err := first(
		func() error { return g.aliveAgain(ctx, 1, patience) },
		func() error { return all(ctx, s, phone, plain) },
		func() error { return g.aliveAgain(ctx, 2, patience) },
		func() error {
			for hour := range 3 {
				before := count()
				err := first(
					func() error { return record(ctx, r, useOf(phone, hour), useOf(plain, hour)) },
					func() error { return g.aliveAgain(ctx, 2, patience) },
				)
				if err != nil || count() == before {
					return err
				}
			}
			return errors.New("Watch reported a change each time that a use was recorded")
		},
	)
	return errors.Join(err, g.end())
}

func watchAlive(ctx context.Context, _ tokenauth.Storage, w tokenauth.Watcher, beat time.Duration) error {
	const calls, slack = 20, 3 * time.Second // slack for a busy machine
	g := watch(ctx, w, beat)
	err := first(
		func() error { return g.aliveAgain(ctx, 1, patience) },
		func() error { return g.aliveAgain(ctx, calls, calls*beat+slack) },
	)
	return errors.Join(err, g.end())
}

func watchStops(ctx context.Context, s tokenauth.Storage, w tokenauth.Watcher, beat time.Duration) error {
	g := watch(ctx, w, beat)
	if err := g.aliveAgain(ctx, 1, patience); err != nil {
		return errors.Join(err, g.end())
	}
	// Change tokens while Watch ends.
	err := together(8, func(i int) error {
		if i == 0 {
			return g.end()
		}
		return all(ctx, s, current("alice", "", i), current("alice", "", 10+i), current("alice", "", 20+i))
	})
	if err != nil {
		return err
	}
	if !errors.Is(g.err, context.Canceled) {
		return fmt.Errorf("Watch returned %v after its context ended, want context.Canceled", g.err)
	}
	// Watch must not report changes after it has returned.
	err = first(
		func() error { return all(ctx, s, current("alice", "", 1), current("alice", "", 2)) },
		func() error { return s.RevokeUser(ctx, tokenauth.UserKeyOf("alice")) },
		func() error { return g.wait(ctx, 3*beat, func() (bool, error) { return false, nil }) },
	)
	if !errors.Is(err, errLate) {
		return err
	}
	ended, cancel := context.WithCancel(ctx)
	cancel()
	g = watch(ended, w, beat)
	if err := g.end(); err != nil {
		return err
	}
	if !errors.Is(g.err, context.Canceled) {
		return fmt.Errorf("Watch with an ended context returned %v, want context.Canceled", g.err)
	}
	return nil
}
