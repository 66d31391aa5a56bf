// Package plant puts bugs into a storage or the users. A trial has to find each
// that names it.
package plant

import (
	"context"
	"sync"
	"time"

	"github.com/bearerkit/bearerkit/tokenauth"
)

// A Plant is a bug to put into the storage or the users, to prove that it would
// be found.
type Plant struct {
	Name, About string
	// Trials are those that have to find it.
	Trials []string
	// Storage wraps a handle; nil leaves it. All handles of one env share what
	// shared returns for the env.
	Storage func(s tokenauth.Storage, shared *State, seed uint64) tokenauth.Storage
	// Forgetful takes the second look away from the users.
	Forgetful bool
	// Asynchronous lets no commit wait for a standby, where there is one.
	Asynchronous bool
	// Validator validates in place of the Service; nil leaves it.
	Validator func(auth *tokenauth.Service, s tokenauth.Storage) Validator
}

// A Validator is what forgeries are tried on: a Service, or one with a bug.
type Validator interface {
	Validate(ctx context.Context, accessToken string) (tokenauth.Token, error)
}

// A State is what the handles of a planted storage have in common.
type State struct {
	mu    sync.Mutex
	slots map[tokenauth.Slot][]tokenauth.Token
}

// Named returns the one of the plants that has the name, or nil.
func Named(plants []*Plant, name string) *Plant {
	for _, p := range plants {
		if p.Name == name {
			return p
		}
	}
	return nil
}

// With gives a planted storage the feed of the sound one.
func With(sound, planted tokenauth.Storage) tokenauth.Storage {
	if w, ok := sound.(tokenauth.Watcher); ok {
		return &withFeed{planted, w}
	}
	return planted
}

type withFeed struct {
	tokenauth.Storage
	tokenauth.Watcher
}

// Moment is how long a planted bug leaves its window open.
const Moment = 500 * time.Microsecond
