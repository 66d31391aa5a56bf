package tokenauth

import (
	"fmt"
	"strings"

	"github.com/bearerkit/bearerkit/tokenauth/internal/wire"
)

const maxFurtherParameters = 8

// checkParameters returns an error if [Options.Parameters] is not valid. The
// argument others has the other parameters of a token request.
func checkParameters(names, others []string) error {
	if n := len(names); n > maxFurtherParameters {
		return fmt.Errorf("tokenauth: Options.Parameters has %d names, must have at most %d", n, maxFurtherParameters)
	}
	for i, name := range names {
		switch {
		case name == "" || len(name) > longestName || strings.ContainsFunc(asciiLower(name), notInParameterName):
			return fmt.Errorf("tokenauth: Options.Parameters has the name %q, but a name must be 1 to %d letters, digits, '-', '_' and '.'", name, longestName)
		case wire.HasMember(others, name):
			return fmt.Errorf("tokenauth: Options.Parameters has %q, but token requests already have a parameter of this name; case is ignored", name)
		case wire.HasMember(names[:i], name):
			return fmt.Errorf("tokenauth: Options.Parameters has %q twice; case is ignored", name)
		}
	}
	return nil
}

func notInParameterName(r rune) bool {
	return !(r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '-' || r == '_' || r == '.')
}

func notBase64URL(r rune) bool {
	return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_')
}

// inLowerCase returns the names as they are in a form that was read.
func inLowerCase(names []string) []string {
	lower := make([]string, len(names))
	for i, name := range names {
		lower[i] = asciiLower(name)
	}
	return lower
}

// furtherParameters returns [Credentials.Parameters] for a form. It reports
// false if a value is too long.
func furtherParameters(names []string, form map[string]string) (values map[string]Secret, ok bool) {
	for _, name := range names {
		value := form[asciiLower(name)]
		if len(value) > wire.MaxParameter {
			return nil, false
		}
		if value == "" {
			continue
		}
		if values == nil {
			values = make(map[string]Secret, len(names))
		}
		values[name] = NewSecret(value)
	}
	return values, true
}
