package tokenauth

import (
	"fmt"
	"slices"
	"strings"

	"github.com/bearerkit/bearerkit/tokenauth/internal/wire"
)

const (
	maxFurtherParameters = 8
	maxParameterName     = 64
)

// checkParameters returns an error if [Options.Parameters] is not valid.
func (o *Options) checkParameters() error {
	if n := len(o.Parameters); n > maxFurtherParameters {
		return fmt.Errorf("tokenauth: Options.Parameters has %d names, must have at most %d", n, maxFurtherParameters)
	}
	others := slices.Concat(wire.TokenParameters(), o.Devices.parameters())
	for i, name := range o.Parameters {
		switch {
		case name == "" || len(name) > maxParameterName || strings.ContainsFunc(name, func(r rune) bool { return r != '.' && notBase64URL(r) }):
			return fmt.Errorf("tokenauth: Options.Parameters has the name %q, but a name must be 1 to %d letters, digits, '-', '_' and '.'", name, maxParameterName)
		case wire.HasMember(others, name):
			return fmt.Errorf("tokenauth: Options.Parameters has %q, but token requests already have a parameter of this name; case is ignored", name)
		case wire.HasMember(o.Parameters[:i], name):
			return fmt.Errorf("tokenauth: Options.Parameters has %q twice; case is ignored", name)
		}
	}
	return nil
}

// parameterNames returns the names of [Options.Parameters] in lower case, as
// they are in a form that was read.
func (o *Options) parameterNames() []string {
	names := make([]string, len(o.Parameters))
	for i, name := range o.Parameters {
		names[i] = asciiLower(name)
	}
	return names
}

// furtherParameters returns [Credentials.Parameters] for a form. It reports
// false if a value is too long.
func (o *Options) furtherParameters(form map[string]string) (values map[string]Secret, ok bool) {
	for _, name := range o.Parameters {
		value := form[asciiLower(name)]
		if len(value) > wire.MaxParameter {
			return nil, false
		}
		if value == "" {
			continue
		}
		if values == nil {
			values = make(map[string]Secret, len(o.Parameters))
		}
		values[name] = NewSecret(value)
	}
	return values, true
}
