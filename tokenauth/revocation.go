package tokenauth

import "context"

// A Revocation is a request to end the tokens of one user or one client after
// the host changed it. It has either a UserID or a ClientID.
type Revocation struct {
	UserID   string // or ""
	ClientID string // or ""
	// Change distinguishes the changes of one user or client. A later change
	// has another value.
	Change string
}

// A RevocationQueue is an [Authenticator] or a [ClientRegistry] that records
// those of its own changes that must end tokens. [Service.Run] reads it twice a
// second, and ends the tokens in the storage of its [Service]. So tokens end
// wherever they are stored, also if another process made the change, or died
// after it.
//
//   - The queue stores a [Revocation] in the same transaction as the change.
//   - It keeps the Revocation until the Service removes it, because each
//     running Service has to see it.
//   - A type that wraps the Authenticator or the ClientRegistry must pass both
//     methods on. Otherwise no token ends.
//   - If the Authenticator has a LiveCheck method with the signature of
//     [Options.LiveCheck], Run calls that method instead of
//     [Rechecker.Recheck]. It need not wait for an open transaction.
//   - Services that share a queue must also share the storage of the tokens, or
//     run at all times. A Revocation is removed 10 seconds after the first
//     Service ended the tokens. A Service that did not run in that time misses
//     it.
type RevocationQueue interface {
	// PendingRevocations returns the revocations that follow after in the
	// queue's own order. For the zero [Revocation] it returns all. It may
	// return only the first part of them. It returns an empty slice only if
	// there are none.
	PendingRevocations(ctx context.Context, after Revocation) ([]Revocation, error)
	// RemoveRevocation removes the revocation with this Change. It keeps one
	// with a later Change. It returns no error if the revocation is already
	// removed.
	RemoveRevocation(ctx context.Context, r Revocation) error
}
