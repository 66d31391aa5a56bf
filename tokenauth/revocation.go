package tokenauth

import "context"

// A Revocation says that the tokens of a user or of a client must end, because
// the user or the client changed. It names one of them.
type Revocation struct {
	UserID   string // the user's, or ""
	ClientID string // the client's, or ""
	// Change tells the changes of one user or client apart: a later one has
	// another.
	Change string
}

// A RevocationQueue is an Authenticator or a ClientRegistry that stores its own
// changes which must end tokens. Service.Run asks it twice a second, and ends the
// tokens in the storage of its Service. So they end wherever they are stored,
// also if another process made the change, or died after it.
//
//   - The queue stores a Revocation in the transaction of the change.
//   - It keeps it until it is removed: each Service that runs has to see it.
//   - A type that wraps the Authenticator or the ClientRegistry passes both
//     methods on. Otherwise no token ends.
//   - If the Authenticator has a method LiveCheck, of the form of
//     Options.LiveCheck, Run asks that in place of Recheck: it need not wait for
//     an open transaction.
//   - Services that share a queue share the storage of the tokens, too, or run at
//     all times: a revocation is removed 10 seconds after the first of them ended
//     the tokens, and one that did not run meanwhile misses it.
type RevocationQueue interface {
	// PendingRevocations returns the revocations that come after the given one,
	// in an order of the queue's own; all for the zero Revocation. It may return
	// a part of them, from the first on, and returns none only if there is none.
	PendingRevocations(ctx context.Context, after Revocation) ([]Revocation, error)
	// RemoveRevocation removes the revocation of that Change. It leaves one of a
	// later change, and returns no error if it is gone.
	RemoveRevocation(ctx context.Context, r Revocation) error
}
