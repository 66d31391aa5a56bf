package password

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"net/netip"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bearerkit/bearerkit/storage/memory"
	"github.com/bearerkit/bearerkit/tokenauth"
	"github.com/bearerkit/bearerkit/tokenauth/internal/wire"
)

// A blocker is a hash that takes until it is let go.
type blocker struct {
	running, most, runs atomic.Int32
	release             chan struct{}
}

func (*blocker) cheap() bool       { return false }
func (b *blocker) dummy() verifier { return b }
func (*blocker) kind() string      { return "blocker" }

func (b *blocker) verify(string) (bool, error) {
	n := b.running.Add(1)
	defer b.running.Add(-1)
	b.runs.Add(1)
	raise(&b.most, n)
	<-b.release
	return false, nil
}

func TestGateHashesOnHalfOfTheProcessors(t *testing.T) {
	t.Parallel()
	u, err := New(nothing, nil)
	if err != nil {
		t.Fatal(err)
	}
	n := max(1, runtime.GOMAXPROCS(0)/2)
	if got := u.gate.idle; got != n {
		t.Errorf("%d passwords are hashed at once, not %d", got, n)
	}
	if got := u.gate.room; got != n+min(256*n, 1024) {
		t.Errorf("%d sign-ins are let in", got)
	}
	if u, err = New(nothing, &Options{MaxHashing: 3, MaxWaiting: 5}); err != nil {
		t.Fatal(err)
	}
	if u.gate.idle != 3 || u.gate.room != 3+5 {
		t.Errorf("%d are hashed at once and %d let in, not 3 and 8", u.gate.idle, u.gate.room)
	}
	for hashing, waiting := range map[int]int{1: 256, 2: 512, 4: 1024, 64: 1024} {
		if got := defaultWaiting(hashing); got != waiting {
			t.Errorf("%d wait behind %d, not %d", got, hashing, waiting)
		}
	}
}

func TestHashingIsBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const places, waiting = 3, 6
		u, err := New(nothing, &Options{MaxHashing: places, MaxWaiting: waiting, Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		dummy := &blocker{release: make(chan struct{})}
		u.standIn(dummy)
		results := make(chan error, places+waiting-1)
		for range cap(results) {
			go func() {
				_, err := signIn(t.Context(), u, "alice", "correct horse")
				results <- err
			}()
		}
		synctest.Wait()
		if n := dummy.running.Load(); int(n) != places {
			t.Errorf("%d hashes run at once, not %d", n, places)
		}

		// Those that wait do so for as long as it takes: the timeout is the look-up's.
		time.Sleep(time.Hour)
		select {
		case err := <-results:
			t.Fatalf("one is back before any hash was done: %v", err)
		default:
		}

		// But they need not: a client that went away costs nothing.
		ctx, cancel := context.WithCancel(t.Context())
		gone := make(chan error, 1)
		go func() {
			_, err := signIn(ctx, u, "alice", "correct horse")
			gone <- err
		}()
		synctest.Wait()
		select {
		case err := <-gone:
			t.Fatalf("there was a place for one more: %v", err)
		default:
		}
		// The queue is full with it, and has room again when it has left.
		if _, err := signIn(t.Context(), u, "alice", "correct horse"); !errors.Is(err, errBusy) {
			t.Errorf("one too many gets %v", err)
		}
		cancel()
		if err := <-gone; !errors.Is(err, context.Canceled) || errors.Is(err, tokenauth.ErrRejected) {
			t.Errorf("whoever leaves gets %v", err)
		}
		timed, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		began := time.Now()
		if _, err := signIn(timed, u, "alice", "correct horse"); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != 3*time.Second {
			t.Errorf("whoever has three seconds gets %v after %v", err, time.Since(began))
		}

		close(dummy.release)
		for range cap(results) {
			rejected(t, <-results)
		}
		if n := dummy.most.Load(); int(n) != places {
			t.Errorf("%d hashes ran at once, not %d", n, places)
		}
		if n := dummy.runs.Load(); int(n) != cap(results) {
			t.Errorf("%d hashes ran, not %d: those who left cost something", n, cap(results))
		}
		// Every place is free again.
		for range places + waiting + 1 {
			_, err := signIn(t.Context(), u, "alice", "correct horse")
			rejected(t, err)
		}
	})
}

// Whoever comes in vain is told at once, before any look-up, and the operator
// once a minute.
func TestBusyUsersRefuseBeforeTheLookup(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var lookups atomic.Int32
		var log bytes.Buffer
		u, err := New(func(context.Context, string) (Account, error) {
			lookups.Add(1)
			return Account{}, tokenauth.ErrNotFound
		}, &Options{MaxHashing: 1, MaxWaiting: 4, Logger: slog.New(slog.NewTextHandler(&log, nil))})
		if err != nil {
			t.Fatal(err)
		}
		dummy := &blocker{release: make(chan struct{})}
		u.standIn(dummy)
		var wg sync.WaitGroup
		for range 5 {
			wg.Go(func() {
				_, err := signIn(t.Context(), u, "alice", "correct horse")
				rejected(t, err)
			})
		}
		synctest.Wait()
		crowd := func(n int) {
			began := time.Now()
			for range n {
				p, err := signIn(t.Context(), u, "alice", "a canary")
				if !errors.Is(err, errBusy) || !errors.Is(err, tokenauth.ErrBusy) || errors.Is(err, tokenauth.ErrRejected) || p.UserID != "" {
					t.Fatalf("one too many gets %+v, %v", p, err)
				}
			}
			if took := time.Since(began); took != 0 {
				t.Errorf("%d refusals waited %v", n, took)
			}
		}
		crowd(1000)
		if n := lookups.Load(); n != 5 {
			t.Errorf("%d look-ups were made for 5 sign-ins", n)
		}
		if text := log.String(); strings.Count(text, "\n") != 1 || !strings.Contains(text, "suppressed=0") || strings.Contains(text, "canary") {
			t.Errorf("the log says %s", text)
		}
		time.Sleep(time.Minute)
		log.Reset()
		crowd(1000)
		if text := log.String(); strings.Count(text, "\n") != 1 || !strings.Contains(text, "suppressed=999") {
			t.Errorf("a minute later the log says %s", text)
		}
		close(dummy.release)
		wg.Wait()
	})
}

// On a clock that runs, too.
func TestBusyUsersRefuseAtOnce(t *testing.T) {
	t.Parallel()
	u, err := New(nothing, &Options{MaxHashing: 1, MaxWaiting: 1, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	for u.gate.enter(netip.Addr{}) != nil {
	}
	took := make([]time.Duration, 1000)
	for i := range took {
		began := time.Now()
		if _, err := signIn(t.Context(), u, "alice", "correct horse"); !errors.Is(err, errBusy) {
			t.Fatalf("one too many gets %v", err)
		}
		took[i] = time.Since(began)
	}
	slices.Sort(took)
	if median := took[len(took)/2]; median > 20*time.Millisecond {
		t.Errorf("a refusal takes %v", median)
	}
}

// What a host's code does, its panic included, leaves no place taken.
func TestPanicsFreeTheirPlace(t *testing.T) {
	t.Parallel()
	boom := func() { panic("host: boom") }
	for _, test := range []struct {
		name   string
		lookup Lookup
		o      Options
	}{
		{"the lookup", func(context.Context, string) (Account, error) { boom(); return Account{}, nil }, Options{}},
		{"a format", table{"alice": {UserID: "1"}}.lookup, Options{Formats: []format{func(string) func(string) bool { boom(); return nil }}}},
		{"a hash", table{"alice": {UserID: "1"}}.lookup, Options{Formats: []format{func(string) func(string) bool { return func(string) bool { boom(); return true } }}}},
		{"an upgrade", table{"alice": {UserID: "1", Stamp: "s", PasswordHash: cheapHash("correct horse")}}.lookup,
			Options{Upgrade: func(context.Context, string, string, string) error { boom(); return nil }}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			test.o.MaxHashing, test.o.MaxWaiting = 1, 1
			u, err := New(test.lookup, &test.o)
			if err != nil {
				t.Fatal(err)
			}
			for range 5 { // more than there are places
				func() {
					defer func() {
						if p := recover(); p != "host: boom" {
							t.Errorf("it panics with %v", p)
						}
					}()
					_, err := signIn(t.Context(), u, "alice", "correct horse")
					t.Errorf("it returns %v", err)
				}()
			}
			if u.gate.inside != 0 || u.gate.idle != 1 || u.gate.queue.n != 0 {
				t.Errorf("%d are still inside, %d in the queue, and %d of 1 place to hash is free", u.gate.inside, u.gate.queue.n, u.gate.idle)
			}
		})
	}
}

// handler is the token endpoint with these options, and what it logs.
func handler(t *testing.T, u *Authenticator, log *bytes.Buffer) func() *httptest.ResponseRecorder {
	t.Helper()
	auth, err := tokenauth.New(new(memory.Store), u, &tokenauth.Options{Logger: slog.New(slog.NewTextHandler(log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	return func() *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		body := strings.NewReader("grant_type=password&username=alice&password=my+password")
		auth.TokenHandler().ServeHTTP(w, httptest.NewRequest("POST", "/Token", body))
		return w
	}
}

// On the wire, a refusal says when to come again, and it is not the storage's
// trouble that the core would log each time.
func TestBusyIs503(t *testing.T) {
	t.Parallel()
	var core, users bytes.Buffer
	u, err := New(nothing, &Options{MaxHashing: 1, MaxWaiting: 1, Logger: slog.New(slog.NewTextHandler(&users, nil))})
	if err != nil {
		t.Fatal(err)
	}
	for u.gate.enter(netip.MustParseAddr("192.0.2.1")) != nil { // the address of the requests
	}
	post := handler(t, u, &core)
	for range 10 {
		w := post()
		if w.Code != 503 || w.Header().Get("Retry-After") == "" || !strings.Contains(w.Body.String(), `"error":"temporarily_unavailable"`) {
			t.Fatalf("answered %d %v %s", w.Code, w.Header(), w.Body)
		}
	}
	if core.Len() != 0 || strings.Count(users.String(), "\n") != 1 {
		t.Errorf("logged is %s and %s", &core, &users)
	}
}

// A panic in a host's format is a 500, and the next in turn is served.
func TestPanicIs500(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	u, err := New(table{"alice": {UserID: "1", UserName: "alice"}}.lookup, &Options{
		MaxHashing: 1, MaxWaiting: 1,
		Formats: []format{func(string) func(string) bool { return func(text string) bool { panic("host: " + text) } }},
	})
	if err != nil {
		t.Fatal(err)
	}
	post := handler(t, u, &log)
	for range 5 {
		if w := post(); w.Code != 500 {
			t.Fatalf("answered %d %s", w.Code, w.Body)
		}
	}
	if strings.Contains(log.String(), "my password") {
		t.Errorf("the log shows the password: %s", &log)
	}
}

// A counted hash does the work of a real one, and tells how many do at once,
// and the most memory that was in use after one.
type counted struct {
	verifier
	running, most, runs atomic.Int32
	memory              atomic.Int64
}

func (c *counted) verify(password string) (bool, error) {
	n := c.running.Add(1)
	defer c.running.Add(-1)
	c.runs.Add(1)
	raise(&c.most, n)
	matches, err := c.verifier.verify(password)
	raise(&c.memory, inUse())
	return matches, err
}

// raise makes most at least n.
func raise[N int32 | int64](most interface {
	Load() N
	CompareAndSwap(old, new N) bool
}, n N) {
	for {
		if old := most.Load(); n <= old || most.CompareAndSwap(old, n) {
			return
		}
	}
}

// inUse returns the bytes that Go has of the system, garbage that is yet to be
// collected included. It stops nobody, as runtime.ReadMemStats would.
func inUse() int64 {
	m := []metrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
	metrics.Read(m)
	return int64(m[0].Value.Uint64() - m[1].Value.Uint64())
}

// A crowd with passwords of 1 KB: at most so many hashes at once, and so many
// sign-ins waiting, and the memory of no more. Not parallel, for the sake of
// the memory: whatever else runs would count.
func TestCrowdUsesBoundedMemory(t *testing.T) {
	for _, places := range []int{1, 2} {
		t.Run(fmt.Sprint(places), func(t *testing.T) {
			const crowd = 500
			waiting := 4 * places
			u, err := New(nothing, &Options{MaxHashing: places, MaxWaiting: waiting, Logger: slog.New(slog.DiscardHandler)})
			if err != nil {
				t.Fatal(err)
			}
			dummy := &counted{verifier: u.usual}
			u.standIn(dummy)
			password := strings.Repeat("x", wire.MaxPassword)
			debug.FreeOSMemory()
			idle := inUse()

			var wg sync.WaitGroup
			var busy atomic.Int32
			start := make(chan struct{})
			for range crowd {
				wg.Go(func() {
					<-start
					switch _, err := signIn(t.Context(), u, "nobody", password); {
					case errors.Is(err, errBusy):
						busy.Add(1)
					case !errors.Is(err, tokenauth.ErrRejected):
						t.Error(err)
					}
				})
			}
			close(start)
			wg.Wait()

			if n := int(dummy.most.Load()); n > places {
				t.Errorf("%d hashes ran at once, not %d", n, places)
			}
			if n := int(dummy.runs.Load()); n < places+waiting || n+int(busy.Load()) != crowd {
				t.Errorf("%d were hashed and %d refused, of %d", n, busy.Load(), crowd)
			}
			// With more than one at work it is for the collector to say how much
			// of their memory is garbage before it is used again.
			grown := (dummy.memory.Load() - idle) >> 20
			if places == 1 && grown > 19+64 {
				t.Errorf("memory grew by %d MiB, more than %d MiB", grown, 19+64)
			}
			t.Logf("%d hashed, %d refused, %d MiB more", dummy.runs.Load(), busy.Load(), grown)
		})
	}
}
