package openapi_test

import (
	"strings"
	"testing"

	"github.com/bearerkit/bearerkit/tokenauth"
)

const hosts = `{
	"openapi": "3.1.1", "info": {"title": "Reports", "version": "7"}, "x-mine": [1, 2],
	"servers": [{"url": "https://api.example.com"}],
	"tags": [{"name": "Token", "description": "Said by the host."}, {"name": "Reports"}],
	"paths": {"/reports": {"get": {"security": [{"bearer": []}], "responses": {
		"200": {"description": "All of them."},
		"401": {"$ref": "#/components/responses/BearerUnauthorized"},
		"503": {"$ref": "#/components/responses/BearerUnavailable"}
	}}}},
	"components": {"schemas": {"Report": {"type": "object"}}, "examples": {"one": {"value": 1}}}
}`

func TestMerge(t *testing.T) {
	t.Parallel()
	d := mustDescribe(t, nil, tokenauth.Endpoints{Revocation: "/revoke"}, nil)
	merged, err := d.Merge([]byte(hosts))
	if err != nil {
		t.Fatal(err)
	}
	valid(t, merged)
	doc, ours := document(t, merged), document(t, d.JSON())
	for _, path := range [][]string{
		{"paths", "/reports", "get", "responses", "401", "headers", "WWW-Authenticate"},
		{"paths", "/Token", "post"}, {"paths", "/revoke", "post"},
		{"components", "schemas", "Report"}, {"components", "schemas", "TokenResponse"},
		{"components", "examples", "one"}, {"components", "securitySchemes", "bearer"}, {"x-mine"},
	} {
		if at(doc, path...) == nil {
			t.Errorf("the result lacks %v", path)
		}
	}
	if at(doc, "info", "title") != "Reports" || at(doc, "openapi") != "3.1.1" {
		t.Error("Merge changed the host's info or version")
	}
	text := string(merged)
	if !strings.Contains(text, "Said by the host.") || strings.Contains(text, "Get and revoke access tokens") || !strings.Contains(text, "Other spellings") {
		t.Errorf("got the tags %v", doc["tags"])
	}
	if !(strings.Index(text, `"/reports"`) < strings.Index(text, `"/Token"`)) || !(strings.Index(text, `"info"`) < strings.Index(text, `"x-mine"`)) {
		t.Error("Merge changed the order of the host's members")
	}
	if at(ours, "paths", "/reports") != nil || string(d.JSON()) == text {
		t.Error("Merge changed the description")
	}
}

func TestMergeIntoMinimalDocument(t *testing.T) {
	t.Parallel()
	d := mustDescribe(t, nil, tokenauth.Endpoints{}, nil)
	merged, err := d.Merge([]byte(`{"openapi":"3.2.0","info":{"title":"x","version":"1"}}`))
	if err != nil {
		t.Fatal(err)
	}
	if doc := document(t, merged); at(doc, "paths", "/Token", "get") == nil || at(doc, "components", "responses", "BearerForbidden") == nil {
		t.Errorf("got %s, want the paths and components of the Token API", merged)
	}
}

func TestMergeRejectsInvalidDocuments(t *testing.T) {
	t.Parallel()
	d := mustDescribe(t, nil, tokenauth.Endpoints{}, nil)
	const version = `{"openapi":"3.1.0",`
	for name, test := range map[string]struct{ host, says string }{
		"a path":             {version + `"paths":{"/Token":{}}}`, `the path "/Token"`},
		"a component":        {version + `"components":{"securitySchemes":{"bearer":{}}}}`, `a member of components/securitySchemes named "bearer"`},
		"not JSON":           {`openapi: 3.1.0`, "invalid character"},
		"truncated":          {version, "unexpected"},
		"a list":             {`[]`, "object"},
		"an older version":   {`{"openapi":"3.0.3"}`, `"3.0.3"`},
		"no version":         {`{}`, "3.1"},
		"invalid paths":      {version + `"paths":[]}`, "paths"},
		"invalid components": {version + `"components":1}`, "components"},
		"invalid responses":  {version + `"components":{"responses":1}}`, "responses"},
		"invalid tags":       {version + `"tags":1}`, "tags"},
		"duplicate path":     {version + `"paths":{"/a":{},"/a":{}}}`, `has the member "/a" twice`},
	} {
		if merged, err := d.Merge([]byte(test.host)); err == nil || !strings.Contains(err.Error(), test.says) || merged != nil {
			t.Errorf("%s: got %v, want an error with %q", name, err, test.says)
		}
	}
	merged, err := d.Merge([]byte(hosts))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Merge(merged); err == nil {
		t.Error("got no error for a second Merge")
	}
}
