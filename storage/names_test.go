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

// Two services in one storage warn of each other, in any order of starting. They
// do not warn if they have the same name, or if one stopped days ago.
func TestRunWarnsOfAnotherServiceInTheStorage(t *testing.T) {
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
			// This one stopped three days before the others start.
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
					t.Errorf("the log of %s has an error or names the stopped service: %s", s.name, printed)
				}
				if n := strings.Count(printed, "level=WARN"); n != map[bool]int{true: 1}[s != gone] {
					t.Errorf("the log of %s has %d warnings: %s", s.name, n, printed)
				}
				if n := strings.Count(printed, "tokenauth:"); n != strings.Count(printed, "TablePrefix") {
					t.Errorf("the log of %s has other messages too: %s", s.name, printed)
				}
			}
			// The stored names do not affect the tokens of users.
			if issued, err := orders.auth.Issue(t.Context(), tokenauth.Principal{UserID: "17"}, nil); err != nil {
				t.Error(err)
			} else if tokens, err := billing.auth.Tokens(t.Context(), "17"); err != nil || len(tokens) != 1 || tokens[0].Digest != issued.Token.Digest {
				t.Errorf("Tokens returned %v, error %v, want the issued token", tokens, err)
			}
		})
	}
}

// A namedService is a running Service, and its log.
type namedService struct {
	auth    *tokenauth.Service
	storage tokenauth.Storage
	name    string

	mu  sync.Mutex
	log bytes.Buffer
}

// runNamed runs a service whose clock starts at now, until the returned function
// is called or the test ends.
func runNamed(t *testing.T, storage tokenauth.Storage, name string, now time.Time) (*namedService, func()) {
	t.Helper()
	s := &namedService{storage: storage, name: name}
	began := time.Now()
	var err error
	s.auth, err = tokenauth.New(storage, rejectAll{}, &tokenauth.Options{
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
	// Run also warns that the clocks differ, which this test does not check.
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

// await waits until the log contains the text, or, if the text is "stored", until
// the storage has the service's name.
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
			t.Fatalf("service %s did not get to %q, log: %s", s.name, text, s)
		}
	}
}

// rejectAll is an Authenticator that rejects every sign-in.
type rejectAll struct{}

func (rejectAll) Authenticate(context.Context, tokenauth.Credentials) (tokenauth.Principal, error) {
	return tokenauth.Principal{}, tokenauth.ErrRejected
}
