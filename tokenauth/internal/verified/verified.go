// Package verified reports to the Service that the password of a sign-in was
// right, even if the sign-in is then rejected for another reason, such as a
// wrong one-time code.
package verified

import (
	"context"
	"sync/atomic"
)

type key struct{}

// Watch returns a context for a sign-in. [Report] sets *right to true if it is
// called with that context, or with one derived from it.
func Watch(ctx context.Context, right *atomic.Bool) context.Context {
	return context.WithValue(ctx, key{}, right)
}

// Report records that the password of the sign-in is right. It does nothing if
// ctx does not come from [Watch].
func Report(ctx context.Context) {
	if right, ok := ctx.Value(key{}).(*atomic.Bool); ok {
		right.Store(true)
	}
}
