package tokenauth

import (
	"fmt"
	"reflect"
)

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// isNil reports whether v is nil, or an interface with a nil pointer or func, as
// a constructor returns beside an error that nobody checked. A nil map or slice
// may have methods that work.
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
