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

// A blocker is a hash that blocks until the test releases it.
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
		t.Errorf("%d passwords are hashed at once, want %d", got, n)
	}
	if got := u.gate.room; got != n+min(256*n, 1024) {
		t.Errorf("%d sign-ins may be in progress", got)
	}
	if u, err = New(nothing, &Options{MaxHashing: 3, MaxWaiting: 5}); err != nil {
		t.Fatal(err)
	}
	if u.gate.idle != 3 || u.gate.room != 3+5 {
		t.Errorf("%d passwords are hashed at once and %d sign-ins may be in progress, want 3 and 8", u.gate.idle, u.gate.room)
	}
	for hashing, waiting := range map[int]int{1: 256, 2: 512, 4: 1024, 64: 1024} {
		if got := defaultWaiting(hashing); got != waiting {
			t.Errorf("MaxHashing %d: got a queue of %d, want %d", hashing, got, waiting)
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
			t.Errorf("%d hashes run at once, want %d", n, places)
		}

		// Options.Timeout does not limit the wait: it is for look-ups.
		time.Sleep(time.Hour)
		select {
		case err := <-results:
			t.Fatalf("a sign-in returned before any hash ended: %v", err)
		default:
		}

		// A sign-in whose client disconnects leaves the queue and hashes nothing.
		ctx, cancel := context.WithCancel(t.Context())
		gone := make(chan error, 1)
		go func() {
			_, err := signIn(ctx, u, "alice", "correct horse")
			gone <- err
		}()
		synctest.Wait()
		select {
		case err := <-gone:
			t.Fatalf("a sign-in returned although all places were taken: %v", err)
		default:
		}
		// The queue is now full. It has room again after the sign-in has left.
		if _, err := signIn(t.Context(), u, "alice", "correct horse"); !errors.Is(err, errBusy) {
			t.Errorf("sign-in beyond the queue: got error %v, want errBusy", err)
		}
		cancel()
		if err := <-gone; !errors.Is(err, context.Canceled) || errors.Is(err, tokenauth.ErrRejected) {
			t.Errorf("the sign-in that left got error %v", err)
		}
		timed, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		began := time.Now()
		if _, err := signIn(timed, u, "alice", "correct horse"); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != 3*time.Second {
			t.Errorf("the sign-in with a deadline of 3 s got error %v after %v", err, time.Since(began))
		}

		close(dummy.release)
		for range cap(results) {
			rejected(t, <-results)
		}
		if n := dummy.most.Load(); int(n) != places {
			t.Errorf("%d hashes ran at once, want %d", n, places)
		}
		if n := dummy.runs.Load(); int(n) != cap(results) {
			t.Errorf("%d hashes ran, want %d: canceled sign-ins must not hash", n, cap(results))
		}
		// All places are free again.
		for range places + waiting + 1 {
			_, err := signIn(t.Context(), u, "alice", "correct horse")
			rejected(t, err)
		}
	})
}

// A sign-in beyond the limit is refused at once, before any look-up. The
// warning is logged once a minute.
func TestBusyAuthenticatorRefusesBeforeTheLookup(t *testing.T) {
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
					t.Fatalf("sign-in beyond the limit: got %+v, %v", p, err)
				}
			}
			if took := time.Since(began); took != 0 {
				t.Errorf("%d refusals took %v, want no wait", n, took)
			}
		}
		crowd(1000)
		if n := lookups.Load(); n != 5 {
			t.Errorf("got %d look-ups for 5 sign-ins", n)
		}
		if text := log.String(); strings.Count(text, "\n") != 1 || !strings.Contains(text, "suppressed=0") || strings.Contains(text, "canary") {
			t.Errorf("got log %s", text)
		}
		time.Sleep(time.Minute)
		log.Reset()
		crowd(1000)
		if text := log.String(); strings.Count(text, "\n") != 1 || !strings.Contains(text, "suppressed=999") {
			t.Errorf("a minute later: got log %s", text)
		}
		close(dummy.release)
		wg.Wait()
	})
}

// The same on a real clock.
func TestBusyAuthenticatorRefusesAtOnce(t *testing.T) {
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
			t.Fatalf("sign-in beyond the queue: got error %v, want errBusy", err)
		}
		took[i] = time.Since(began)
	}
	slices.Sort(took)
	if median := took[len(took)/2]; median > 20*time.Millisecond {
		t.Errorf("a refusal took %v", median)
	}
}

// A panic in the host's code must not keep a place taken.
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
			for range 5 { // more often than there are places
				func() {
					defer func() {
						if p := recover(); p != "host: boom" {
							t.Errorf("got panic %v", p)
						}
					}()
					_, err := signIn(t.Context(), u, "alice", "correct horse")
					t.Errorf("got error %v", err)
				}()
			}
			if u.gate.inside != 0 || u.gate.idle != 1 || u.gate.queue.n != 0 {
				t.Errorf("%d sign-ins are in progress, %d in the queue, and %d of 1 place to hash is free", u.gate.inside, u.gate.queue.n, u.gate.idle)
			}
		})
	}
}

// handler returns a func that calls the token endpoint. The Service logs to
// log.
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

// A busy Authenticator is answered by 503 with Retry-After. The Service must
// not log it as a failure of the storage.
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
			t.Fatalf("got status %d, header %v, body %s", w.Code, w.Header(), w.Body)
		}
	}
	if core.Len() != 0 || strings.Count(users.String(), "\n") != 1 {
		t.Errorf("got log %s of the Service and %s of the Authenticator", &core, &users)
	}
}

// A panic in a host's format is answered by 500, and the next sign-in still
// works.
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
			t.Fatalf("got status %d, body %s", w.Code, w.Body)
		}
	}
	if strings.Contains(log.String(), "my password") {
		t.Errorf("the log contains the password: %s", &log)
	}
}

// A counted hash does the work of a real one. It records how many run at once,
// and the most memory in use after any of them.
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

// raise sets most to n if n is larger.
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

// inUse returns the number of bytes that Go uses, including garbage that is not
// collected yet. Unlike runtime.ReadMemStats, it does not stop other
// goroutines.
func inUse() int64 {
	m := []metrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
	metrics.Read(m)
	return int64(m[0].Value.Uint64() - m[1].Value.Uint64())
}

// Many concurrent sign-ins with passwords of 1 KB use bounded memory. The test
// is not parallel, because other tests would use memory, too.
func TestConcurrentSignInsUseBoundedMemory(t *testing.T) {
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
				t.Errorf("%d hashes ran at once, want %d", n, places)
			}
			if n := int(dummy.runs.Load()); n < places+waiting || n+int(busy.Load()) != crowd {
				t.Errorf("%d sign-ins were hashed and %d refused, of %d", n, busy.Load(), crowd)
			}
			// With several hashes at once, the growth depends on when the garbage
			// collector runs.
			grown := (dummy.memory.Load() - idle) >> 20
			if places == 1 && grown > 19+64 {
				t.Errorf("memory grew by %d MiB, want at most %d MiB", grown, 19+64)
			}
			t.Logf("%d hashed, %d refused, %d MiB more", dummy.runs.Load(), busy.Load(), grown)
		})
	}
}
