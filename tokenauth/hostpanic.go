package tokenauth

import (
	"fmt"
	"net/http"
	"runtime/debug"
)

// A hostPanic wraps the value of a panic in the host's code, and names the part
// of the code that panicked.
type hostPanic struct {
	in    string // such as "the storage"
	value any    // of the original panic
}

// calling turns a panic in the host's code into a panic with a hostPanic that
// names that code. Its callers defer it before each call to the host's code. It
// does not change a panic with [http.ErrAbortHandler].
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

// plainPanic is deferred in exported methods that the host calls. It turns a
// hostPanic back into a panic with the original value, so that the host sees
// its own panic unchanged.
func plainPanic() {
	switch p := recover().(type) {
	case nil:
	case *hostPanic:
		panic(p.value)
	default:
		panic(p)
	}
}

// recoverPanic calls do. If do panics, recoverPanic returns an error that
// includes the stack and the name of the code that do calls. It is for the
// background work of [Service.Run], where a panic in the host's code would end
// the process.
func recoverPanic(in string, do func() error) (err error) {
	defer func() {
		p := recover()
		if of, ok := p.(*hostPanic); ok {
			p = of.value
		}
		if p != nil {
			err = fmt.Errorf("%w of type %T in %s\n%s", errPanic, p, in, debug.Stack())
		}
	}()
	return do()
}
