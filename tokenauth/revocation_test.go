package tokenauth_test

import (
	"context"
	"errors"
	"fmt"
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

// An outbox holds a host's users and clients, and queues their changes. It
// returns two changes per page. Several Services may share it.
type outbox struct {
	mu      sync.Mutex
	stamps  map[string]string // by user
	queue   []tokenauth.Revocation
	changes int
	// before is called at the start of each call, with the user or client ID or
	// "".
	before func(ctx context.Context, method, id string) error
}

func (d *outbox) step(ctx context.Context, method, id string) error {
	d.mu.Lock()
	before := d.before
	d.mu.Unlock()
	if before == nil {
		return nil
	}
	return before(ctx, method, id)
}

// steps sets the function before.
func (d *outbox) steps(before func(ctx context.Context, method, id string) error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.before = before
}

func (d *outbox) Authenticate(_ context.Context, c tokenauth.Credentials) (tokenauth.Principal, error) {
	return d.principal(c.UserName), nil
}

func (d *outbox) principal(id string) tokenauth.Principal {
	d.mu.Lock()
	defer d.mu.Unlock()
	return tokenauth.Principal{UserID: id, UserName: id, Stamp: d.stamps[id]}
}

func (d *outbox) Recheck(ctx context.Context, p tokenauth.Principal) error {
	if err := d.step(ctx, "Recheck", p.UserID); err != nil {
		return err
	}
	if d.principal(p.UserID).Stamp != p.Stamp {
		return tokenauth.ErrRejected
	}
	return nil
}

func (d *outbox) FindClient(_ context.Context, id string) (tokenauth.Client, error) {
	return tokenauth.Client{ID: id}, nil
}

// change commits a change of a user or a client, and queues it.
func (d *outbox) change(userID, clientID string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.changes++
	if d.stamps == nil {
		d.stamps = make(map[string]string)
	}
	change := fmt.Sprint(d.changes)
	if userID != "" {
		d.stamps[userID] = change
	}
	d.queue = slices.DeleteFunc(d.queue, func(r tokenauth.Revocation) bool { return r.UserID == userID && r.ClientID == clientID })
	d.queue = append(d.queue, tokenauth.Revocation{UserID: userID, ClientID: clientID, Change: change})
}

func (d *outbox) queued() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.queue)
}

func (d *outbox) PendingRevocations(ctx context.Context, after tokenauth.Revocation) ([]tokenauth.Revocation, error) {
	if err := d.step(ctx, "PendingRevocations", ""); err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	sorted := slices.Clone(d.queue)
	slices.SortFunc(sorted, func(a, b tokenauth.Revocation) int { return strings.Compare(a.UserID+a.ClientID, b.UserID+b.ClientID) })
	sorted = slices.DeleteFunc(sorted, func(r tokenauth.Revocation) bool { return r.UserID+r.ClientID <= after.UserID+after.ClientID })
	return sorted[:min(2, len(sorted))], nil
}

func (d *outbox) RemoveRevocation(ctx context.Context, r tokenauth.Revocation) error {
	if err := d.step(ctx, "RemoveRevocation", r.UserID+r.ClientID); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.queue = slices.DeleteFunc(d.queue, func(queued tokenauth.Revocation) bool { return queued.Change == r.Change })
	return nil
}

var _ interface {
	tokenauth.Authenticator
	tokenauth.Rechecker
	tokenauth.ClientRegistry
	tokenauth.RevocationQueue
} = (*outbox)(nil)

// runIn runs a Service in the current bubble until the test ends.
func runIn(t *testing.T, s tokenauth.Storage, d *outbox, o *tokenauth.Options) *tokenauth.Service {
	t.Helper()
	auth := newService(t, s, d, o)
	ctx, cancel := context.WithCancel(t.Context())
	ran := make(chan struct{})
	go func() { auth.Run(ctx); close(ran) }()
	t.Cleanup(func() { cancel(); <-ran })
	synctest.Wait()
	return auth
}

// onlyRevokes is a storage without List.
type onlyRevokes struct {
	tokenauth.Storage
	tokenauth.BulkRevoker
}

// Run ends the tokens that were issued before a change, within one round, in
// each kind of storage. A token issued after the change stays valid.
func TestRunEndsTokensAfterAChange(t *testing.T) {
	t.Parallel()
	for name, storage := range map[string]func() tokenauth.Storage{
		"a storage with List": func() tokenauth.Storage { return new(memory.Store) },
		"a storage without List": func() tokenauth.Storage {
			s := new(memory.Store)
			return onlyRevokes{struct{ tokenauth.Storage }{s}, s}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				d := new(outbox)
				auth := runIn(t, storage(), d, &tokenauth.Options{Clients: d})
				const users = 5 // needs three pages
				var old []string
				for i := range users {
					old = append(old, issue(t, auth, d.principal(fmt.Sprint("user", i)), "web"), issue(t, auth, d.principal(fmt.Sprint("user", i)), "mobile"))
				}
				others := issue(t, auth, d.principal("bystander"), "mobile")
				for i := range users {
					d.change(fmt.Sprint("user", i), "")
				}
				fresh := issue(t, auth, d.principal("user0"), "web")
				time.Sleep(time.Second)
				synctest.Wait()
				for i, accessToken := range old[1:] { // the first token was replaced
					if i == 0 && name == "a storage with List" {
						expect(t, auth, fresh, "valid")
					}
					expect(t, auth, accessToken, "invalid")
				}
				expect(t, auth, others, "valid")

				fresh = issue(t, auth, d.principal("user1"), "web")
				d.change("", "mobile")
				time.Sleep(time.Second)
				synctest.Wait()
				expect(t, auth, others, "invalid")
				expect(t, auth, fresh, "valid")

				// The same user changes again while the first change is queued.
				d.change("user1", "")
				time.Sleep(time.Second)
				synctest.Wait()
				expect(t, auth, fresh, "invalid")
				if n := d.queued(); n != users+1 {
					t.Errorf("%d revocations are queued, want one for each user and client", n)
				}
				fresh = issue(t, auth, d.principal("user1"), "web")
				time.Sleep(12 * time.Second)
				synctest.Wait()
				if n := d.queued(); n != 0 {
					t.Errorf("%d revocations are still queued", n)
				}
				expect(t, auth, fresh, "valid")
			})
		})
	}
}

// Each Service ends the tokens in its own storage. This includes a Service that
// starts a few seconds after the others, and one that was down for days.
func TestEachServiceSeesARevocation(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := new(outbox)
		storages := []*memory.Store{new(memory.Store), new(memory.Store), new(memory.Store)}
		var tokens []string
		for _, s := range storages {
			tokens = append(tokens, issue(t, newService(t, s, d, nil), d.principal("alice"), ""))
		}
		d.change("alice", "")
		time.Sleep(5 * 24 * time.Hour) // all Services are down
		for i, s := range storages[:2] {
			expect(t, runIn(t, s, d, nil), tokens[i], "invalid")
		}
		time.Sleep(9 * time.Second) // the revocation stays queued for a while
		expect(t, runIn(t, storages[2], d, nil), tokens[2], "invalid")
		time.Sleep(3 * time.Second)
		synctest.Wait()
		if n := d.queued(); n != 0 {
			t.Errorf("%d revocations are still queued", n)
		}
	})
}

// A Service whose storage failed for a while ends the tokens when the storage
// works again, although another Service has removed the revocation from the
// queue.
func TestRevocationSurvivesRemovalByAnotherService(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d, storage := new(outbox), new(scripted)
		var down atomic.Bool
		storage.before = func(context.Context, string) error {
			if down.Load() {
				return errors.New("connection refused")
			}
			return nil
		}
		runIn(t, new(memory.Store), d, nil)
		auth := runIn(t, storage, d, nil)
		accessToken := issue(t, auth, d.principal("alice"), "")
		down.Store(true)
		d.change("alice", "")
		time.Sleep(time.Minute)
		synctest.Wait()
		if n := d.queued(); n != 0 {
			t.Errorf("%d revocations are queued, want 0, or the test proves nothing", n)
		}
		down.Store(false)
		time.Sleep(2 * time.Second)
		expect(t, auth, accessToken, "invalid")
	})
}

// Each failing step is logged once and retried until it works. A revocation is
// removed only after its tokens have ended.
func TestRevocationsSurviveFailures(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		method string
		fail   func() error
	}{
		{"PendingRevocations", func() error { return errors.New("connection refused") }},
		{"PendingRevocations", func() error { panic("a bug of the host's") }},
		{"Recheck", func() error { return errors.New("connection refused") }},
		{"Recheck", func() error { panic("a bug of the host's") }},
		{"RevokeClient", func() error { return errors.New("connection refused") }},
		{"RemoveRevocation", func() error { return errors.New("connection refused") }},
	} {
		t.Run(test.method, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				d, storage := new(outbox), new(failingClients)
				logger, printed := logInto()
				auth := runIn(t, storage, d, &tokenauth.Options{Clients: d, Logger: logger})
				ofUser, ofClient := issue(t, auth, d.principal("alice"), "web"), issue(t, auth, d.principal("bob"), "mobile")
				storage.fail = func() error { return d.step(t.Context(), "RevokeClient", "") }
				d.steps(func(_ context.Context, method, _ string) error {
					if method == test.method {
						return test.fail()
					}
					return nil
				})
				d.change("alice", "")
				d.change("", "mobile")
				time.Sleep(time.Hour)
				synctest.Wait()
				if n := strings.Count(printed.String(), "level=ERROR"); n != 1 {
					t.Errorf("%d errors were logged in an hour, want 1: %s", n, printed)
				}
				if d.queued() == 0 {
					t.Error("a revocation was removed although a step failed")
				}
				d.steps(nil)
				time.Sleep(time.Second)
				synctest.Wait()
				expect(t, auth, ofUser, "invalid")
				expect(t, auth, ofClient, "invalid")
				time.Sleep(12 * time.Second)
				synctest.Wait()
				if d.queued() != 0 || strings.Count(printed.String(), "works again") != 1 {
					t.Errorf("%d revocations are queued, want 0; want one recovery in the log: %s", d.queued(), printed)
				}
			})
		})
	}
}

// failingClients is a storage whose RevokeClient can fail.
type failingClients struct {
	memory.Store
	fail func() error
}

func (s *failingClients) RevokeClient(ctx context.Context, c string) error {
	if s.fail != nil {
		if err := s.fail(); err != nil {
			return err
		}
	}
	return s.Store.RevokeClient(ctx, c)
}

// A backlog is a queue whose revocations are never removed.
type backlog struct {
	*outbox
	pending []tokenauth.Revocation
}

func (b backlog) PendingRevocations(_ context.Context, after tokenauth.Revocation) ([]tokenauth.Revocation, error) {
	return b.pending[slices.Index(b.pending, after)+1:], nil
}

// The values of Revocation.Change may repeat: between users, and between users
// and clients.
func TestRevocationChangeValuesMayRepeat(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		users := backlog{new(outbox), []tokenauth.Revocation{{UserID: "alice", Change: "1"}, {UserID: "bob", Change: "1"}}}
		clients := backlog{new(outbox), []tokenauth.Revocation{{ClientID: "web", Change: "1"}}}
		auth := newService(t, new(memory.Store), users, &tokenauth.Options{Clients: clients})
		var tokens []string
		for user, client := range map[string]string{"alice": "mobile", "bob": "mobile", "carol": "web"} {
			tokens = append(tokens, issue(t, auth, tokenauth.Principal{UserID: user}, client))
		}
		users.change("alice", "") // so that Recheck rejects the old principal
		users.change("bob", "")
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		auth.Run(ctx)
		for _, accessToken := range tokens {
			expect(t, auth, accessToken, "invalid")
		}
	})
}

// A Revocation without a user or a client ends no tokens, and is logged.
// Without a registry of clients, an empty client ID would mean all tokens.
func TestEmptyRevocationEndsNoTokens(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		users := backlog{new(outbox), []tokenauth.Revocation{{Change: "1"}}}
		logger, printed := logInto()
		auth := newService(t, new(memory.Store), users, &tokenauth.Options{Logger: logger})
		accessToken := issue(t, auth, tokenauth.Principal{UserID: "alice"}, "")
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		auth.Run(ctx)
		expect(t, auth, accessToken, "valid")
		if !strings.Contains(printed.String(), "neither a user nor a client") {
			t.Errorf("logged %s, want an error about the empty revocation", printed)
		}
	})
}

// If the storage has no RevokeClient, that is logged once. The revocation stays
// queued for a Service that can end the client's tokens.
func TestRevocationNeedsABulkRevoker(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := new(outbox)
		logger, printed := logInto()
		runIn(t, struct{ tokenauth.Storage }{new(memory.Store)}, d, &tokenauth.Options{Clients: d, Logger: logger})
		d.change("", "web")
		time.Sleep(time.Hour)
		synctest.Wait()
		if strings.Count(printed.String(), "is not a BulkRevoker") != 1 || d.queued() != 1 {
			t.Errorf("%d revocations are queued, want 1; want one error in the log: %s", d.queued(), printed)
		}
	})
}

// Three slow steps do not delay the revocations of other users: ending many
// tokens of a client, the Recheck of a locked user, and a removal that waits.
func TestSlowRevocationsDelayNoUser(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d, storage := new(outbox), new(failingClients)
		auth := runIn(t, storage, d, &tokenauth.Options{Clients: d})
		storage.fail = func() error { time.Sleep(time.Hour); return nil }
		d.steps(func(ctx context.Context, method, id string) error {
			if method == "RemoveRevocation" || strings.HasPrefix(id, "locked") {
				return hang(ctx)
			}
			return nil
		})
		d.change("", "web")
		d.change("removed", "")
		time.Sleep(15 * time.Second)
		for i := range 20 {
			issue(t, auth, d.principal(fmt.Sprint("locked", i)), "")
			d.change(fmt.Sprint("locked", i), "")
		}
		time.Sleep(15 * time.Second) // each slow step was attempted
		for i := range 20 {
			time.Sleep(time.Duration(i) * 100 * time.Millisecond)
			user := fmt.Sprint("user", i)
			accessToken := issue(t, auth, d.principal(user), "")
			d.change(user, "")
			time.Sleep(3 * time.Second)
			expect(t, auth, accessToken, "invalid")
		}
	})
}

// A queue of revocations without a call of Run is logged as a warning.
func TestWarnsIfRunIsNotCalledForAQueue(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const missed = "Service.Run was not called"
		logger, printed := logInto()
		options := &tokenauth.Options{Logger: logger}
		auth := newService(t, new(memory.Store), new(outbox), options)
		plain := newService(t, new(memory.Store), new(staff), options)
		running := runIn(t, new(memory.Store), new(outbox), options)
		issueAll := func(services ...*tokenauth.Service) {
			for _, auth := range services {
				issue(t, auth, alice(), "")
			}
		}
		time.Sleep(30*time.Second - 1)
		issueAll(auth, plain, running)
		if strings.Contains(printed.String(), missed) {
			t.Errorf("logged too early: %s", printed)
		}
		time.Sleep(time.Nanosecond)
		issueAll(plain, running)
		if strings.Contains(printed.String(), missed) {
			t.Errorf("warned without a queue, or although Run runs: %s", printed)
		}
		issueAll(auth, auth)
		if n := strings.Count(printed.String(), missed); n != 1 || !strings.Contains(printed.String(), "level=WARN") {
			t.Errorf("logged %d times, want 1: %s", n, printed)
		}
	})
}
