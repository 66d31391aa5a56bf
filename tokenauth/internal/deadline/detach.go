package deadline

import "context"

// Detach returns a context with the values and the deadline of the parent. It
// does not end when the parent is cancelled, but a context that [Waiting]
// derives from it does. The caller must call cancel.
func Detach(parent context.Context) (ctx context.Context, cancel context.CancelFunc) {
	ctx, cancel = context.WithoutCancel(parent), func() {}
	if deadline, ok := parent.Deadline(); ok {
		ctx, cancel = context.WithDeadline(ctx, deadline)
	}
	return &detached{ctx, parent}, cancel
}

type detached struct {
	context.Context
	parent context.Context
}

type parentKey struct{}

func (d *detached) Value(key any) any {
	if key == (parentKey{}) {
		return d.parent
	}
	return d.Context.Value(key)
}

// Waiting returns a context for code that only waits, and may be interrupted at
// any time. If ctx comes from [Detach], the returned context also ends when the
// parent that was passed to Detach is cancelled. The caller must call cancel.
func Waiting(ctx context.Context) (waiting context.Context, cancel context.CancelFunc) {
	parent, ok := ctx.Value(parentKey{}).(context.Context)
	if !ok {
		return ctx, func() {}
	}
	waiting, end := context.WithCancelCause(ctx)
	stop := context.AfterFunc(parent, func() { end(context.Cause(parent)) })
	return waiting, func() { stop(); end(nil) }
}
