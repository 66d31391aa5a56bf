package tokenauth

import "net/http"

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
