package storagetest_test

import (
	"testing"

	"github.com/bearerkit/bearerkit/storage/memory"
	"github.com/bearerkit/bearerkit/storage/storagetest"
	"github.com/bearerkit/bearerkit/tokenauth"
)

// testStorage is the one test that a storage needs. In your package, name it
// TestStorage.
func testStorage(t *testing.T) {
	storagetest.Run(t, func(t *testing.T) tokenauth.Storage {
		// Open a new, empty storage for each rule: a database of its own, or
		// tables with a prefix of their own.
		store := new(memory.Store)
		t.Cleanup(func() {
			// Close the storage and remove its data.
		})
		return store
	})
}

// A storage author calls Run from one test of the storage's package.
func ExampleRun() {
	var t *testing.T // the argument of TestStorage
	testStorage(t)
}
