// Package trial is what the trials have in common: what each is given to work
// with, and how many replicas it has.
package trial

import (
	"testing"

	"github.com/bearerkit/bearerkit/examples/torture/internal/store"
)

// A Trial is a way to try to break a promise.
type Trial struct {
	Name, About string
	// Fits is whether it can be done with the storage; nil for any.
	Fits func(*store.Backend) bool
	// Run tries until the env is over. It reports violations to the env, and
	// fails the testing.TB only for what kept it from trying.
	Run func(tb testing.TB, e *Env)
}
