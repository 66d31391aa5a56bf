// Package plant plants bugs in a storage or in the users. They prove that the trials
// would find such a bug.
package plant

import (
	"context"
	"sync"
	"time"

	"github.com/bearerkit/bearerkit/tokenauth"
)

// A Plant is a bug in the storage or in the users.
type Plant struct {
	Name, About string
	// Trials are the names of the trials that must find it.
	Trials []string
	// Storage returns the handle with the bug. Nil plants nothing. All handles of one
	// trial have the same State.
	Storage func(s tokenauth.Storage, shared *State, seed uint64) tokenauth.Storage
	// Forgetful removes Recheck from the users.
	Forgetful bool
	// Users and Clients return the directory with the bug. Nil plants nothing.
	Users   func(tokenauth.Authenticator) tokenauth.Authenticator
	Clients func(tokenauth.ClientRegistry) tokenauth.ClientRegistry
	// EndsFirst makes the host end a client's tokens before it changes the client.
	EndsFirst bool
	// Asynchronous makes the primary commit without its standby, if it has one.
	Asynchronous bool
	// OwnHeartbeat makes the feed send its heartbeat on the connection that listens.
	OwnHeartbeat bool
	// Validator returns what validates in place of the Service. Nil is the Service.
	Validator func(auth *tokenauth.Service, s tokenauth.Storage) Validator
}

// A Validator validates forged tokens. It is a Service, or one with a bug.
type Validator interface {
	Validate(ctx context.Context, accessToken string) (tokenauth.Token, error)
}

// A State is what all handles of a storage with a bug share.
type State struct {
	mu    sync.Mutex
	slots map[tokenauth.Slot][]tokenauth.Token
}

// Named returns the plant with the name, or nil.
func Named(plants []*Plant, name string) *Plant {
	for _, p := range plants {
		if p.Name == name {
			return p
		}
	}
	return nil
}

// With returns the planted storage with the feed of the sound one.
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

// Moment is for how long a planted race stays open.
const Moment = 500 * time.Microsecond
