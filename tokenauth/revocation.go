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
// the changes for which tokens must end, such as a new password. [Service.Run]
// reads the queue twice a second, and ends the tokens in the storage of its
// [Service]. So the tokens end even if they are not stored together with the
// users. They also end if another process made the change, or died after it.
//
//   - The queue stores a [Revocation] in the same transaction as the change.
//   - It keeps the Revocation until the Service removes it, because each
//     running Service has to see it.
//   - A type that wraps the Authenticator or the ClientRegistry must pass both
//     methods on. Otherwise no token ends.
//   - If the Authenticator has a LiveCheck method with the signature of
//     [Options.LiveCheck], Run calls that method instead of
//     [Rechecker.Recheck]. Unlike Recheck, LiveCheck need not wait for an open
//     transaction.
//   - Services that share a queue must also share the storage of the tokens, or
//     run at all times. Once a Service has ended the tokens, it removes the
//     Revocation 10 seconds after it first saw it. A Service that does not run
//     in that time misses the Revocation.
type RevocationQueue interface {
	// PendingRevocations returns the revocations that come after the given one,
	// in an order that the queue chooses. If after is the zero [Revocation], it
	// starts with the first. It may return only a part of them, from the start.
	// It returns an empty slice only if there are no more.
	PendingRevocations(ctx context.Context, after Revocation) ([]Revocation, error)
	// RemoveRevocation removes r. If the queue now has a later Change for the
	// same user or client, it keeps that one. It returns no error if r is
	// already removed.
	RemoveRevocation(ctx context.Context, r Revocation) error
}
