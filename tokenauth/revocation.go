package tokenauth

import "context"

// A Revocation is a request to end the tokens of one user or one client after
// the host changed it. It has either a UserID or a ClientID.
type Revocation struct {
	UserID   string // or ""
	ClientID string // or ""
	// Change distinguishes the changes to one user or client: each change has a
	// different value.
	Change string
}

// A RevocationQueue is an [Authenticator] or a [ClientRegistry] that records
// changes after which tokens must end, such as a new password. [Service.Run]
// reads the queue twice a second, and ends the tokens in the Service's own
// storage. So the tokens end even if they are not stored together with the
// users, and even if another process made the change, or died after it.
//
//   - The queue stores a [Revocation] in the same transaction as the change.
//   - It keeps the Revocation until the Service removes it, because each
//     running Service has to see it.
//   - A type that wraps the Authenticator or the ClientRegistry must have both
//     methods, too, and pass the calls on. Otherwise no token ends.
//   - If the Authenticator has a LiveCheck method with the signature of
//     [Options.LiveCheck], Run calls that method instead of
//     [Rechecker.Recheck]. Unlike Recheck, LiveCheck need not wait for the
//     host's open transactions.
//   - Services that share a queue must also share the token storage, or run at
//     all times. Once a Service has ended the tokens, it removes the
//     Revocation, but not earlier than 10 seconds after first seeing it. A
//     Service that does not run during those 10 seconds may miss the
//     Revocation.
type RevocationQueue interface {
	// PendingRevocations returns the revocations that come after the given one.
	// The queue chooses the order. If after is the zero [Revocation], the
	// result starts with the first revocation in the queue. The result may
	// leave out later revocations, but it is empty only if there are no more.
	PendingRevocations(ctx context.Context, after Revocation) ([]Revocation, error)
	// RemoveRevocation removes r. It keeps a Revocation with a later Change for
	// the same user or client. It returns no error if r was already removed.
	RemoveRevocation(ctx context.Context, r Revocation) error
}
