// Package plant plants bugs in a storage, in its users or in a [tokenauth.Service].
// They prove that the trials find such bugs.
package plant

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/bearerkit/bearerkit/tokenauth"
)

// A Plant is a bug to plant. Fields whose bug it does not have are zero.
type Plant struct {
	Name, About string
	// Trials lists the names of the trials that must find the bug.
	Trials []string
	// Storage returns the handle s with the bug. All handles of a trial share one
	// [State]. If Storage is nil, handles have no bug.
	Storage func(s tokenauth.Storage, shared *State, seed uint64) tokenauth.Storage
	// Forgetful hides that the users are a [tokenauth.Rechecker].
	Forgetful bool
	// Users and Clients return the users and clients with the bug. If they are nil,
	// the users and clients have no bug.
	Users   func(tokenauth.Authenticator) tokenauth.Authenticator
	Clients func(tokenauth.ClientRegistry) tokenauth.ClientRegistry
	// EndsFirst makes the host end a client's tokens before it changes the client.
	EndsFirst bool
	// EndsKept makes the host forget the token to keep when it ends all others.
	EndsKept bool
	// Asynchronous makes the primary commit without waiting for its standby.
	Asynchronous bool
	// OwnHeartbeat makes the feed send its heartbeat over the listening connection.
	OwnHeartbeat bool
	// Presents returns the refresh token that a Service with the bug takes a presented
	// one for. The arguments now and grace are of the Service. If Presents is nil, it is
	// the token itself.
	Presents func(shared *State, refreshToken string, now time.Time, grace time.Duration) string
	// Timeless makes the services not notice that time passed.
	Timeless bool
	// Validator returns the validator with the bug. If it is nil, the Service
	// validates.
	Validator func(auth *tokenauth.Service, s tokenauth.Storage) Validator
}

// A Validator validates access tokens, as [tokenauth.Service.Validate] does.
type Validator interface {
	Validate(ctx context.Context, accessToken string) (tokenauth.Token, error)
}

// A State is shared by all handles that [Plant.Storage] returns. Its zero value is empty.
type State struct {
	mu    sync.Mutex
	slots map[tokenauth.Slot][]tokenauth.Token
	links map[tokenauth.Slot]tokenauth.Slot
	// rotations has the rotation that used each refresh token, by its digest.
	rotations map[tokenauth.Digest]rotation
	copies    map[tokenauth.Slot]tokenauth.Token
}

// link makes linked return the slot to for the slot from.
func (s *State) link(from, to tokenauth.Slot) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.links == nil {
		s.links = make(map[tokenauth.Slot]tokenauth.Slot)
	}
	s.links[from] = to
}

// linked returns the slot to which from was linked, or from.
func (s *State) linked(from tokenauth.Slot) tokenauth.Slot {
	s.mu.Lock()
	defer s.mu.Unlock()
	if to, ok := s.links[from]; ok {
		return to
	}
	return from
}

// all returns the slots that were linked.
func (s *State) all() []tokenauth.Slot {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Collect(maps.Keys(s.links))
}

// Named returns the plant with the name, or nil if there is none.
func Named(plants []*Plant, name string) *Plant {
	for _, p := range plants {
		if p.Name == name {
			return p
		}
	}
	return nil
}

// With adds abilities of the sound storage to the planted one, unless that has its own:
// [tokenauth.Lister], [tokenauth.BulkRevoker], [tokenauth.Refresher],
// [tokenauth.UseRecorder], [tokenauth.Renamer] and, if sound has it, [tokenauth.Watcher].
func With(sound, planted tokenauth.Storage) tokenauth.Storage {
	w := withAbilities{
		planted, ability[tokenauth.Lister](sound, planted), ability[tokenauth.BulkRevoker](sound, planted),
		ability[tokenauth.Refresher](sound, planted), ability[tokenauth.UseRecorder](sound, planted),
		ability[tokenauth.Renamer](sound, planted),
	}
	if watcher := ability[tokenauth.Watcher](sound, planted); watcher != nil {
		return &withFeed{w, watcher}
	}
	return &w
}

type withAbilities struct {
	tokenauth.Storage
	tokenauth.Lister
	tokenauth.BulkRevoker
	tokenauth.Refresher
	tokenauth.UseRecorder
	tokenauth.Renamer
}

type withFeed struct {
	withAbilities
	tokenauth.Watcher
}

// ability returns the planted storage or else the sound one, as an optional interface.
// It returns nil if neither has it.
func ability[A any](sound, planted tokenauth.Storage) A {
	a, ok := planted.(A)
	if !ok {
		a, _ = sound.(A)
	}
	return a
}

// Moment is how long the window of a planted race condition stays open.
const Moment = 500 * time.Microsecond
