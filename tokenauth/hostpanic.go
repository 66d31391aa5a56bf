package tokenauth

import (
	"fmt"
	"net/http"
	"runtime/debug"
)

// A hostPanic is a panic in the host's code that says whose code it was.
type hostPanic struct {
	in    string
	value any
}

// calling is deferred around each call of the host's code. A panic goes on, and
// says whose code it was.
func calling(in string) {
	switch p := recover(); p.(type) {
	case nil:
	case *hostPanic:
		panic(p)
	default:
		if p == http.ErrAbortHandler {
			panic(p)
		}
		panic(&hostPanic{in, p})
	}
}

// plainPanic is deferred in methods that a host calls: a panic of its own code
// reaches it as it was.
func plainPanic() {
	switch p := recover().(type) {
	case nil:
	case *hostPanic:
		panic(p.value)
	default:
		panic(p)
	}
}

// recoverPanic makes an error of a panic that says in what it was: a bug of the
// host's must not end the process from a goroutine that is not the host's.
func recoverPanic(in string, do func() error) (err error) {
	defer func() {
		p := recover()
		if of, ok := p.(*hostPanic); ok {
			p = of.value
		}
		if p != nil {
			err = fmt.Errorf("%w: %T in %s\n%s", errPanic, p, in, debug.Stack())
		}
	}()
	return do()
}
