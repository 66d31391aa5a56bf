package openapi

import (
	"encoding/json"
	"fmt"
	"strings"
)

// Merge adds the paths, components and tags of d to the host's own description,
// and returns the result. The host's description must be a JSON document of
// OpenAPI 3.1 or 3.2. Its other members stay as they are, for example its servers.
//
// Merge returns an error if both descriptions have the same path or component.
func (d *Description) Merge(host []byte) ([]byte, error) {
	var document object
	if err := json.Unmarshal(host, &document); err != nil {
		return nil, fmt.Errorf("openapi: decoding your own description: %w", err)
	}
	var version string
	if raw, ok := document.get("openapi").(json.RawMessage); !ok || json.Unmarshal(raw, &version) != nil ||
		!strings.HasPrefix(version, "3.1.") && !strings.HasPrefix(version, "3.2.") {
		return nil, fmt.Errorf("openapi: your own description has the OpenAPI version %q, want 3.1 or 3.2", version)
	}
	paths, err := child(document, "paths")
	if err != nil {
		return nil, err
	}
	if paths, err = union(paths, d.document.get("paths").(object), "the path "); err != nil {
		return nil, err
	}
	components, err := child(document, "components")
	if err != nil {
		return nil, err
	}
	for _, kind := range d.document.get("components").(object) {
		theirs, err := child(components, kind.name)
		if err != nil {
			return nil, err
		}
		if theirs, err = union(theirs, kind.value.(object), "a member of components/"+kind.name+" named "); err != nil {
			return nil, err
		}
		components = components.set(kind.name, theirs)
	}
	tags, err := d.mergeTags(document)
	if err != nil {
		return nil, err
	}
	merged, err := encode(document.set("tags", tags).set("paths", paths).set("components", components))
	if err != nil {
		return nil, fmt.Errorf("openapi: encoding the merged description: %w", err)
	}
	return merged, nil
}

// mergeTags returns the tags of the document, followed by the tags of d that the
// document does not have.
func (d *Description) mergeTags(document object) ([]any, error) {
	var tags []any
	described := make(map[string]bool)
	if raw, ok := document.get("tags").(json.RawMessage); ok {
		var theirs []object
		if err := json.Unmarshal(raw, &theirs); err != nil {
			return nil, fmt.Errorf("openapi: decoding the tags of your own description: %w", err)
		}
		for _, tag := range theirs {
			var name string
			if raw, ok := tag.get("name").(json.RawMessage); ok && json.Unmarshal(raw, &name) == nil {
				described[name] = true
			}
			tags = append(tags, tag)
		}
	}
	for _, tag := range d.document.get("tags").([]object) {
		if !described[tag.get("name").(string)] {
			tags = append(tags, tag)
		}
	}
	return tags, nil
}

// child returns the member of o with this name, decoded as an object. It
// returns nil if o has no such member.
func child(o object, name string) (c object, err error) {
	if raw, ok := o.get(name).(json.RawMessage); ok {
		if err := json.Unmarshal(raw, &c); err != nil {
			return nil, fmt.Errorf("openapi: decoding %q of your own description: %w", name, err)
		}
	}
	return c, nil
}

// union returns the members of both objects. It returns an error if both have a
// member with the same name. The parameter what is the text before that name in
// the error.
func union(theirs, ours object, what string) (object, error) {
	for _, m := range ours {
		if theirs.get(m.name) != nil {
			return nil, fmt.Errorf("openapi: both descriptions have %s%q", what, m.name)
		}
		theirs = append(theirs, m)
	}
	return theirs, nil
}
