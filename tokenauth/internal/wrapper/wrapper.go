// Package wrapper finds the abilities that a wrapper hides.
//
// A type that embeds an interface, such as struct{ Authenticator }, has the methods
// of that interface, and no others of the value in it. Code that looks for an optional
// interface by type assertion does not find it, and nothing says so.
package wrapper

import "reflect"

// Hides returns the methods of the ability if the part does not have it, and wraps
// one that has: at any depth, a value that can play the same role. Role and ability
// are types of interfaces.
func Hides(part any, role, ability reflect.Type) (methods []string) {
	if reflect.TypeOf(part).Implements(ability) || !wraps(reflect.ValueOf(part), role, ability, maxWrappers) {
		return nil
	}
	for i := range ability.NumMethod() {
		methods = append(methods, ability.Method(i).Name)
	}
	return methods
}

// maxWrappers is how deep a part is looked for.
const maxWrappers = 8

// wraps reports whether the value has a part of that role, at any depth, with the
// ability.
func wraps(v reflect.Value, role, ability reflect.Type, depth int) bool {
	for v.Kind() == reflect.Pointer || v.Kind() == reflect.Interface {
		v = v.Elem() // of nil the zero Value
	}
	within := func(part reflect.Value) bool {
		for part.Kind() == reflect.Interface {
			part = part.Elem()
		}
		if !part.IsValid() || part.Kind() == reflect.Pointer && part.IsNil() {
			return false
		}
		t := part.Type()
		if k := t.Kind(); (k == reflect.Slice || k == reflect.Array) && !t.Implements(role) {
			return t.Elem().Implements(role) && depth > 0 && wraps(part, role, ability, depth-1)
		}
		if t.Kind() == reflect.Struct { // its methods may be the pointer's
			t = reflect.PointerTo(t)
		}
		return t.Implements(role) && (t.Implements(ability) || depth > 0 && wraps(part, role, ability, depth-1))
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			if within(v.Field(i)) {
				return true
			}
		}
	case reflect.Slice, reflect.Array: // of directories that are asked in turn
		for i := range v.Len() {
			if within(v.Index(i)) {
				return true
			}
		}
	}
	return false
}
