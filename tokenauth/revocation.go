package tokenauth

import (
	"context"
	"time"
)

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
type RevocationQueue interface {
	// PendingRevocations returns the revocations that come after the given one,
	// in an order of the queue's own; all for the zero Revocation. It may return
	// a part of them, from the first on, and returns none only if there is none.
	PendingRevocations(ctx context.Context, after Revocation) ([]Revocation, error)
	// RemoveRevocation removes the revocation of that Change. It leaves one of a
	// later change, and returns no error if it is gone.
	RemoveRevocation(ctx context.Context, r Revocation) error
}

// revocationQueues is the one place that looks for a RevocationQueue.
func (s *Service) revocationQueues() (queues []RevocationQueue) {
	for _, host := range []any{s.authenticator, s.options.Clients} {
		if queue, ok := host.(RevocationQueue); ok {
			queues = append(queues, queue)
		}
	}
	return queues
}

// warnRunNotCalled logs once that Run was not called, if a queue waits for it.
func (s *Service) warnRunNotCalled(ctx context.Context) {
	if s.runCalled.Load() || time.Since(s.created) < runGrace || len(s.revocationQueues()) == 0 || s.runCalled.Swap(true) {
		return
	}
	s.options.Logger.WarnContext(ctx, "tokenauth: Service.Run was not called: while it does not run, a change of a user or a client ends no token in another storage, and one of a client in a transaction of the host's may end none")
}
