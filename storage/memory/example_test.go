package memory_test

import (
	"context"
	"fmt"

	"github.com/bearerkit/bearerkit/storage/memory"
	"github.com/bearerkit/bearerkit/tokenauth"
)

// The zero value is empty and ready to use.
func Example() {
	var store memory.Store
	_, err := store.Find(context.Background(), tokenauth.SlotOf("17", ""))
	fmt.Println(err)
	// Output: tokenauth: not found
}
