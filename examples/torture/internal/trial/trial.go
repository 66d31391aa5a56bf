// Package trial has what all trials share: their environment and the number of
// replicas.
package trial

import (
	"testing"

	"github.com/bearerkit/bearerkit/examples/torture/internal/store"
)

// A Trial tries to break a promise in one way.
type Trial struct {
	Name, About string
	// Fits reports whether the trial can run on the storage. If it is nil, the trial
	// can run on each storage.
	Fits func(*store.Backend) bool
	// Run runs until [Env.Over], and reports violations to the [Env]. It fails the
	// [testing.TB] only if an error kept it from running.
	Run func(tb testing.TB, e *Env)
}
