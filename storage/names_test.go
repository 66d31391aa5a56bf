package storage_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bearerkit/bearerkit/tokenauth"
)

// Two services in one storage notice each other, whichever starts first, unless they
// have the same name or one has stopped days ago.
func TestServicesInOneStorageNoticeEachOther(t *testing.T) {
	t.Parallel()
	storages := map[string]func(*testing.T) func(*testing.T) tokenauth.Storage{"redis": openRedis}
	for engine, dialector := range engines {
		storages[engine] = func(t *testing.T) func(*testing.T) tokenauth.Storage {
			_, db := openStore(t, dialector(t))
			return func(t *testing.T) tokenauth.Storage { return newStore(t, db) }
		}
	}
	for engine, start := range storages {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			open := start(t)
			now := time.Now()
			// Both stop before the others start, three days later.
			gone, ended := runNamed(t, open(t), "gone", now.Add(-72*time.Hour))
			gone.await(t, "stored")
			ended()

			orders, _ := runNamed(t, open(t), "orders", now)
			orders.await(t, "stored")
			replica, _ := runNamed(t, open(t), "orders", now)
			billing, _ := runNamed(t, open(t), "billing", now)
			for _, s := range []*namedService{orders, replica} {
				s.await(t, "other_name=billing")
				s.await(t, "name=orders")
			}
			billing.await(t, "other_name=orders")
			for _, s := range []*namedService{gone, orders, replica, billing} {
				printed := s.String()
				if strings.Contains(printed, "level=ERROR") || strings.Contains(printed, "gone") {
					t.Errorf("logged %s", printed)
				}
				if n := strings.Count(printed, "level=WARN"); n != map[bool]int{true: 1}[s != gone] {
					t.Errorf("%d warnings: %s", n, printed)
				}
				if n := strings.Count(printed, "tokenauth:"); n != strings.Count(printed, "TablePrefix") {
					t.Errorf("logged more than that: %s", printed)
				}
			}
			// The users' tokens are not concerned.
			if issued, err := orders.auth.Issue(t.Context(), tokenauth.Principal{UserID: "17"}, ""); err != nil {
				t.Error(err)
			} else if tokens, err := billing.auth.Tokens(t.Context(), "17"); err != nil || len(tokens) != 1 || tokens[0].Digest != issued.Token.Digest {
				t.Errorf("listed %v, error %v", tokens, err)
			}
		})
	}
}

// A namedService is one that runs, and its log.
type namedService struct {
	auth    *tokenauth.Service
	storage tokenauth.Storage
	name    string

	mu  sync.Mutex
	log bytes.Buffer
}

// runNamed runs a service that takes the time for now, until it is ended.
func runNamed(t *testing.T, storage tokenauth.Storage, name string, now time.Time) (*namedService, func()) {
	t.Helper()
	s := &namedService{storage: storage, name: name}
	began := time.Now()
	var err error
	s.auth, err = tokenauth.New(storage, nobody{}, &tokenauth.Options{
		Name: name, PurgeInterval: time.Second,
		Logger: slog.New(slog.NewTextHandler(s, nil)),
		Now:    func() time.Time { return now.Add(time.Since(began)) },
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { s.auth.Run(ctx) })
	end := func() { cancel(); running.Wait() }
	t.Cleanup(end)
	return s, end
}

func (s *namedService) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	// What Run does not do while the clocks differ is not what is tested.
	if bytes.Contains(b, []byte("the clock of this process differs")) {
		return len(b), nil
	}
	return s.log.Write(b)
}

func (s *namedService) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.log.String()
}

// await waits until the log has the text; or, for "stored", until the storage has
// the name.
func (s *namedService) await(t *testing.T, text string) {
	t.Helper()
	reserved := tokenauth.UserKey([]byte(strings.Repeat("\xFF", 16)))
	has := func() bool {
		if text != "stored" {
			return strings.Contains(s.String(), text)
		}
		stored, err := s.storage.(tokenauth.Lister).List(t.Context(), reserved)
		return err == nil && strings.Contains(fmt.Sprint(stored), s.name)
	}
	for began := time.Now(); !has(); time.Sleep(10 * time.Millisecond) {
		if time.Since(began) > 30*time.Second {
			t.Fatalf("%s: no %q: %s", s.name, text, s)
		}
	}
}

// nobody may sign in.
type nobody struct{}

func (nobody) Authenticate(context.Context, tokenauth.Credentials) (tokenauth.Principal, error) {
	return tokenauth.Principal{}, tokenauth.ErrRejected
}
