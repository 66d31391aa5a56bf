package openapi

import (
	"fmt"
	"slices"
	"strings"

	"github.com/bearerkit/bearerkit/tokenauth"
)

// templates returns the endpoints with their path parameters in the syntax of
// OpenAPI. For example, ":tenant" of Gin or Echo becomes "{tenant}".
func templates(e tokenauth.Endpoints) (tokenauth.Endpoints, error) {
	e.Token = slices.Clone(e.Token)
	paths := []*string{&e.Revocation, &e.Introspection}
	for i := range e.Token {
		paths = append(paths, &e.Token[i])
	}
	for _, path := range paths {
		segments := strings.Split(*path, "/")
		for i, segment := range segments {
			name, isGin := strings.CutPrefix(segment, ":")
			switch {
			case isGin:
				segments[i] = "{" + name + "}"
			case strings.HasPrefix(segment, "*"), strings.HasSuffix(segment, "...}"), segment == "{$}":
				return e, fmt.Errorf("openapi: an endpoint is mounted at %q, but OpenAPI cannot describe the path segment %s", *path, segment)
			}
		}
		*path = strings.Join(segments, "/")
	}
	return e, nil
}

// parameters returns the Parameter Objects of the path, or nil if it has none.
func parameters(path string) []object {
	var all []object
	for segment := range strings.SplitSeq(path, "/") {
		if name, ok := strings.CutPrefix(segment, "{"); ok {
			all = append(all, object{
				{"name", strings.TrimSuffix(name, "}")}, {"in", "path"}, {"required", true},
				{"schema", object{{"type", "string"}}},
			})
		}
	}
	return all
}
