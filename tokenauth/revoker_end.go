package tokenauth

import (
	"context"
	"errors"
	"time"

	"github.com/bearerkit/bearerkit/tokenauth/event"
)

var errRevokesNobody = errors.New("tokenauth: a Revocation of a RevocationQueue names neither a user nor a client")

// end ends the tokens of one user or client.
func (r *revoker) end(ctx context.Context, q *queuedRevocation) {
	err := recoverPanic("a revocation", func() error {
		switch {
		case q.UserID != "":
			return r.endUser(ctx, q.UserID)
		case q.ClientID != "":
			return r.endClient(ctx, q.ClientID)
		default: // RevokeClient with an empty ClientID would end all tokens if there are no registered clients
			return errRevokesNobody
		}
	})
	r.ending.report(ctx, r.options.Logger, &q.failed, err)
	q.done.Store(err == nil)
}

// endUser ends those tokens of a user that the [Authenticator] no longer
// accepts, so a token that was issued after the change stays valid. If the
// Authenticator is not a [Rechecker] or the storage is not a [Lister], it ends
// all tokens of the user. The storage lists the tokens only after the change
// was committed, so the list has every token that was stored before the change.
func (r *revoker) endUser(ctx context.Context, userID string) error {
	if !canRecheck(r.authenticator) || !r.canList() {
		began := time.Now()
		err := r.revokeUser(ctx, UserKeyOf(userID))
		r.observeEnded(ctx, Event{Reason: event.ReasonUser, UserID: userID}, began, err)
		return err
	}
	tokens, err := r.list(ctx, userID)
	if err != nil && !errors.Is(err, ErrCorrupt) { // a corrupt token is never valid, so it need not end
		return err
	}
	for i := range tokens {
		t := &tokens[i]
		err := r.checkStamp(ctx, t, func(t Token) error { return r.checkChanged(ctx, t) })
		if errors.Is(err, ErrRejected) {
			began := time.Now()
			err = r.revoke(ctx, t.Slot, t.Digest)
			if e := (Event{}); !t.isOwner() {
				e.setToken(t)
				r.observeEnded(ctx, e, began, err)
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// checkChanged returns [ErrRejected] if the user changed since the token was
// issued. It prefers the [Authenticator]'s LiveCheck method, because
// [Rechecker.Recheck] may wait for one of the host's open transactions. Waiting
// is not necessary here, because the change is already committed.
func (r *revoker) checkChanged(ctx context.Context, t Token) error {
	live, ok := r.authenticator.(liveChecker)
	if !ok {
		return r.recheckUser(ctx, t.Principal)
	}
	return r.call(ctx, func(ctx context.Context) error { return live.LiveCheck(ctx, t) })
}

func (r *revoker) endClient(ctx context.Context, clientID string) error {
	began := time.Now()
	err := r.bulkRevoke(ctx, revokingClient, func(b BulkRevoker, ctx context.Context) error {
		return revokeClient(ctx, b, clientID)
	})
	r.observeEnded(ctx, Event{Reason: event.ReasonClient, ClientID: clientID}, began, err)
	return err
}

// observeEnded reports a successful revocation as an event. It does not report
// a failure, because the revocation is soon tried again and the outage is
// logged.
func (r *revoker) observeEnded(ctx context.Context, e Event, began time.Time, err error) {
	if err == nil {
		r.observeRevoked(ctx, e, began, nil)
	}
}

func (r *revoker) remove(ctx context.Context, q *queuedRevocation) {
	err := r.call(ctx, func(ctx context.Context) error { return q.queue.RemoveRevocation(ctx, q.Revocation) })
	r.removing.report(ctx, r.options.Logger, &q.failed, err)
}

// call calls a method of a queue or of the [Authenticator], with a context that
// ends after [Options.Timeout]. It returns a panic as an error.
func (r *revoker) call(ctx context.Context, do func(context.Context) error) error {
	call, cancel, err := r.timeout.Call(ctx)
	if err != nil {
		return err
	}
	defer cancel()
	return recoverPanic("a revocation", func() error { return do(call) })
}

func (r *revoker) outageOf(q *queuedRevocation) *outage {
	if q.done.Load() {
		return &r.removing
	}
	return &r.ending
}
