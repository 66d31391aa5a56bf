package storagetest_test

import (
	"context"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/bearerkit/bearerkit/storage/memory"
	"github.com/bearerkit/bearerkit/storage/storagetest"
	"github.com/bearerkit/bearerkit/tokenauth"
)

// A registry keeps clients in memory. It changes a client and then ends its
// tokens, unless disableBroken or deleteBroken replaces that.
type registry struct {
	tokens                      memory.Store
	mu                          sync.Mutex
	all                         map[string]tokenauth.Client
	disableBroken, deleteBroken func(change, end func() error) error
}

func (r *registry) CreatePublic(_ context.Context, c tokenauth.Client) error {
	r.set(func() { r.all[c.ID] = c })
	return nil
}

func (r *registry) FindClient(_ context.Context, id string) (tokenauth.Client, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c, ok := r.all[id]
	if !ok {
		return c, tokenauth.ErrNotFound
	}
	return c, nil
}

func (r *registry) set(change func()) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.all == nil {
		r.all = make(map[string]tokenauth.Client)
	}
	change()
	return nil
}

func (r *registry) SetDisabled(ctx context.Context, id string, disabled bool) error {
	return r.end(ctx, id, func() { r.all[id] = tokenauth.Client{ID: id, Disabled: disabled} }, r.disableBroken)
}

func (r *registry) Delete(ctx context.Context, id string) error {
	return r.end(ctx, id, func() { delete(r.all, id) }, r.deleteBroken)
}

func (r *registry) end(ctx context.Context, id string, change func(), broken func(change, end func() error) error) error {
	set := func() error { return r.set(change) }
	end := func() error { return r.tokens.RevokeClient(ctx, id) }
	if broken != nil {
		return broken(set, end)
	}
	if err := set(); err != nil {
		return err
	}
	return end()
}

func TestRunClientsDetectsBrokenRegistries(t *testing.T) {
	t.Parallel()
	// Like a transaction that deletes the tokens, and commits the change later.
	endFirst := func(change, end func() error) error {
		if err := end(); err != nil {
			return err
		}
		time.Sleep(time.Millisecond)
		return change()
	}
	onlyChange := func(change, _ func() error) error { return change() }
	for _, test := range []struct {
		name            string
		disable, delete func(change, end func() error) error
		rules           []string // the rules that must fail; no others may
	}{
		{"none", nil, nil, nil},
		{"ends the tokens before it disables", endFirst, nil, []string{"ClientDisableRace"}},
		{"ends the tokens before it deletes", nil, endFirst, []string{"ClientDeleteRace"}},
		{"disables but ends no token", onlyChange, nil, []string{"ClientDisableRace", "ClientEnds"}},
		{"deletes but ends no token", nil, onlyChange, []string{"ClientDeleteRace", "ClientEnds"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			found := storagetest.CheckClients(t.Context(), func() (tokenauth.Storage, storagetest.Registry) {
				r := &registry{disableBroken: test.disable, deleteBroken: test.delete}
				return &r.tokens, r
			})
			if got := slices.Sorted(maps.Keys(found)); !slices.Equal(got, test.rules) {
				t.Errorf("got failures of the rules %q, want %q: %v", got, test.rules, found)
			}
		})
	}
}
