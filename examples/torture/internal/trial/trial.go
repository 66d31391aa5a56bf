// Package trial is what all trials share: the env that each works with, and the
// number of replicas.
package trial

import (
	"testing"

	"github.com/bearerkit/bearerkit/examples/torture/internal/store"
)

// A Trial is a way to try to break a promise.
type Trial struct {
	Name, About string
	// Fits reports whether the trial can run on the storage. Nil is any storage.
	Fits func(*store.Backend) bool
	// Run runs until the env is over, and reports violations to the env. It fails the
	// testing.TB only if something kept it from trying.
	Run func(tb testing.TB, e *Env)
}
