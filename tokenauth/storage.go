package tokenauth

import (
	"context"
	"time"
)

// Storage keeps the tokens. These rules hold for all of its methods:
//
//   - They are safe for concurrent use, by many processes at once where they
//     share the storage.
//   - They return soon after their context ends. The call may then have taken
//     effect or not, but never in part.
//   - A call sees the effect of every call that returned before it started, in
//     whichever process: it reads no replica and no cache.
//   - They may keep the tokens that they are given and need not copy them: nobody
//     changes a token. The same holds for the tokens that they return.
//   - They keep every field. encoding/json leaves out Principal.Stamp.
//   - They never report a failure as ErrNotFound. Any error but ErrNotFound and
//     ErrCorrupt is a failure of the storage, and the request is answered with
//     503.
//
// The package storage/storagetest checks all this. A Storage may also have the
// abilities BatchFinder, Lister, Purger, Watcher, ClientRevoker and
// throttle.Storage; the Service finds them by type assertion. A type that wraps a
// Storage passes them on; New warns of one that hides them.
type Storage interface {
	// Replace makes t the only token of its slot, in one atomic step, and stores
	// the digest that it displaces as Replaced of the new token, whatever
	// t.Replaced is. If calls race, all succeed, and one token stays. Other slots
	// do not change.
	Replace(ctx context.Context, t Token) error

	// Find returns the token in the slot, expired or not: the Service checks the
	// expiry. It returns ErrNotFound for an empty slot.
	Find(ctx context.Context, s Slot) (Token, error)

	// Revoke empties the slot if it holds the digest, in one atomic step. It
	// leaves a slot that is empty or holds another token, and returns no error:
	// revoking twice works, and revoking an old token never ends a newer one.
	Revoke(ctx context.Context, s Slot, d Digest) error

	// RevokeUser empties every slot of the user. It returns no error if there is
	// none.
	RevokeUser(ctx context.Context, u UserKey) error
}

// A BatchFinder is a Storage that finds the tokens in many slots at once, for little
// more than one costs. The Service then sends the look-ups of requests that wait at
// the same moment together, and needs a handful of connections.
type BatchFinder interface {
	// FindBatch returns for each slot, at the same index, what Find would: a
	// token, or an error that concerns that slot only. It reads each slot after
	// the call began; together they need not be one moment.
	//
	// There are 1 to 64 slots, all different. The Service does not change them,
	// also not after the call. The context ends after Options.Timeout, or with the
	// last deadline of the requests if that is earlier. It has no values of any
	// request: a tracer sees a call that belongs to none. A call with several
	// slots may return later than its context ends; the Service answers its
	// requests before.
	//
	// An error is a failure of the storage, for all slots.
	FindBatch(ctx context.Context, slots []Slot) ([]Found, error)
}

// A Found is what FindBatch found in a slot: a token, or the error that says why
// there is none.
type Found struct {
	Token Token
	Err   error
}

// A Lister is a Storage that can list the tokens of a user, for operators.
type Lister interface {
	// List returns the tokens in all slots of the user, expired or not, in any
	// order. If it cannot read one, it leaves that out and returns ErrCorrupt,
	// wrapped, beside the others.
	List(ctx context.Context, u UserKey) ([]Token, error)
}

// A Purger is a Storage that does not remove expired tokens by itself.
//
// A storage with a clock of its own also has the method
//
//	Now(ctx context.Context) (time.Time, error)
//
// which reads it. The Service then purges by the earlier of the two times.
type Purger interface {
	// Purge removes the tokens that expired before the given time and returns
	// how many. It works in batches that block nobody for long, returns the
	// context's error soon after it ends, and never removes a token that
	// replaced an expired one meanwhile.
	Purge(ctx context.Context, expiredBefore time.Time) (removed int64, err error)
}

// A purgerClock is a Purger with a clock of its own.
type purgerClock interface {
	Now(ctx context.Context) (time.Time, error)
}

// A Watcher is a Storage with a feed: it reports the tokens that end, whichever
// process ended them. The cache needs one (Options.Cache).
type Watcher interface {
	// Watch reports to i until the context ends or the feed fails, and returns
	// why. It does not call i after it returned.
	//
	//   - It calls Heartbeat as soon as it is certain to receive changes, and
	//     from then on at least once in each beat while that is so.
	//   - A heartbeat takes the way of a change: the Storage writes it by the
	//     connection that ends tokens, and it comes back as a change does. If any
	//     part of that way is broken, no heartbeat may arrive.
	//   - It calls Invalidate, soon, for the user of each token that was replaced
	//     or revoked, by this process or another. It need not call it for a token
	//     stored in an empty slot, nor for one that expires.
	//   - If it may have missed a change, it calls InvalidateAll or returns.
	//
	// Several calls may run at once.
	Watch(ctx context.Context, beat time.Duration, i Invalidator) error
}

// An Invalidator is the receiver of a feed. Its methods are safe for concurrent
// use and return at once.
type Invalidator interface {
	// Invalidate says that a token of the user ended.
	Invalidate(u UserKey)
	// InvalidateAll says that any token may have ended.
	InvalidateAll()
	// Heartbeat says that all changes up to asOf were reported, except any before
	// the first Heartbeat. The time is this process's, with its monotonic
	// reading, taken before the Watcher asked for the heartbeat: an answer proves
	// nothing about later changes.
	Heartbeat(asOf time.Time)
}

// A ClientRevoker is a Storage that can end all tokens of a client.
type ClientRevoker interface {
	// RevokeClient empties the slots of all users at the client. It may take
	// long. What it did before an error stays done.
	RevokeClient(ctx context.Context, c ClientKey) error
}
