// Package wrapper finds optional abilities that a wrapper type hides or
// bypasses.
//
// A type that embeds an interface, such as struct{ Authenticator }, has only
// the methods of that interface. If the embedded value also implements an
// optional interface, a type assertion on the wrapper does not find that
// interface, and there is no error.
//
// A type that embeds a concrete type has all of its methods. But if it
// overrides one method, another method of the embedded type may still do the
// same work without the override. For example, FindBatch may bypass an
// overridden Find.
package wrapper

import (
	"reflect"
	"runtime"
)

// Hides returns the names of the ability's methods if part lacks the ability,
// but wraps a value that has it. Otherwise it returns nil. The parameters role
// and ability are interface types. Hides considers only wrapped values that
// also implement role, nested up to maxWrappers deep.
func Hides(part any, role, ability reflect.Type) (methods []string) {
	if reflect.TypeOf(part).Implements(ability) || !wraps(reflect.ValueOf(part), role, ability, maxWrappers) {
		return nil
	}
	for i := range ability.NumMethod() {
		methods = append(methods, ability.Method(i).Name)
	}
	return methods
}

// maxWrappers is the maximum nesting depth that is searched.
const maxWrappers = 8

// wraps reports whether v contains a value that implements role and ability, at
// most depth levels below v.
func wraps(v reflect.Value, role, ability reflect.Type, depth int) bool {
	for v.Kind() == reflect.Pointer || v.Kind() == reflect.Interface {
		v = v.Elem() // the zero Value for nil
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
		if t.Kind() == reflect.Struct { // the methods may have a pointer receiver
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
	case reflect.Slice, reflect.Array: // such as several Authenticators that are asked in turn
		for i := range v.Len() {
			if within(v.Index(i)) {
				return true
			}
		}
	}
	return false
}

// BypassesFind reports whether a storage overrides Find but not FindBatch, so
// that a call of FindBatch would bypass its Find.
func BypassesFind(storage any) bool { return Bypasses(storage, "Find", "FindBatch") }

// Bypasses reports whether a storage overrides the method own but not the method
// inherited, so that a call of inherited would bypass own. This is so if own is
// declared by the type or an embedded type, and inherited is promoted from a
// more deeply embedded type. If inherited is promoted from an interface, the
// value in that interface is checked in the same way. The storage has both methods.
func Bypasses(storage any, own, inherited string) bool {
	v := reflect.ValueOf(storage)
	for range maxWrappers {
		depth, _ := declarer(v, own)
		deeper, from := declarer(v, inherited)
		if depth < deeper {
			return true
		}
		if from.Kind() != reflect.Interface || from.IsNil() {
			return false
		}
		v = from.Elem()
	}
	return false
}

// declarer returns the value that declares the method, and how deeply it is
// embedded in v. The depth is 0 if v itself declares it. If no value declares
// it, declarer returns 0 and v. [reflect.VisibleFields] is not enough: if two
// embedded types have the same name, it returns only the outer one. An example
// is a Store that wraps another package's Store.
func declarer(v reflect.Value, method string) (depth int, by reflect.Value) {
	seen := make(map[reflect.Type]bool)
	for level := []reflect.Value{v}; len(level) > 0; depth++ {
		var next []reflect.Value
		for _, v := range level {
			if v.Kind() == reflect.Pointer {
				v = pointedTo(v)
			}
			if seen[v.Type()] {
				continue
			}
			seen[v.Type()] = true
			if declares(v.Type(), method) {
				return depth, v
			}
			next = append(next, embedded(v)...)
		}
		level = next
	}
	return 0, v
}

// pointedTo returns the value that p points to, or a zero value for a nil
// pointer.
func pointedTo(p reflect.Value) reflect.Value {
	if p.IsNil() {
		return reflect.Zero(p.Type().Elem())
	}
	return p.Elem()
}

func embedded(v reflect.Value) (parts []reflect.Value) {
	if v.Kind() != reflect.Struct {
		return nil
	}
	for i := range v.NumField() {
		if v.Type().Field(i).Anonymous {
			parts = append(parts, v.Field(i))
		}
	}
	return parts
}

// declares reports whether t or *t declares the method itself. The type t must
// not be a pointer. A method promoted from an embedded field does not count: the
// compiler generates a wrapper for it, whose source file is "<autogenerated>".
func declares(t reflect.Type, method string) bool {
	if t.Kind() == reflect.Interface {
		_, ok := t.MethodByName(method)
		return ok
	}
	for _, t := range []reflect.Type{t, reflect.PointerTo(t)} {
		m, ok := t.MethodByName(method)
		if !ok {
			continue
		}
		f := runtime.FuncForPC(m.Func.Pointer())
		if file, _ := f.FileLine(f.Entry()); file != "<autogenerated>" {
			return true
		}
	}
	return false
}
