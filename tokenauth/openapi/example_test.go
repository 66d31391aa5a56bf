package openapi_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"

	"github.com/bearerkit/bearerkit/storage/memory"
	"github.com/bearerkit/bearerkit/tokenauth"
	"github.com/bearerkit/bearerkit/tokenauth/openapi"
)

// A service serves the description and the page, with a route of its own.
func Example() {
	auth, err := tokenauth.New(new(memory.Store), people{}, nil)
	if err != nil {
		panic(err)
	}
	mux := http.NewServeMux()
	mounted := auth.Mount(mux, tokenauth.Endpoints{Revocation: "/revoke"})

	d, err := openapi.New(auth, mounted, &openapi.Options{
		Title: "Reports",
		Paths: map[string]any{"/reports": map[string]any{"get": openapi.Protected(map[string]any{
			"operationId": "reports", "summary": "All reports", "tags": []string{"Reports"},
			"responses": map[string]any{"200": map[string]any{"description": "The reports."}},
		}, "Auditor")}},
	})
	if err != nil {
		panic(err)
	}
	mux.Handle("/openapi.json", d)
	page := d.Page()
	mux.Handle("/docs", page)
	mux.Handle("/docs/", page)

	for _, path := range []string{"/openapi.json", "/docs/"} {
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, httptest.NewRequest("GET", path, nil))
		fmt.Println(path, w.Code, w.Header().Get("Content-Type"))
	}
	// Output:
	// /openapi.json 200 application/json
	// /docs/ 200 text/html; charset=utf-8
}

// A service adds the Token API to its existing description. Its own operations
// refer to the added components.
func ExampleDescription_Merge() {
	auth, err := tokenauth.New(new(memory.Store), people{}, nil)
	if err != nil {
		panic(err)
	}
	d, err := openapi.New(auth, auth.Mount(http.NewServeMux(), tokenauth.Endpoints{Token: []string{"/Token"}}), nil)
	if err != nil {
		panic(err)
	}
	merged, err := d.Merge([]byte(`{
		"openapi": "3.1.0",
		"info": {"title": "Reports", "version": "7"},
		"paths": {"/reports": {"get": {
			"security": [{"bearer": []}],
			"responses": {
				"200": {"description": "The reports."},
				"401": {"$ref": "#/components/responses/BearerUnauthorized"},
				"503": {"$ref": "#/components/responses/BearerUnavailable"}
			}
		}}}
	}`))
	if err != nil {
		panic(err)
	}
	var document struct {
		Info  struct{ Title string }
		Paths map[string]any
	}
	if err := json.Unmarshal(merged, &document); err != nil {
		panic(err)
	}
	fmt.Println(document.Info.Title, document.Paths["/reports"] != nil, document.Paths["/Token"] != nil)
	// Output: Reports true true
}
