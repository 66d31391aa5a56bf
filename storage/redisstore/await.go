package redisstore

import "context"

// await runs call, which uses the client, and returns its result. If the
// context ends first, await returns the context's error at once. In that case,
// Redis may or may not execute the command.
//
// The client observes the context only after it has sent a command. While one
// call opens a connection, other calls wait for that connection and ignore
// their contexts. Without await, those other calls could return seconds after
// their contexts end.
func await[T any](ctx context.Context, call func() (T, error)) (T, error) {
	type answer struct {
		value    T
		err      error
		panicked any
	}
	answers := make(chan answer, 1)
	go func() {
		var a answer
		defer func() {
			a.panicked = recover() // await panics with it in the caller's goroutine
			answers <- a
		}()
		a.value, a.err = call()
	}()
	select {
	case a := <-answers:
		if a.panicked != nil {
			panic(a.panicked)
		}
		return a.value, a.err
	case <-ctx.Done():
		var none T
		return none, ctx.Err()
	}
}
