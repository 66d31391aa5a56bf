package memory_test

import (
	"testing"

	"github.com/bearerkit/bearerkit/storage/memory"
	"github.com/bearerkit/bearerkit/storage/storagetest"
	"github.com/bearerkit/bearerkit/tokenauth"
)

func TestStorage(t *testing.T) {
	t.Parallel()
	storagetest.Run(t, func(*testing.T) tokenauth.Storage { return new(memory.Store) })
}
