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

// A full is a storage that stores no token, so that no trial can look one up.
type full struct{ tokenauth.Storage }

func (full) Replace(context.Context, tokenauth.Token) error { return errors.New("the storage is full") }

// The trial must fail if it tested no batch.
func TestBatchesMustForm(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ name, storage, says string }{
		{"no look-up", "memory", "tested nothing"},
		{"no BatchFinder", "sqlite", "is not a BatchFinder"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			b := &store.Backend{Name: test.storage, Connect: func(testing.TB) tokenauth.Storage { return full{new(memory.Store)} }}
			e := trialtest.Env(t, b, nil, 100*time.Millisecond)
			err := throwaway.Outside(t.Context(), func(tb testing.TB) { Batches(tb, e) })
			if err == nil || !strings.Contains(err.Error(), test.says) {
				t.Errorf("the trial returned %v, want an error with %q", err, test.says)
			}
		})
	}
}
