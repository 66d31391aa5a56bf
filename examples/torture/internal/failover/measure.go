package failover

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"

	"github.com/bearerkit/bearerkit/examples/torture/internal/trial"
	"github.com/bearerkit/bearerkit/storage/gormstore"
	"github.com/bearerkit/bearerkit/tokenauth"
)

const (
	userCount = 800
	// lookers is the number of clients that validate. More of them wait for a hanging
	// server than the replicas' pools have connections.
	lookers = 48
	probes  = 2 // replicas, each with a probe; the first users are the probes'
	// slack is for a busy machine.
	slack = 1500 * time.Millisecond
	// slowest is the maximum time of an answer. A sign-in may wait for its look-up and
	// then for its write.
	slowest = 2*timeout + slack
	// recovery is the maximum time from the server's return until everything works.
	recovery = 5 * time.Second
	// patience is how long to wait until everything works.
	patience = time.Minute
)

// A trialRun is a setup under load.
type trialRun struct {
	setup
	*figures
	books    books
	replicas []*replica
	struck   time.Time // when the fault began

	mu     sync.Mutex
	asleep time.Time // when the cache was last seen not serving
}

// measure runs a setup. It returns the row of the table and the violations.
func measure(tb testing.TB, s setup) (row string, wrong []string) {
	tb.Helper()
	t := &trialRun{setup: s, figures: &figures{lastTrouble: make(map[string]time.Time)}}
	scene := s.open(tb)
	t.openReplicas(tb, scene)
	steady := t.signInAll(tb)

	ctx, stop := context.WithCancel(tb.Context())
	var load sync.WaitGroup
	defer load.Wait()
	defer stop()
	for range 6 {
		load.Go(func() { t.changeTokens(ctx) })
	}
	for range lookers {
		load.Go(func() { t.lookAtTokens(ctx) })
	}
	for i, r := range t.replicas {
		load.Go(func() { t.probe(ctx, r, userName(i), steady[i]) })
	}
	load.Go(func() { t.watchCache(ctx) })
	pause(ctx, 3*time.Second)

	t.figures.mu.Lock()
	t.confirmed = 0
	t.struck = time.Now()
	t.figures.mu.Unlock()
	heal, err := scene.strike(tb.Context())
	if err != nil {
		tb.Fatal(err)
	}
	pause(ctx, s.lasts)
	if err := heal(); err != nil {
		tb.Fatal(err)
	}
	back := time.Now()
	t.awaitCalm(ctx, back)
	stop()
	load.Wait()
	t.lookAtAll()
	return t.row(back), t.judge(back)
}

func (t *trialRun) openReplicas(tb testing.TB, s scene) {
	tb.Helper()
	for i := range probes {
		storage := s.connect(tb)
		_, watched := storage.(tokenauth.Watcher)
		t.replicas = append(t.replicas, openReplica(tb, storage, i > 0 && watched))
		if users, ok := storage.(userStore); ok && i == 0 {
			importUsers(tb, users.Users())
		}
	}
	for i := range userCount {
		t.books.free = append(t.books.free, &user{name: userName(probes + i)})
	}
	trial.AwaitFeeds(tb.Context(), t.replicas[len(t.replicas)-1].auth)
}

// importUsers creates the users. The password of each is the user name.
func importUsers(tb testing.TB, users *gormstore.Users) {
	tb.Helper()
	var making sync.WaitGroup
	for first := range 8 {
		making.Go(func() {
			for i := first; i < probes+userCount; i += 8 {
				hash, err := bcrypt.GenerateFromPassword([]byte(userName(i)), bcrypt.MinCost)
				if err == nil {
					_, err = users.Import(tb.Context(), gormstore.User{Name: userName(i)}, string(hash))
				}
				if err != nil {
					tb.Error(err)
					return
				}
			}
		})
	}
	making.Wait()
}

// signInAll issues the tokens that the probes validate, one for each replica.
func (t *trialRun) signInAll(tb testing.TB) (steady []string) {
	tb.Helper()
	for range t.replicas {
		u := t.books.begin()
		a := signIn(t.replicas[0], u.name)
		if a.text == "" {
			tb.Fatalf("signing in: status %d, %s", a.status, a.err)
		}
		steady = append(steady, a.text)
	}
	return steady
}

// changeTokens signs users in and revokes some of their tokens. After a 503 it waits
// a second, as clients should.
func (t *trialRun) changeTokens(ctx context.Context) {
	for ctx.Err() == nil {
		u := t.books.begin()
		if u == nil {
			t.violate("no user is left whose state is certain")
			return
		}
		r := t.replicas[rand.IntN(len(t.replicas))]
		kind, began := signsIn, time.Now()
		var a answer
		if u.live != nil && rand.IntN(2) == 0 {
			kind, a = revokes, revoke(r, u.live.text)
		} else {
			a = signIn(r, u.name)
		}
		t.count(kind, a)
		done := a.status == http.StatusOK && a.err == ""
		t.books.end(u, done, a.text, began)
		pause(ctx, map[bool]time.Duration{true: 50 * time.Millisecond, false: time.Second}[done])
	}
}

// lookAtTokens validates random tokens, valid and ended ones.
func (t *trialRun) lookAtTokens(ctx context.Context) {
	for ctx.Err() == nil {
		if token, change := t.books.draw(); token != nil {
			t.look(t.replicas[rand.IntN(len(t.replicas))], token, change)
		}
		pause(ctx, 150*time.Millisecond)
	}
}

// look validates a token, and reports whether the answer decided about it.
func (t *trialRun) look(r *replica, token *token, change int) bool {
	a := validate(r, token.text)
	t.count(validates, a)
	if a.err != "" || a.status == http.StatusServiceUnavailable {
		return false
	}
	found := t.books.judge(token, change, a.began, a.status == http.StatusOK, r.leeway)
	if found == "" {
		return true
	}
	t.figures.mu.Lock()
	age := t.struck.Sub(token.issued)
	t.figures.mu.Unlock()
	// A token issued more than a second before the fault has reached every standby.
	if t.keeps || found == lost && age > time.Second {
		t.violate("%s (issued %v before the fault; cached %t)", found, age, r.cached)
		return true
	}
	t.figures.mu.Lock()
	defer t.figures.mu.Unlock()
	t.lost++
	return true
}

// lookAtAll validates all tokens whose state is certain, at each replica.
func (t *trialRun) lookAtAll() {
	time.Sleep(lease)
	for _, token := range t.books.all() {
		for _, r := range t.replicas {
			for tries := 0; tries < 3 && !t.look(r, token, token.of.change); tries++ {
			}
		}
	}
}

// probe sends requests to one replica all the time, to measure how soon it works
// again.
func (t *trialRun) probe(ctx context.Context, r *replica, name, steady string) {
	var asking sync.WaitGroup
	defer asking.Wait()
	asking.Go(func() {
		for ctx.Err() == nil {
			a := validate(r, steady)
			if a.status == http.StatusUnauthorized {
				a.err = "401 for a token from long before the fault"
			}
			t.count(validates, a)
			pause(ctx, 25*time.Millisecond)
		}
	})
	for ctx.Err() == nil {
		t.count(signsIn, signIn(r, name))
		pause(ctx, 50*time.Millisecond)
	}
}

// watchCache records when a cache was last seen not serving.
func (t *trialRun) watchCache(ctx context.Context) {
	for ctx.Err() == nil {
		for _, r := range t.replicas {
			if r.cached && !r.auth.CacheStats().FeedAlive {
				t.mu.Lock()
				t.asleep = time.Now()
				t.mu.Unlock()
			}
		}
		pause(ctx, 5*time.Millisecond)
	}
}

// awaitCalm returns when no request has failed for three seconds, and the cache
// serves. It gives up after patience.
func (t *trialRun) awaitCalm(ctx context.Context, back time.Time) {
	const calm = 3 * time.Second
	for time.Since(back) < patience && ctx.Err() == nil {
		last := back
		t.figures.mu.Lock()
		for _, at := range t.lastTrouble {
			last = latest(last, at)
		}
		t.figures.mu.Unlock()
		t.mu.Lock()
		last = latest(last, t.asleep)
		t.mu.Unlock()
		if time.Since(last) > calm {
			return
		}
		pause(ctx, 50*time.Millisecond)
	}
}

func latest(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// after returns how long after the server's return the last failure was.
func after(back, last time.Time) time.Duration { return max(0, last.Sub(back)) }

func (t *trialRun) cached() bool { return t.replicas[len(t.replicas)-1].cached }

// head is the header of the table.
const head = `| engine | what happens | away, s | 200 (or a right 401) | 503 | slowest answer, s | confirmed changes lost | sign-in, s | validation, s | revocation, s | cache, s |
|---|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|
`

func (t *trialRun) row(back time.Time) string {
	cache := "-"
	if t.cached() {
		cache = late(back, t.asleep)
	}
	losses := fmt.Sprintf("%d of %d", t.lost, t.confirmed)
	return fmt.Sprintf("| %s | %s | %s | %d | %d | %s | %s | %s | %s | %s | %s |\n", t.engine, t.fault,
		seconds(back.Sub(t.struck)), t.right, t.unavailable, seconds(t.slowest), losses,
		late(back, t.lastTrouble[signsIn]), late(back, t.lastTrouble[validates]),
		late(back, t.lastTrouble[revokes]), cache)
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.1f", d.Seconds()) }

// late formats the time from the server's return to the last failure, in seconds.
func late(back, last time.Time) string {
	d := after(back, last)
	if d > patience-time.Second {
		return "> " + seconds(patience)
	}
	return seconds(d)
}

// judge returns the violations.
func (t *trialRun) judge(back time.Time) []string {
	wrong := t.wrong
	if t.slowest > slowest {
		wrong = append(wrong, fmt.Sprintf("an answer took %v", t.slowest))
	}
	if t.unavailable == 0 {
		wrong = append(wrong, "no request failed: the fault had no effect")
	}
	for kind, at := range t.lastTrouble {
		if late := after(back, at); late > recovery && !t.late {
			wrong = append(wrong, fmt.Sprintf("%s: the last 503 was %v after the server was back", kind, late))
		}
	}
	if late := after(back, t.asleep); t.cached() && late > recovery && !t.late {
		wrong = append(wrong, fmt.Sprintf("the cache served again only %v after the server was back", late))
	}
	return wrong
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
