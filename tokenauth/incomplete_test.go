package tokenauth_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"

	"github.com/bearerkit/bearerkit/storage/memory"
	"github.com/bearerkit/bearerkit/tokenauth"
	"github.com/bearerkit/bearerkit/tokenauth/openapi"
	"github.com/bearerkit/bearerkit/tokenauth/tokenauthtest"
)

// incompletes returns requests for a path as tests and adapters make them. Each
// contains no more than the complete one, which a server could have received.
func incompletes(method, path string) map[string]*http.Request {
	made, err := http.NewRequest(method, path, nil)
	if err != nil {
		panic(err)
	}
	type key struct{}
	requests := map[string]*http.Request{
		"complete":        httptest.NewRequest(method, path, nil),
		"NewRequest":      made,
		"without header":  {Method: method, URL: &url.URL{Path: path}, Body: http.NoBody},
		"without address": {Method: method, URL: &url.URL{Path: path}, Header: http.Header{}, Body: http.NoBody, Host: "example.com"},
		"bare":            {Method: method, URL: &url.URL{Path: path}},
		"no value":        made.WithContext(context.WithValue(context.Background(), key{}, nil)),
		"context.TODO":    made.WithContext(context.TODO()),
		"half a body":     {Method: method, URL: &url.URL{Path: path}, ContentLength: 100},
		"unknown length":  {Method: method, URL: &url.URL{Path: path}, ContentLength: -1, TransferEncoding: []string{}},
	}
	if method == "GET" {
		requests["without method"] = &http.Request{URL: &url.URL{Path: path}}
		if path == "/" {
			requests["zero"] = new(http.Request)
			requests["nil"] = nil
		}
	}
	return requests
}

// A request that lacks fields is answered as a complete one. A request that
// announces a body but has none is answered with an error.
func TestIncompleteRequestsAreAnswered(t *testing.T) {
	t.Parallel()
	read := func(r *http.Request) string { // reads fields as a host may that expects complete requests
		b, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		return r.URL.Path + r.Header.Get("Cookie") + string(b) + r.FormValue("x")
	}
	plain := newService(t, new(memory.Store), &staff{}, nil)
	full := newService(t, new(memory.Store), &staff{}, &tokenauth.Options{
		Clients: registered{"api": all},
		RenderError: func(w http.ResponseWriter, r *http.Request, e *tokenauth.ErrorResponse) {
			http.Error(w, e.Code+read(r), e.Status)
		},
		Fallback: func(r *http.Request) (tokenauth.Principal, error) {
			read(r)
			return tokenauth.Principal{}, tokenauth.ErrRejected
		},
	})
	known := newService(t, new(memory.Store), &staff{}, &tokenauth.Options{
		Fallback: func(r *http.Request) (tokenauth.Principal, error) { read(r); return alice(), nil },
	})
	next := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		read(r)
		if token, ok := tokenauth.FromContext(r.Context()); ok {
			io.WriteString(w, token.Principal.UserName)
		}
	})
	handlers := make(map[string]http.Handler)
	for path, auth := range map[string]*tokenauth.Service{"/plain": plain, "/full": full, "/known": known} {
		handlers[path+"/require"] = auth.RequireBearer(next)
		handlers[path+"/role"] = auth.RequireRole("Staff")(next)
		handlers[path+"/client"] = auth.RequireClient("api")(next)
		handlers[path+"/optional"] = auth.Optional(next)
		handlers[path+"/nested"] = auth.RequireBearer(auth.RequireRole("Staff")(auth.Optional(next)))
		handlers[path+"/token"] = auth.TokenHandler()
	}
	endpoints, mounted, err := full.Handlers("", tokenauth.Endpoints{Revocation: "/revoke", Introspection: "/introspect", Issuer: "https://api.example.com"})
	if err != nil {
		t.Fatal(err)
	}
	for path, handler := range endpoints {
		handlers[path] = handler
	}
	description, err := openapi.New(full, mounted, nil)
	if err != nil {
		t.Fatal(err)
	}
	handlers["/openapi.json"], handlers["/docs/"] = description, description.Page()
	handlers["/refusal"] = &tokenauth.ErrorResponse{Status: 401}

	const gone = `{"error":"invalid_request","error_description":"The body is empty, or other code of the server has read it before."}`
	for name, handler := range handlers {
		for _, method := range []string{"GET", "POST", "PUT"} {
			for _, path := range []string{"/", name} {
				requests := incompletes(method, path)
				answer := func(r *http.Request) (code int, body string) {
					defer func() {
						if p := recover(); p != nil {
							code, body = 0, "panicked"
						}
					}()
					w := httptest.NewRecorder()
					handler.ServeHTTP(w, r)
					return w.Code, w.Body.String()
				}
				code, body := answer(requests["complete"])
				if code == 500 || code == 0 {
					t.Fatalf("%s %s with a complete request: answered %d %s", method, name, code, body)
				}
				for kind, r := range requests {
					if kind == "complete" {
						continue
					}
					code, body := code, body
					if announced := kind == "half a body" || kind == "unknown length"; announced && code == http.StatusBadRequest {
						body = gone
					}
					if c, b := answer(r); c != code || b != body {
						t.Errorf("%s %s, %s: answered %d %s, want %d %s", method, name, kind, c, b, code, body)
					}
				}
			}
		}
	}
}

func TestFromContextWithoutATokenReturnsFalse(t *testing.T) {
	t.Parallel()
	var none context.Context
	for name, ctx := range map[string]context.Context{"nil": none, "empty": context.Background(), "of a request": new(http.Request).Context()} {
		if token, ok := tokenauth.FromContext(ctx); ok || token.Principal.UserID != "" {
			t.Errorf("%s: FromContext returned %+v, want none", name, token)
		}
	}
	new(tokenauth.ErrorResponse).SetHeaders(nil)
}

// A guard accepts a request that has a token and nothing else.
func TestIncompleteRequestWithATokenIsAccepted(t *testing.T) {
	t.Parallel()
	auth := tokenauthtest.New(t, nil)
	w := httptest.NewRecorder()
	auth.RequireBearer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if token, ok := tokenauth.FromContext(r.Context()); !ok || token.Principal.UserID != "17" || r.URL == nil {
			t.Errorf("the handler got the token %+v in %+v", token, r)
		}
		w.WriteHeader(http.StatusAccepted)
	})).ServeHTTP(w, auth.As(alice(), new(http.Request)))
	if w.Code != http.StatusAccepted {
		t.Errorf("answered %d %s, want 202", w.Code, w.Body)
	}
}
