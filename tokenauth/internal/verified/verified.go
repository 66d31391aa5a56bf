// Package verified tells a Service that a password was right, where the sign-in is
// rejected for something else after that, such as a one-time code that is wrong.
package verified

import (
	"context"
	"sync/atomic"
)

type key struct{}

// Watch returns a context in which Report sets right.
func Watch(ctx context.Context, right *atomic.Bool) context.Context {
	return context.WithValue(ctx, key{}, right)
}

// Report reports that the password of the sign-in is right. Outside of a sign-in it
// does nothing.
func Report(ctx context.Context) {
	if right, ok := ctx.Value(key{}).(*atomic.Bool); ok {
		right.Store(true)
	}
}
