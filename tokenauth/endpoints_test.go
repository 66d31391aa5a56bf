package tokenauth_test

import (
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"

	"github.com/bearerkit/bearerkit/storage/memory"
	"github.com/bearerkit/bearerkit/tokenauth"
)

func TestHandlersRejectsInvalidEndpoints(t *testing.T) {
	t.Parallel()
	plain := newService(t, new(memory.Store), &staff{}, nil)
	withClients := newService(t, new(memory.Store), &staff{}, &tokenauth.Options{Clients: registered{}})
	withSub := newService(t, new(memory.Store), &staff{}, &tokenauth.Options{Clients: registered{}, ResponseAttributes: []string{"tenant", "sub"}})
	withSUB := newService(t, new(memory.Store), &staff{}, &tokenauth.Options{Clients: registered{}, ResponseAttributes: []string{"\u017fUB"}})
	for _, test := range []struct {
		name      string
		auth      *tokenauth.Service
		endpoints tokenauth.Endpoints
		field     string // "" for a valid value
	}{
		{"zero", plain, tokenauth.Endpoints{}, ""},
		{"all", withClients, tokenauth.Endpoints{Token: []string{"/t"}, Revocation: "/r", Introspection: "/i", Issuer: "https://api.example.com/v1"}, ""},
		{"loopback", plain, tokenauth.Endpoints{Issuer: "http://127.0.0.1:8080"}, ""},
		{"http issuer on localhost", plain, tokenauth.Endpoints{Issuer: "http://localhost:8080"}, ""},
		{"introspection without clients", plain, tokenauth.Endpoints{Introspection: "/i"}, "Introspection"},
		{"path without slash", plain, tokenauth.Endpoints{Revocation: "revoke"}, `"revoke"`},
		{"empty token path", plain, tokenauth.Endpoints{Token: []string{""}}, "Token"},
		{"http issuer on another host", plain, tokenauth.Endpoints{Issuer: "http://api.example.com"}, "Issuer"},
		{"query", plain, tokenauth.Endpoints{Issuer: "https://api.example.com?x"}, "Issuer"},
		{"fragment", plain, tokenauth.Endpoints{Issuer: "https://api.example.com#"}, "Issuer"},
		{"password", plain, tokenauth.Endpoints{Issuer: "https://a:b@api.example.com"}, "Issuer"},
		{"no URL", plain, tokenauth.Endpoints{Issuer: "api"}, "Issuer"},
		{"attribute with the name of a standard member", withSub, tokenauth.Endpoints{Introspection: "/i"}, `"sub"`},
		{"attribute that JSON decoders match with a standard member", withSUB, tokenauth.Endpoints{Introspection: "/i"}, `"ſUB"`},
		{"the same attribute without introspection", withSub, tokenauth.Endpoints{Revocation: "/r"}, ""},
		{"all paths below the issuer's path", plain, tokenauth.Endpoints{Token: []string{"/v1/t"}, Revocation: "/v1/r", Issuer: "https://api.example.com/v1/"}, ""},
		{"some paths below the issuer's path", plain, tokenauth.Endpoints{Token: []string{"/v1/t"}, Revocation: "/r", Issuer: "https://api.example.com/v1"}, `"/v1/t" and "/r" do not begin with the same part`},
		{"some paths begin with the last part of the issuer's path", plain, tokenauth.Endpoints{Token: []string{"/auth/t"}, Revocation: "/r", Issuer: "https://api.example.com/v1/auth"}, `"/auth/t" and "/r" do not begin with the same part`},
		{"a parameter in the issuer's path", plain, tokenauth.Endpoints{Issuer: "https://api.example.com/:tenant"}, "parameters"},
		{"a net/http parameter in the issuer's path", plain, tokenauth.Endpoints{Issuer: "https://api.example.com/{tenant}"}, "parameters"},
		{"two slashes at the end", plain, tokenauth.Endpoints{Issuer: "https://api.example.com/auth//"}, "empty segments"},
		{"a Gin parameter in a path", plain, tokenauth.Endpoints{Token: []string{"/:tenant/t"}, Issuer: "https://api.example.com"}, ":tenant"},
		{"a net/http parameter in a path", plain, tokenauth.Endpoints{Revocation: "/{tenant}/r", Issuer: "https://api.example.com"}, "{tenant}"},
		{"parameter without an issuer", plain, tokenauth.Endpoints{Token: []string{"/:tenant/t"}}, ""},
		{"twice", plain, tokenauth.Endpoints{Revocation: "/Token"}, "twice"},
		{"the same path twice", plain, tokenauth.Endpoints{Token: []string{"/t", "/t"}}, "twice"},
	} {
		_, _, err := test.auth.Handlers("", test.endpoints)
		if (err == nil) != (test.field == "") || err != nil && !strings.Contains(err.Error(), test.field) {
			t.Errorf("%s: error %v, want one with %q, or none if that is empty", test.name, err, test.field)
		}
	}
}

func TestMountEndpointsServesEachEndpoint(t *testing.T) {
	t.Parallel()
	auth := newService(t, new(memory.Store), &staff{}, &tokenauth.Options{Clients: registered{"api": all}})
	mux := http.NewServeMux()
	mounted := auth.Mount(mux, tokenauth.Endpoints{Revocation: "/revoke", Introspection: "/introspect", Issuer: "https://api.example.com/"})
	want := tokenauth.Endpoints{Token: []string{"/Token", "/token"}, Revocation: "/revoke", Introspection: "/introspect", Issuer: "https://api.example.com"}
	if !reflect.DeepEqual(mounted, want) {
		t.Errorf("mounted %+v, want %+v", mounted, want)
	}
	for _, path := range []string{"/Token", "/token", "/revoke", "/introspect"} {
		recorder := httptest.NewRecorder()
		mux.ServeHTTP(recorder, httptest.NewRequest("PUT", path, nil))
		if recorder.Code != http.StatusMethodNotAllowed {
			t.Errorf("PUT %s: answered %d, want 405", path, recorder.Code)
		}
	}
	recorder := httptest.NewRecorder()
	mux.ServeHTTP(recorder, httptest.NewRequest("GET", "/.well-known/oauth-authorization-server", nil))
	const metadata = `{"issuer":"https://api.example.com","token_endpoint":"https://api.example.com/Token",` +
		`"token_endpoint_auth_methods_supported":["client_secret_basic","client_secret_post","none"],"grant_types_supported":["password"],"response_types_supported":[],` +
		`"revocation_endpoint":"https://api.example.com/revoke","revocation_endpoint_auth_methods_supported":["client_secret_basic","client_secret_post","none"],` +
		`"introspection_endpoint":"https://api.example.com/introspect","introspection_endpoint_auth_methods_supported":["client_secret_basic","client_secret_post"]}`
	if recorder.Code != http.StatusOK || recorder.Body.String() != metadata {
		t.Errorf("metadata: answered %d %s", recorder.Code, recorder.Body)
	}
	defer func() {
		if recover() == nil {
			t.Error("Mount with an invalid field does not panic")
		}
	}()
	auth.Mount(http.NewServeMux(), tokenauth.Endpoints{Issuer: "ftp://x"})
}

func TestMetadataFollowsRFC8414(t *testing.T) {
	t.Parallel()
	auth := newService(t, new(memory.Store), &staff{}, nil)
	mux := http.NewServeMux()
	auth.Mount(mux, tokenauth.Endpoints{Token: []string{"/oauth/token"}, Issuer: "https://api.example.com/v1/"})
	for _, test := range []struct {
		method, path string
		status       int
		body         string
	}{
		{"GET", "/.well-known/oauth-authorization-server/v1", 200, `{"issuer":"https://api.example.com/v1","token_endpoint":"https://api.example.com/v1/oauth/token","token_endpoint_auth_methods_supported":["none"],"grant_types_supported":["password"],"response_types_supported":[]}`},
		{"POST", "/.well-known/oauth-authorization-server/v1", 405, "Method Not Allowed\n"},
		{"GET", "/.well-known/oauth-authorization-server", 404, "404 page not found\n"},
		{"POST", "/revoke", 404, "404 page not found\n"}, // this Service mounted no revocation endpoint
	} {
		recorder := httptest.NewRecorder()
		mux.ServeHTTP(recorder, httptest.NewRequest(test.method, test.path, nil))
		if recorder.Code != test.status || recorder.Body.String() != test.body {
			t.Errorf("%s %s: answered %d %s", test.method, test.path, recorder.Code, recorder.Body)
		}
	}
}

// The URLs in the metadata begin with the issuer. Either a proxy strips the
// issuer's path, or the endpoints are mounted below it.
func TestMetadataURLsBeginWithTheIssuer(t *testing.T) {
	t.Parallel()
	auth := newService(t, new(memory.Store), &staff{}, nil)
	for _, test := range []struct{ prefix, issuer, token, want string }{
		{"", "https://api.example.com/auth", "/Token", "https://api.example.com/auth/Token"},
		{"", "https://api.example.com/auth/", "/Token", "https://api.example.com/auth/Token"},
		{"/auth", "https://api.example.com/auth", "/Token", "https://api.example.com/auth/Token"},
		{"", "https://api.example.com/auth", "/auth/Token", "https://api.example.com/auth/Token"},
		{"", "https://api.example.com/auth", "/authority/Token", "https://api.example.com/auth/authority/Token"},
		{"/v1", "https://api.example.com/auth", "/Token", "https://api.example.com/auth/v1/Token"},
		{"/auth", "https://api.example.com/v1/auth", "/Token", "https://api.example.com/v1/auth/Token"}, // the proxy strips /v1
		{"/a/b", "https://api.example.com/v1/a/b", "/Token", "https://api.example.com/v1/a/b/Token"},
		{"/b", "https://api.example.com/a/b/", "/c/Token", "https://api.example.com/a/b/c/Token"},
		{"/auth", "https://api.example.com/auth/v1", "/Token", "https://api.example.com/auth/v1/auth/Token"},
		{"/v1", "https://api.example.com", "/Token", "https://api.example.com/v1/Token"},
	} {
		e := tokenauth.Endpoints{Token: []string{test.token}, Issuer: test.issuer}
		handlers, mounted, err := auth.Handlers(test.prefix, e)
		if err != nil {
			t.Fatal(err)
		}
		recorder := httptest.NewRecorder()
		handlers[mounted.MetadataPath()].ServeHTTP(recorder, httptest.NewRequest("GET", "/", nil))
		if body := recorder.Body.String(); !strings.Contains(body, `"token_endpoint":"`+test.want+`"`) {
			t.Errorf("%+v: the metadata is %s", test, body)
		}
	}
}

func TestHandlersRejectsSeveralEndpoints(t *testing.T) {
	t.Parallel()
	auth := newService(t, new(memory.Store), &staff{}, nil)
	if _, _, err := auth.Handlers("", tokenauth.Endpoints{}, tokenauth.Endpoints{}); err == nil || !strings.Contains(err.Error(), "more than one") {
		t.Error(err)
	}
}

func TestHandlersAddThePrefix(t *testing.T) {
	t.Parallel()
	auth := newService(t, new(memory.Store), &staff{}, nil)
	e := tokenauth.Endpoints{Token: []string{"/Token"}, Revocation: "/revoke", Issuer: "https://api.example.com"}
	handlers, got, err := auth.Handlers("/v1/", e)
	want := tokenauth.Endpoints{Token: []string{"/v1/Token"}, Revocation: "/v1/revoke", Issuer: "https://api.example.com"}
	if err != nil || !reflect.DeepEqual(got, want) || e.Token[0] != "/Token" || handlers["/Token"] == nil {
		t.Errorf("Handlers returned %+[2]v for %+[1]v, error %[3]v", e, got, err)
	}
	recorder := httptest.NewRecorder()
	handlers[e.MetadataPath()].ServeHTTP(recorder, httptest.NewRequest("GET", "/", nil))
	if got, want := recorder.Body.String(), `{"issuer":"https://api.example.com","token_endpoint":"https://api.example.com/v1/Token",`; !strings.HasPrefix(got, want) {
		t.Errorf("the metadata is %s", got)
	}
}
