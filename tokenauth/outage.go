package tokenauth

import (
	"context"
	"log/slog"
	"sync/atomic"
)

// An outage logs when the first of several operations fails, and again when all
// of them work.
type outage struct {
	doing   string
	effect  string // of a failure
	failing atomic.Int64
}

// report records the result of one operation. The flag failed says whether the
// operation's previous attempt failed. report updates the flag.
func (o *outage) report(ctx context.Context, logger *slog.Logger, failed *atomic.Bool, err error) {
	switch {
	case ctx.Err() != nil:
	case err != nil && !failed.Swap(true):
		if o.failing.Add(1) == 1 {
			logger.ErrorContext(ctx, "tokenauth: "+o.doing+" failed; until it works, "+o.effect, "error", err)
		}
	case err == nil && failed.Swap(false):
		if o.failing.Add(-1) == 0 {
			logger.InfoContext(ctx, "tokenauth: "+o.doing+" works again")
		}
	}
}
