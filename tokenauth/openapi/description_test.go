package openapi_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pb33f/libopenapi"
	validator "github.com/pb33f/libopenapi-validator"

	"github.com/bearerkit/bearerkit/storage/memory"
	"github.com/bearerkit/bearerkit/tokenauth"
	"github.com/bearerkit/bearerkit/tokenauth/openapi"
	"github.com/bearerkit/bearerkit/tokenauth/tokenauthtest"
)

// valid fails unless the document matches the schema of OpenAPI and each of its
// references has a target.
func valid(t *testing.T, b []byte) {
	t.Helper()
	parsed, err := libopenapi.NewDocument(b)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := parsed.BuildV3Model(); err != nil {
		t.Error(err)
	}
	v, errs := validator.NewValidator(parsed)
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	if ok, errs := v.ValidateDocument(); !ok {
		for _, err := range errs {
			t.Error(err)
			for _, cause := range err.SchemaValidationErrors {
				t.Error(cause)
			}
		}
	}
}

func describe(t *testing.T, o *tokenauth.Options, e tokenauth.Endpoints, more *openapi.Options) (*openapi.Description, error) {
	t.Helper()
	auth, err := tokenauth.New(new(memory.Store), people{}, o)
	if err != nil {
		t.Fatal(err)
	}
	return openapi.New(auth, e, more)
}

func mustDescribe(t *testing.T, o *tokenauth.Options, e tokenauth.Endpoints, more *openapi.Options) *openapi.Description {
	t.Helper()
	d, err := describe(t, o, e, more)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestDescriptionIsOpenAPI(t *testing.T) {
	t.Parallel()
	clients, _ := newRegistry()
	for name, test := range map[string]struct {
		o    *tokenauth.Options
		e    tokenauth.Endpoints
		more *openapi.Options
	}{
		"defaults": {},
		"everything": {
			&tokenauth.Options{Clients: clients, ResponseAttributes: []string{"tenant"}},
			tokenauth.Endpoints{Revocation: "/revoke", Introspection: "/introspect", Issuer: "https://api.example.com/v1"},
			&openapi.Options{Title: "Reports <&>", Version: "2.1", Server: "https://api.example.com/v1", Paths: own()},
		},
		"devices": {
			&tokenauth.Options{Clients: clients, Devices: &tokenauth.DeviceOptions{Parameter: "installation"}},
			tokenauth.Endpoints{}, nil,
		},
		"further parameters": {&tokenauth.Options{Parameters: []string{"otp", "recovery.code"}}, tokenauth.Endpoints{}, nil},
		"refresh tokens": {
			&tokenauth.Options{Clients: clients, Refresh: new(tokenauth.RefreshOptions)},
			tokenauth.Endpoints{Revocation: "/revoke", Introspection: "/introspect", Issuer: "https://api.example.com"}, nil,
		},
		"POST only":  {&tokenauth.Options{DisableGET: true}, tokenauth.Endpoints{Token: []string{"/t"}}, nil},
		"own errors": {nil, tokenauth.Endpoints{}, &openapi.Options{OwnErrors: true, Paths: own()}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := mustDescribe(t, test.o, test.e, test.more)
			valid(t, d.JSON())
			ids := make(map[string]bool)
			doc := document(t, d.JSON())
			for path, item := range doc["paths"].(map[string]any) {
				for method := range item.(map[string]any) {
					id := fmt.Sprint(at(doc, "paths", path, method, "operationId"))
					if ids[id] {
						t.Errorf("the operation ID %s occurs twice", id)
					}
					ids[id] = true
				}
			}
		})
	}
}

// A validator that accepts everything would make the other tests useless.
func TestValidatorRejectsInvalidDocument(t *testing.T) {
	t.Parallel()
	d := mustDescribe(t, nil, tokenauth.Endpoints{}, nil)
	broken := strings.Replace(string(d.JSON()), `"operationId":"signIn"`, `"operationId":["signIn"]`, 1)
	parsed, err := libopenapi.NewDocument([]byte(broken))
	if err != nil {
		t.Fatal(err)
	}
	v, errs := validator.NewValidator(parsed)
	if len(errs) > 0 {
		return
	}
	if ok, _ := v.ValidateDocument(); ok {
		t.Error("the validator accepts a list as an operation ID")
	}
}

// The description covers the mounted endpoints and the options, and nothing else.
func TestDescribesMountedEndpoints(t *testing.T) {
	t.Parallel()
	paths := func(d *openapi.Description) string {
		doc := document(t, d.JSON())
		var list []string
		for path, item := range doc["paths"].(map[string]any) {
			for method := range item.(map[string]any) {
				list = append(list, method+" "+path)
			}
		}
		slices.Sort(list)
		return strings.Join(list, ", ")
	}
	clients, _ := newRegistry()
	plain := mustDescribe(t, nil, tokenauth.Endpoints{}, nil)
	full := mustDescribe(t, &tokenauth.Options{
		Clients: clients, DisableGET: true, Lifetime: 36 * time.Hour, Realm: "staff", Prefix: "zz_", ResponseAttributes: []string{"tenant"},
	}, tokenauth.Endpoints{Token: []string{"/api/Token"}, Revocation: "/api/revoke", Introspection: "/api/introspect", Issuer: "https://api.example.com/x"}, &openapi.Options{Paths: own()})

	if got := paths(plain); got != "get /Token, get /token, post /Token, post /token" {
		t.Errorf("without options: got %s", got)
	}
	if got := paths(full); got != "get /.well-known/oauth-authorization-server/x, get /admin, get /me, post /api/Token, post /api/introspect, post /api/revoke" {
		t.Errorf("with all options: got %s", got)
	}
	for text, want := range map[string][2]bool{ // in plain, in full
		`"client":{"type":"http","scheme":"basic"`: {false, true},
		"client_secret=":  {false, true},
		"invalid_client":  {false, true},
		"14 days":         {true, false},
		"36 hours":        {false, true},
		`realm=\"staff\"`: {false, true},
		`realm=\"api\"`:   {true, false},
		"zz_EXAMPLE":      {false, true},
		`"tenant"`:        {false, true},
		`"GET, POST"`:     {true, false},
		`"const":"POST"`:  {false, true},
		"129599":          {false, true},
		"1209599":         {true, false},
		"device":          {false, false},
		`"url":`:          {false, false},
	} {
		for i, d := range []*openapi.Description{plain, full} {
			if got := strings.Contains(string(d.JSON()), text); got != want[i] {
				t.Errorf("description %d contains %s: got %t, want %t", i, text, got, want[i])
			}
		}
	}
	doc := document(t, full.JSON())
	if got := at(doc, "paths", "/admin", "get", "security"); fmt.Sprint(got) != "[map[bearer:[Administrator]] map[bearer:[Owner]]]" {
		t.Errorf("got the security requirements %v for a route with roles", got)
	}
	if at(doc, "servers") != nil {
		t.Error("got servers, want none without Options.Server")
	}
}

// The description has the parameters of a device under their configured names, and
// says that each device has a token. Without the parameter, requests cannot name a
// device, so the description does not mention devices.
func TestDescribesDevices(t *testing.T) {
	t.Parallel()
	clients, _ := newRegistry()
	for _, test := range []struct {
		o             tokenauth.Options
		has, previous string
		parameters    []any // the device, its name, and another name
	}{
		{tokenauth.Options{}, "A user has one valid token:", "The user's previous token becomes invalid.", []any{false, false, false}},
		{tokenauth.Options{Devices: new(tokenauth.DeviceOptions)}, "A user has one valid token:", "The user's previous token becomes invalid.", []any{false, false, false}},
		{
			tokenauth.Options{Devices: &tokenauth.DeviceOptions{Parameter: "device"}},
			"A user has one valid token on each device:", "The user's previous token on this device becomes invalid.", []any{true, true, false},
		},
		{
			tokenauth.Options{Devices: &tokenauth.DeviceOptions{Parameter: "Installation"}, Clients: clients},
			"A user has one valid token on each device of each client:", "The user's previous token on this device of this client becomes invalid.", []any{false, false, true},
		},
		{tokenauth.Options{Clients: clients}, "A user has one valid token at each client:", "The user's previous token at this client becomes invalid.", []any{false, false, false}},
	} {
		doc := document(t, mustDescribe(t, &test.o, tokenauth.Endpoints{}, nil).JSON())
		properties := at(doc, "components", "requestBodies", "TokenRequest", "content", "application/x-www-form-urlencoded", "schema", "properties").(map[string]any)
		for i, name := range []string{"device", "device_name", "installation"} {
			if got := properties[name] != nil; got != test.parameters[i] {
				t.Errorf("%s the parameter %s is described: %v, want %v", test.has, name, got, test.parameters[i])
			}
		}
		if text := fmt.Sprint(at(doc, "info", "description")); !strings.Contains(text, test.has) {
			t.Errorf("got the introduction %s, want it to contain %s", text, test.has)
		}
		if text := fmt.Sprint(at(doc, "paths", "/Token", "post", "description")); !strings.Contains(text, test.previous) {
			t.Errorf("got the description %s, want it to contain %s", text, test.previous)
		}
	}
}

// The description has the further parameters under their names as listed. Like
// a password, a page must not show them.
func TestDescribesFurtherParameters(t *testing.T) {
	t.Parallel()
	doc := document(t, mustDescribe(t, &tokenauth.Options{Parameters: []string{"otp", "Recovery.Code"}}, tokenauth.Endpoints{}, nil).JSON())
	schema := at(doc, "components", "requestBodies", "TokenRequest", "content", "application/x-www-form-urlencoded", "schema")
	for _, name := range []string{"otp", "Recovery.Code"} {
		property, _ := at(schema.(map[string]any), "properties", name).(map[string]any)
		if property["format"] != "password" || property["maxLength"] != 1024.0 {
			t.Errorf("the parameter %s is described as %v, want the format password and at most 1024 bytes", name, property)
		}
	}
	if required := fmt.Sprint(at(schema.(map[string]any), "required")); required != "[grant_type username password]" {
		t.Errorf("the parameters %s are required, want only those of each sign-in", required)
	}
}

// Refresh tokens are described only with their option, and then wherever they occur.
func TestDescribesRefreshTokens(t *testing.T) {
	t.Parallel()
	clients, _ := newRegistry()
	e := tokenauth.Endpoints{Revocation: "/revoke", Introspection: "/introspect", Issuer: "https://api.example.com"}
	o := tokenauth.Options{Clients: clients}
	if text := string(mustDescribe(t, &o, e, nil).JSON()); strings.Contains(strings.ToLower(text), "refresh") {
		t.Error("without the option, the description mentions refresh tokens")
	}
	o.Refresh = &tokenauth.RefreshOptions{Prefix: "renew_", Lifetime: 60 * 24 * time.Hour, Grace: 10 * time.Second}
	o.Lifetime = 15 * time.Minute
	doc := document(t, mustDescribe(t, &o, e, nil).JSON())
	schema := at(doc, "components", "requestBodies", "TokenRequest", "content", "application/x-www-form-urlencoded", "schema")
	if got := fmt.Sprint(at(schema, "properties", "grant_type", "enum"), at(schema, "required"), at(schema, "then", "required"), at(schema, "else", "required")); got != "[password refresh_token] [grant_type] [refresh_token] [username password]" {
		t.Errorf("the parameters of a token request are %s", got)
	}
	response := at(doc, "components", "schemas", "TokenResponse")
	if got := fmt.Sprint(at(response, "required")); got != "[access_token token_type expires_in refresh_token userName userId role .issued .expires]" {
		t.Errorf("the members of the response are %s", got)
	}
	if got := at(response, "properties", "refresh_token", "pattern"); got != "^renew_[A-Za-z0-9_-]+$" {
		t.Errorf("the pattern of a refresh token is %v", got)
	}
	text := fmt.Sprint(at(doc, "paths", "/Token", "post", "description"))
	for _, want := range []string{"within 10 seconds", "valid for 60 days", "ends after 90 days"} {
		if !strings.Contains(text, want) {
			t.Errorf("the description of the token endpoint lacks %q: %s", want, text)
		}
	}
	if got := fmt.Sprint(at(doc, "paths", e.MetadataPath(), "get", "responses", "200", "content", "application/json", "schema", "properties", "grant_types_supported", "const")); got != "[password refresh_token]" {
		t.Errorf("the grants in the metadata are %s", got)
	}
}

// The description allows for clients with a lifetime of their own, and says that a
// use extends a token.
func TestDescribesLifetimes(t *testing.T) {
	t.Parallel()
	clients, _ := newRegistry()
	hours := tokenauth.Options{Lifetime: 36 * time.Hour}
	ownLifetimes := hours
	ownLifetimes.Clients = clients
	const day = 24 * time.Hour
	for _, test := range []struct {
		o       tokenauth.Options
		expires string
		maximum time.Duration
	}{
		{hours, "36 hours later. The server rejects it from then on.", 36 * time.Hour},
		{ownLifetimes, "36 hours later, unless the client has another lifetime. The server rejects it from then on.", 365 * day},
		{tokenauth.Options{Lifetime: 36 * time.Hour, MaxLifetime: 90 * day}, "36 hours later. Each use extends it, up to 90 days after the sign-in.", 36 * time.Hour},
	} {
		auth, err := tokenauth.New(&tokenauthtest.FailingStorage{Storage: new(memory.Store)}, people{}, &test.o)
		if err != nil {
			t.Fatal(err)
		}
		d, err := openapi.New(auth, auth.Mount(http.NewServeMux()), nil)
		if err != nil {
			t.Fatal(err)
		}
		doc := document(t, d.JSON())
		properties := []string{"components", "schemas", "TokenResponse", "properties"}
		if got := fmt.Sprint(at(doc, append(properties, ".expires", "description")...)); !strings.HasSuffix(got, test.expires) {
			t.Errorf("got the description of .expires %s, want it to end with %s", got, test.expires)
		}
		if got, want := at(doc, append(properties, "expires_in", "maximum")...), test.maximum.Seconds()-1; got != want {
			t.Errorf("got the maximum %v of expires_in, want %v", got, want)
		}
	}
}

// The order of paths and tags in the document is the order on the page and in
// generated clients.
func TestListsHostRoutesFirst(t *testing.T) {
	t.Parallel()
	text := string(mustDescribe(t, nil, tokenauth.Endpoints{}, &openapi.Options{Paths: own()}).JSON())
	previous := 0
	for _, part := range []string{`"tags":[{"name":"Host"},{"name":"Token",`, `"paths":{"/admin":{`, `"/me":{`, `"/Token":{`, `"components":{`} {
		i := strings.Index(text, part)
		if i < previous {
			t.Errorf("got %s at %d, want it after %d", part, i, previous)
		}
		previous = i
	}
}

func TestOwnErrorsOmitsBodies(t *testing.T) {
	t.Parallel()
	render := func(http.ResponseWriter, *http.Request, *tokenauth.ErrorResponse) {}
	for option, d := range map[string]*openapi.Description{
		"RenderError": mustDescribe(t, &tokenauth.Options{RenderError: render}, tokenauth.Endpoints{}, nil),
		"OwnErrors":   mustDescribe(t, nil, tokenauth.Endpoints{}, &openapi.Options{OwnErrors: true}),
	} {
		doc := document(t, d.JSON())
		for _, name := range []string{"BearerInvalidRequest", "BearerUnauthorized", "BearerForbidden", "BearerServerError", "BearerUnavailable"} {
			if at(doc, "components", "responses", name, "content") != nil {
				t.Errorf("%s: got a body of %s, want none", option, name)
			}
			if at(doc, "components", "responses", name, "headers", "Cache-Control") == nil {
				t.Errorf("%s: got no headers of %s", option, name)
			}
		}
	}
}

// Protected does not replace a response that the operation has already.
func TestProtectedKeepsOwnResponses(t *testing.T) {
	t.Parallel()
	mine := map[string]any{"description": "mine"}
	op := map[string]any{"responses": map[string]any{"401": mine}}
	got := openapi.Protected(op, "Owner")["responses"].(map[string]any)
	if fmt.Sprint(got["401"]) != fmt.Sprint(mine) {
		t.Errorf("got the 401 %v, want the operation's own", got["401"])
	}
	if keys := slices.Sorted(maps.Keys(got)); strings.Join(keys, " ") != "400 401 403 500 503" {
		t.Errorf("got the statuses %v", keys)
	}
	if len(op) != 1 || len(op["responses"].(map[string]any)) != 1 {
		t.Errorf("Protected changed its argument: %v", op)
	}
	type named map[string]any // as gin.H is
	if got := openapi.Protected(map[string]any{"responses": named{"200": named{"description": "mine"}}})["responses"].(map[string]any); fmt.Sprintf("%s", got["200"]) != `{"description":"mine"}` || got["401"] == nil {
		t.Errorf("got the responses %v for a named map type", got)
	}
	func() {
		defer func() {
			if recover() == nil {
				t.Error("got no panic for responses that are not an object")
			}
		}()
		openapi.Protected(map[string]any{"responses": 200})
	}()
	if responses := openapi.Protected(nil)["responses"].(map[string]any); responses["403"] != nil {
		t.Error("got a 403 for a route without roles")
	}
}

func TestNewRejectsInvalidOptions(t *testing.T) {
	t.Parallel()
	for says, test := range map[string]struct {
		e    tokenauth.Endpoints
		more openapi.Options
	}{
		"slash":          {tokenauth.Endpoints{}, openapi.Options{Paths: map[string]any{"me": map[string]any{}}}},
		"is mounted":     {tokenauth.Endpoints{}, openapi.Options{Paths: map[string]any{"/token": map[string]any{}}}},
		"unsupported":    {tokenauth.Endpoints{}, openapi.Options{Paths: map[string]any{"/me": map[string]any{"get": func() {}}}}},
		"JSON object":    {tokenauth.Endpoints{}, openapi.Options{Paths: map[string]any{"/me": "x"}}},
		"Options.Server": {tokenauth.Endpoints{}, openapi.Options{Server: "https://a b"}},
		"https URL":      {tokenauth.Endpoints{Issuer: "ftp://x"}, openapi.Options{}},
		"needs Options.": {tokenauth.Endpoints{Introspection: "/i"}, openapi.Options{}},
	} {
		if _, err := describe(t, nil, test.e, &test.more); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%+v: got %v, want an error with %q", test, err, says)
		}
	}
	// A browser would misread these.
	for _, server := range []string{"api.example.com/v1", "api.example.com:8080", "//api.example.com", "ftp://api.example.com", "https:///v1", "https://a:b@api.example.com", "/v1?x", "/v1#", "v1"} {
		if _, err := describe(t, nil, tokenauth.Endpoints{}, &openapi.Options{Server: server}); err == nil || !strings.Contains(err.Error(), "Options.Server") {
			t.Errorf("server %q: got %v, want an error about Options.Server", server, err)
		}
	}
}

func TestServesDescription(t *testing.T) {
	t.Parallel()
	d := mustDescribe(t, nil, tokenauth.Endpoints{}, nil)
	get := func(method string, header http.Header) *httptest.ResponseRecorder {
		r := httptest.NewRequest(method, "/openapi.json", nil)
		r.Header = header
		w := httptest.NewRecorder()
		d.ServeHTTP(w, r)
		return w
	}
	w := get("GET", http.Header{})
	if w.Code != 200 || w.Header().Get("Content-Type") != "application/json" || w.Body.String() != string(d.JSON()) || w.Header().Get("Content-Encoding") != "" {
		t.Errorf("got %d %v", w.Code, w.Header())
	}
	if again := get("GET", http.Header{"If-None-Match": {w.Header().Get("ETag")}}); again.Code != 304 || again.Body.Len() > 0 {
		t.Errorf("got %d for a matching ETag, want 304 without a body", again.Code)
	}
	if head := get("HEAD", http.Header{}); head.Code != 200 || head.Body.Len() > 0 || head.Header().Get("Content-Length") != w.Header().Get("Content-Length") {
		t.Errorf("HEAD: got %d %v", head.Code, head.Header())
	}
	if post := get("POST", http.Header{}); post.Code != 405 || post.Header().Get("Allow") != "GET, HEAD" {
		t.Errorf("POST: got %d, want 405", post.Code)
	}
	// JSON returns a copy.
	b := d.JSON()
	clear(b)
	if !json.Valid(d.JSON()) {
		t.Error("changing the result of JSON changed the description")
	}
}
