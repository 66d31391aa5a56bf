package redisstore

import "context"

// await makes a call of the client and returns what that does, or the context's
// error as soon as it ends; what was asked for may then be done or not.
//
// The client itself goes by the context once it has sent something. But where
// one call makes a connection, others wait for that, and look at no context
// until it is made or given up: they would be late by seconds.
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
			a.panicked = recover() // which is the caller's
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
