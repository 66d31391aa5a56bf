package history

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/bearerkit/bearerkit/examples/torture/internal/store"
	"github.com/bearerkit/bearerkit/examples/torture/internal/trial/trialtest"
	"github.com/bearerkit/bearerkit/internal/throwaway"
	"github.com/bearerkit/bearerkit/storage/memory"
	"github.com/bearerkit/bearerkit/tokenauth"
)

// A full storage stores no token, so that there is nothing to look up.
type full struct{ tokenauth.Storage }

func (full) Replace(context.Context, tokenauth.Token) error { return errors.New("full") }

// A trial of batches in which none formed is no proof, and says so.
func TestBatchesMustForm(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ name, storage, says string }{
		{"no look-up", "memory", "did not test anything"},
		{"no BatchFinder", "sqlite", "is no BatchFinder"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			b := &store.Backend{Name: test.storage, Connect: func(testing.TB) tokenauth.Storage { return full{new(memory.Store)} }}
			e := trialtest.Env(t, b, nil, 100*time.Millisecond)
			err := throwaway.Outside(t.Context(), func(tb testing.TB) { Batches(tb, e) })
			if err == nil || !strings.Contains(err.Error(), test.says) {
				t.Errorf("the trial returned %v, want an error that says %q", err, test.says)
			}
		})
	}
}
