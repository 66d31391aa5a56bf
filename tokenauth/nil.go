package tokenauth

import (
	"fmt"
	"reflect"
)

// isNil reports whether there is nothing in v that could be called: neither a
// nil interface nor one with a nil pointer, as a constructor returns beside an
// error that nobody looked at. A nil map or slice may have methods that work.
func isNil(v any) bool {
	if v == nil {
		return true
	}
	switch r := reflect.ValueOf(v); r.Kind() {
	case reflect.Pointer, reflect.Func:
		return r.IsNil()
	}
	return false
}

// ofType is the end of a sentence that says that v is nil.
func ofType(v any) string {
	if v == nil {
		return ""
	}
	return fmt.Sprintf(" (of type %T)", v)
}

// mustNotBeNil stands where handlers and guards are made: without it a Service
// that was never made would show with the first request only.
func (s *Service) mustNotBeNil() {
	if s == nil {
		panic("tokenauth: the Service is nil: was the error of tokenauth.New looked at?")
	}
}
