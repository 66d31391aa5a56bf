package tokenauth

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
)

// Handlers returns the handler of each path, for adapters to other frameworks,
// and the endpoints with their defaults filled in. Prefix is where the adapter's
// router is mounted, or "". Without Endpoints there is the token endpoint. Each
// handler answers every method. The error names the field that is wrong, or says
// that there are several Endpoints.
func (s *Service) Handlers(prefix string, endpoints ...Endpoints) (map[string]http.Handler, Endpoints, error) {
	s.mustNotBeNil()
	var e Endpoints
	if len(endpoints) > 1 {
		return nil, e, errors.New("tokenauth: there are several Endpoints: mount all in one")
	}
	if len(endpoints) == 1 {
		e = endpoints[0]
	}
	e, err := e.withDefaults(&s.options)
	if err != nil {
		return nil, e, err
	}
	mounted, base := e.withPrefix(prefix), ""
	if e.Issuer != "" {
		if base, err = mounted.base(); err != nil {
			return nil, e, err
		}
	}
	handlers := make(map[string]http.Handler)
	add := func(path string, handler func() http.Handler) {
		if _, taken := handlers[path]; taken && err == nil {
			err = fmt.Errorf("tokenauth: Endpoints has %q twice", path)
		}
		if path != "" {
			handlers[path] = handler()
		}
	}
	for _, path := range e.Token {
		add(path, s.TokenHandler)
	}
	add(e.Revocation, s.revocationHandler)
	add(e.Introspection, s.introspectionHandler)
	add(e.MetadataPath(), func() http.Handler { return s.metadataHandler(mounted, base) })
	if err != nil {
		return nil, e, err
	}
	return handlers, mounted, nil
}

// Mount mounts the endpoints on anything that registers handlers as http.ServeMux
// does, and returns them with their defaults filled in, for what describes them.
// Without Endpoints it mounts the token endpoint. It panics, as the mux does at a
// bad pattern, with the error of Handlers, and if a path is taken.
//
// On a ServeMux, and on what embeds one, patterns with a method may stand beside
// the endpoints. Register those that match the paths of endpoints, such as "GET /",
// before Mount. Then each path is registered for each method that net/http names,
// and another one, such as PROPFIND, gets the 405 of the mux.
func (s *Service) Mount(mux interface{ Handle(string, http.Handler) }, endpoints ...Endpoints) Endpoints {
	handlers, mounted, err := s.Handlers("", endpoints...)
	if err != nil {
		panic(err)
	}
	for path, handler := range handlers {
		if onServeMux, ok := mux.(serveMux); ok {
			mountOnServeMux(onServeMux, path, handler)
		} else {
			mux.Handle(path, handler)
		}
	}
	return mounted
}

// A serveMux is an http.ServeMux or embeds one: its patterns may name a method.
type serveMux interface {
	Handle(string, http.Handler)
	Handler(*http.Request) (handler http.Handler, pattern string)
}

// methods are those that net/http names.
var methods = []string{
	http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch,
	http.MethodDelete, http.MethodConnect, http.MethodOptions, http.MethodTrace,
}

// mountOnServeMux registers the handler for all methods at once if it can. That
// conflicts with "GET /": the one has the narrower path, and the other the narrower
// method. With a method it does not.
func mountOnServeMux(mux serveMux, path string, handler http.Handler) {
	has := func(method, pattern string) bool {
		_, found := mux.Handler(&http.Request{Method: method, URL: &url.URL{Path: path}})
		return found == pattern
	}
	// The mux would accept patterns with a method beside this one.
	if has("ANY", path) {
		panic(fmt.Errorf("tokenauth: the mux has a handler for %q already: one call of Mount mounts all endpoints", path))
	}
	if handled(mux, path, handler) {
		return
	}
	mounted, gets := false, has(http.MethodGet, http.MethodGet+" "+path)
	for _, method := range methods {
		if has(method, method+" "+path) || method == http.MethodHead && gets {
			continue // one of the host's stays; that of GET is of HEAD, too
		}
		mux.Handle(method+" "+path, handler)
		mounted = true
	}
	if !mounted {
		panic(fmt.Errorf("tokenauth: the mux has handlers for %q already: one call of Mount mounts all endpoints", path))
	}
}

// handled reports whether the mux took the pattern.
func handled(mux serveMux, pattern string, handler http.Handler) (ok bool) {
	defer func() { ok = recover() == nil }()
	mux.Handle(pattern, handler)
	return true
}
