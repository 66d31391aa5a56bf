package tokenauth

import (
	"context"
	"errors"
	"time"
)

// ErrNotFound is what Storage.Find returns for an empty slot, and what a
// look-up of users returns for an unknown one.
var ErrNotFound = errors.New("tokenauth: not found")

// ErrCorrupt is what Storage.Find returns, wrapped, for a token that it cannot
// read. The token is refused as invalid, so that its client signs in again,
// and the trouble is logged.
var ErrCorrupt = errors.New("tokenauth: stored token is corrupt")

// Storage keeps the tokens. These rules hold for all of its methods:
//
//   - They are safe for concurrent use, by many processes at once where the
//     storage is shared.
//   - They return soon after their context has ended. What they were doing may
//     then have been done or not, but never half.
//   - What a finished call did is seen by every call that starts after it, in
//     whichever process: no replica, no cache.
//   - They may keep the tokens given to them and need not copy them: nobody
//     changes a token afterwards. The same holds for those they return.
//   - They never report a fault as ErrNotFound. An error that is neither
//     ErrNotFound nor ErrCorrupt means that the storage is ill; the request is
//     answered with 503.
//
// The package storage/storagetest checks all this.
type Storage interface {
	// Replace makes t the only token of its slot, in one atomic step, and
	// keeps the digest that it displaced as the new token's Replaced (what
	// t.Replaced says is ignored). If n calls race, all succeed, and one token
	// stays. Other slots are untouched.
	Replace(ctx context.Context, t Token) error

	// Find returns what the slot holds, expired or not: time is the
	// Service's to judge. It returns ErrNotFound for an empty slot.
	Find(ctx context.Context, s Slot) (Token, error)

	// Revoke empties the slot if it holds the digest, in one atomic step. A
	// slot that is empty or holds another token is left alone, and that is no
	// error: revoking twice is fine, and an old token never ends a newer one.
	Revoke(ctx context.Context, s Slot, d Digest) error

	// RevokeUser empties every slot of the user. That there is none is no
	// error.
	RevokeUser(ctx context.Context, u UserKey) error
}

// A Lister is a Storage that can tell which tokens a user has, for operators.
type Lister interface {
	// List returns what all slots of the user hold, expired or not, in any
	// order; nothing if they are empty. One that cannot be read is left out,
	// and ErrCorrupt returned, wrapped, beside the others.
	List(ctx context.Context, u UserKey) ([]Token, error)
}

// A Purger is a Storage that has to be told to drop what has expired, because
// it has no expiry of its own.
type Purger interface {
	// Purge removes the tokens that expired before the given time and returns
	// how many. It works in batches that keep nobody waiting, returns the
	// context's error soon after it ends, and never removes a token that
	// replaced an expired one meanwhile.
	Purge(ctx context.Context, expiredBefore time.Time) (removed int64, err error)
}

// A Watcher is a Storage that tells of tokens that end, whichever process ended
// them. It is what the cache needs (Options.Cache).
type Watcher interface {
	// Watch reports to the feed until the context ends or it can no longer
	// tell, and returns why; its last call of the feed ends before that.
	//
	//   - It calls Alive as soon as it is sure to hear of changes, and from
	//     then on at least once in each beat for as long as that is so.
	//   - It calls Changed, soon, for the user of each token that was replaced
	//     or revoked, by this process or another. For a token in a slot that
	//     was empty, or for one that expires, it need not.
	//   - If it may have missed something, it calls ChangedAll or returns.
	//
	// Several calls may run at once.
	Watch(ctx context.Context, beat time.Duration, feed Feed) error
}

// A Feed is what a Watcher reports to. Its methods are safe for concurrent use
// and return at once.
type Feed interface {
	// Changed says that a token of the user has ended.
	Changed(u UserKey)
	// ChangedAll says that any token may have ended.
	ChangedAll()
	// Alive says that every change that was complete at asOf has been
	// reported, but for those before the first call. The time is one of this
	// process, with its monotonic reading, taken before the sign of life was
	// asked for: what a server answers proves nothing about later.
	Alive(asOf time.Time)
}
