package tokenauth

import (
	"context"
	"time"
)

// Storage keeps the tokens. These rules hold for all of its methods:
//
//   - They are safe for concurrent use, including by several processes that
//     share the storage.
//   - They return soon after their context ends. An interrupted call may or may
//     not have taken effect, but never in part.
//   - A call sees the effect of every call that returned before it started, in
//     any process. So it must not read from a database replica or a cache.
//   - They may keep the tokens that they receive without copying them, because
//     the Service does not modify them. The storage must not modify tokens that
//     it returned.
//   - They keep every field, including [Principal.Stamp], which encoding/json
//     omits.
//   - They never report a failure as [ErrNotFound]. Any error except
//     ErrNotFound and [ErrCorrupt] counts as a storage failure, and the request
//     gets a 503.
//
// The package storage/storagetest checks these rules. A Storage may also
// implement the optional abilities [BatchFinder], [Lister], [Purger],
// [Watcher], [BulkRevoker], [UseRecorder], [Refresher], [Renamer] and
// [throttle.Storage]. The Service finds them by type assertion, so a type that
// wraps a Storage must pass them on. [New] logs a warning if a wrapper hides one
// of them.
type Storage interface {
	// Replace makes t the only token of its slot, in one atomic step. It sets
	// the Replaced field of the stored token to the digest of the token that
	// was in the slot before, and ignores t.Replaced. If t.DeviceName is empty,
	// the stored token keeps the DeviceName of the token before, except that
	// it may drop the name if t has neither a Device nor milliseconds in
	// IssuedAt, because [Options.Devices] is then off. Concurrent
	// calls all succeed, and the token of one of them stays. Other slots do not
	// change. If t.Refresh is nil, the slot may keep the Refresh of the token
	// before, which then no longer counts.
	Replace(ctx context.Context, t Token) error

	// Find returns the token in the slot, even if it has expired: the Service
	// checks the expiry. It returns [ErrNotFound] for an empty slot.
	Find(ctx context.Context, s Slot) (Token, error)

	// Revoke empties the slot in one atomic step if it holds the token with the
	// digest. If the slot is empty or holds another token, it changes nothing
	// and returns no error. So revoking twice works, and revoking an old token
	// never ends a newer one.
	Revoke(ctx context.Context, s Slot, d Digest) error

	// RevokeUser empties every slot of the user. It returns no error if the
	// user has no tokens.
	RevokeUser(ctx context.Context, u UserKey) error
}

// A BatchFinder is a [Storage] that finds the tokens in many slots with one
// statement. The Service then sends the look-ups of concurrent requests
// together, and needs only a few connections.
type BatchFinder interface {
	// FindBatch returns for each slot, at the same index, what [Storage.Find]
	// would return: a token, or an error that concerns this slot only. Each
	// slot must be read after the call began, but the slots need not all be
	// read at the same moment.
	//
	// There are 1 to 64 slots, all different. The Service does not modify the
	// slice, even after the call. The context ends after [Options.Timeout], or
	// at the latest of the requests' deadlines if that is earlier. The context
	// has no values from any request, so in a trace the call has no parent. The
	// Service does not wait for a call with several slots, so such a call may
	// return after its context ended.
	//
	// FindBatch itself returns an error only for a storage failure that
	// concerns all slots.
	FindBatch(ctx context.Context, slots []Slot) ([]Found, error)
}

// A Found is the result of [BatchFinder.FindBatch] for one slot: a token, or
// the error that explains why there is none.
type Found struct {
	Token Token
	Err   error
}

// A Lister is a [Storage] that can list a user's tokens, for [Service.Tokens]
// and [Options.Devices].
type Lister interface {
	// List returns the tokens in all slots of the user, expired or not, in any
	// order. If it cannot read one, it omits that token, and returns the other
	// tokens together with [ErrCorrupt], wrapped. If the storage is a
	// [UseRecorder], List sets [Token.LastSeen] to the time of the last use that
	// was recorded for the token's digest.
	List(ctx context.Context, u UserKey) ([]Token, error)
}

// A Purger is a [Storage] that does not remove expired tokens by itself.
//
// A storage with a clock of its own also has the method
//
//	Now(ctx context.Context) (time.Time, error)
//
// which returns the storage's time. The Service then purges by the earlier of
// its own time and the storage's.
type Purger interface {
	// Purge removes the tokens that expired before the given time, and returns
	// how many it removed. It works in small batches, so that it blocks other
	// calls only briefly. It returns the context's error soon after the context
	// ends. If a new token replaces an expired one in the meantime, Purge does
	// not remove the new one.
	Purge(ctx context.Context, expiredBefore time.Time) (removed int64, err error)
}

// A storageClock is a [Storage] with a clock of its own. See [Purger] and
// [UseRecorder].
type storageClock interface {
	Now(ctx context.Context) (time.Time, error)
}

// A Watcher is a [Storage] with a feed: it reports which tokens end, in any
// process. The cache needs a Watcher ([Options.Cache]).
type Watcher interface {
	// Watch reports changes to the [Invalidator] until the context ends or the
	// feed fails. It then returns the reason as an error, and no longer calls
	// the Invalidator. Several calls of Watch may run concurrently.
	//
	//   - It calls [Invalidator.Heartbeat] as soon as it is certain to receive
	//     changes. As long as it stays certain, it calls Heartbeat at least
	//     once in each interval of length beat.
	//   - A heartbeat takes the same path as a change. The storage writes the
	//     heartbeat over the connection that it uses to end tokens, and
	//     receives it as it receives a change. If any part of that path is
	//     broken, the heartbeat must not arrive.
	//   - It calls [Invalidator.Invalidate] with the token's user soon after
	//     this process or another one replaced or revoked a token. It need not
	//     do so when a token expires or is stored in an empty slot.
	//   - If it may have missed a change, it calls [Invalidator.InvalidateAll]
	//     or returns.
	Watch(ctx context.Context, beat time.Duration, i Invalidator) error
}

// An Invalidator receives the changes that a [Watcher] reports. Its methods are
// safe for concurrent use and return at once.
type Invalidator interface {
	// Invalidate reports that a token of the user ended.
	Invalidate(u UserKey)
	// InvalidateAll reports that any token may have ended.
	InvalidateAll()
	// Heartbeat reports that all changes up to the time asOf were reported,
	// except any changes before the first Heartbeat. The time is a reading of
	// this process's clock, with its monotonic part. The [Watcher] takes the
	// reading before it asks the storage for the heartbeat, because the answer
	// proves nothing about later changes.
	Heartbeat(asOf time.Time)
}

// A BulkRevoker is a [Storage] that can end the tokens of many users in one
// call. Both methods may take a long time. They work in small batches, so that
// they block other calls only briefly. After an error, the slots that they
// already emptied stay empty.
type BulkRevoker interface {
	// RevokeClient empties every slot of the client, for all users and devices.
	// It compares [Token.ClientID]. (Without a device, it may compare
	// [Slot.Client] instead.)
	RevokeClient(ctx context.Context, clientID string) error
	// RevokeAll empties every slot.
	RevokeAll(ctx context.Context) error
}

// A Use is the use of a token in the course of an hour, for [UseRecorder].
type Use struct {
	Slot   Slot
	Digest Digest
	// At is the beginning of the hour, in whole seconds. For each token, the
	// hours begin at a different minute, which is the same in all processes.
	At time.Time
	// ExpiresAt is the time until which the use makes the token live, in whole
	// seconds. It is zero if the use does not change when the token expires.
	ExpiresAt time.Time
}

// A UseRecorder is a [Storage] that records when tokens were used, for
// [Options.Devices], [Options.IdleTimeout] and [Options.MaxLifetime]. It keeps
// these times apart from the tokens, so that recording a use reports no change
// to a [Watcher] and does not wait for a sign-in.
//
// A storage with a clock of its own also has the method Now, as described at
// [Purger]. [Service.Run] ends no idle tokens while that clock and the Service's
// differ by more than 5 minutes.
type UseRecorder interface {
	// RecordUses records uses of tokens, each of a different slot. For each use
	// it does the following, if the slot still holds the token with the digest:
	//
	//   - If no use of the token was recorded for the same or a later hour, it
	//     records Use.At. Otherwise it writes nothing, so that all replicas
	//     together write once an hour for each token.
	//   - If Use.ExpiresAt is later than the token's ExpiresAt, it sets the
	//     token's ExpiresAt to that time, in one atomic step with the comparison
	//     of the digest. [Watcher.Watch] need not report this.
	//
	// It never stores a token in an empty slot. After an error, some of the uses
	// may have been recorded.
	RecordUses(ctx context.Context, uses []Use) error
	// RevokeUnused empties every slot whose token was issued before the given
	// time, unless a use of that token was recorded for this time or later. It
	// returns how many tokens it ended. It keeps the slots of the user key that
	// consists of 0xFF bytes, because no user has this key, and tokens with the
	// ClientID "\x01key", which are API keys and the records of their owners. It
	// works in small batches and may take a long time.
	RevokeUnused(ctx context.Context, before time.Time) (ended int64, err error)
}

// A Refresher is a [Storage] that can keep refresh tokens, for [Options.Refresh].
// [Storage.Replace] and [Refresher.Refresh] then also store [Token.Refresh], in the
// same atomic step as the rest of the token.
//
// A slot with a Refresh is needed until [Token.ExpiresAt] or [Refresh.ExpiresAt],
// whichever is later. So a storage that removes expired tokens keeps it until then.
type Refresher interface {
	// FindRefresh returns the same as [BatchFinder.FindBatch], with [Token.Refresh].
	// [Storage.Find] and FindBatch need not return it, and so read less.
	// [Lister.List] does return it.
	FindRefresh(ctx context.Context, slots []Slot) ([]Found, error)

	// Refresh makes t the token of its slot in one atomic step, if the slot still
	// holds the token was, as FindRefresh returned it. It compares the Digest, the
	// State of Refresh and the Principal's Stamp, all byte by byte. It sets the
	// Replaced field of the stored token to t.Replaced. It reports whether it
	// stored t. If the slot holds another token or none, it changes nothing and
	// returns no error.
	//
	// Both tokens have a Refresh, and the same Slot, ClientID, Device, DeviceName,
	// Lifetime and Principal.UserID. If a driver may send the statement twice, the
	// second one may make Refresh return false although t is stored: the Service then
	// finds t in the slot. No other call may ever make Refresh return true.
	//
	// A [Watcher] reports the user to [Invalidator.Invalidate] if the Digest changed.
	Refresh(ctx context.Context, was, t Token) (stored bool, err error)
}

// A Renamer is a [Storage] that can change the name of a token, for [Keys.Rename].
type Renamer interface {
	// Rename sets [Token.DeviceName] of the token in the slot if that is the token
	// with the digest, in one atomic step with the comparison. It changes nothing
	// else. If the slot is empty or holds another token, it changes nothing and
	// returns no error. [Watcher.Watch] need not report it.
	Rename(ctx context.Context, s Slot, d Digest, name string) error
}
