package tokenauth

import (
	"fmt"
	"net/http"
	"runtime/debug"
)

// A hostPanic is the value of a panic in the host's code, with the name of that
// code.
type hostPanic struct {
	in    string // such as "the storage"
	value any    // of the original panic
}

// calling is deferred around each call of the host's code. It panics again with
// a hostPanic that names the code. [http.ErrAbortHandler] passes unchanged.
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

// plainPanic is deferred in exported methods that the host calls. It panics
// again with the original value, so that the host sees its own panic unchanged.
func plainPanic() {
	switch p := recover().(type) {
	case nil:
	case *hostPanic:
		panic(p.value)
	default:
		panic(p)
	}
}

// recoverPanic calls do, and returns a panic as an error that names the code
// and has the stack. It is for goroutines of this package: a bug of the host
// must not end the process there.
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
