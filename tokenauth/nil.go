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

// isNil reports whether v is nil, or an interface that holds a nil pointer or
// func, such as the result of a failed constructor. A nil map or slice may have
// methods that work, so it does not count as nil.
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

// ofType returns text such as " (of type *T)" for an error about a nil value,
// or "" if the value has no type.
func ofType(v any) string {
	if v == nil {
		return ""
	}
	return fmt.Sprintf(" (of type %T)", v)
}
