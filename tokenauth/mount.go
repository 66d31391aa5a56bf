package tokenauth

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
)

// Handlers returns the handler for each path, for adapters to other frameworks.
// It also returns the endpoints with their defaults filled in. The prefix is
// the path at which the adapter's router is mounted, or "".
//
// Without an argument of type [Endpoints], the map has only the token endpoint.
// Register each handler for all methods, because it refuses the wrong methods
// itself. The error names the invalid field, or reports that more than one
// Endpoints was given, or that the token endpoint needs an [Authenticator].
func (s *Service) Handlers(prefix string, endpoints ...Endpoints) (map[string]http.Handler, Endpoints, error) {
	s.mustNotBeNil()
	var e Endpoints
	if len(endpoints) > 1 {
		return nil, e, errors.New("tokenauth: more than one Endpoints was given: set all paths in a single one")
	}
	if len(endpoints) == 1 {
		e = endpoints[0]
	}
	e, err := e.withDefaults(&s.options, s.authenticator != nil)
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
			err = fmt.Errorf("tokenauth: Endpoints has the path %q twice: each endpoint needs a path of its own", path)
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

// Mount mounts the endpoints on a router that registers handlers as
// [http.ServeMux] does. Without an argument of type [Endpoints], it mounts the
// token endpoint only. It returns the endpoints with their defaults filled in,
// for code that describes them.
//
// Mount panics if [Service.Handlers] returns an error, or if a path already has
// a handler.
//
// On a ServeMux, or a type that embeds one, the host may also register patterns
// with a method. If such a pattern matches an endpoint's path, as "GET /" does,
// register it before you call Mount. Mount then registers its paths once for
// each method that has a constant in net/http. A request with another method,
// such as PROPFIND, gets a 405 from the mux.
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

// A serveMux is an [http.ServeMux] or embeds one. Its patterns may name a
// method.
type serveMux interface {
	Handle(string, http.Handler)
	Handler(*http.Request) (handler http.Handler, pattern string)
}

// methods are the HTTP methods that have a constant in net/http.
var methods = []string{
	http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch,
	http.MethodDelete, http.MethodConnect, http.MethodOptions, http.MethodTrace,
}

// mountOnServeMux registers the path without a method if it can. The mux
// refuses such a pattern if it already has a pattern such as "GET /", because
// neither is more specific: the new pattern has the longer path, and "GET /"
// has a method. In that case, mountOnServeMux registers the path once for each
// method.
func mountOnServeMux(mux serveMux, path string, handler http.Handler) {
	has := func(method, pattern string) bool {
		_, found := mux.Handler(&http.Request{Method: method, URL: &url.URL{Path: path}})
		return found == pattern
	}
	// Check this first, because the mux would accept patterns with a method
	// beside an existing pattern without one.
	if has("ANY", path) {
		panic(fmt.Errorf("tokenauth: the mux already has a handler for %q: call Mount once, for all endpoints", path))
	}
	if handled(mux, path, handler) {
		return
	}
	mounted, gets := false, has(http.MethodGet, http.MethodGet+" "+path)
	for _, method := range methods {
		if has(method, method+" "+path) || method == http.MethodHead && gets {
			continue // keep the host's handler; a GET handler also serves HEAD
		}
		mux.Handle(method+" "+path, handler)
		mounted = true
	}
	if !mounted {
		panic(fmt.Errorf("tokenauth: the mux already has handlers for %q: call Mount once, for all endpoints", path))
	}
}

// handled registers the handler, and reports whether the mux accepted the
// pattern.
func handled(mux serveMux, pattern string, handler http.Handler) (ok bool) {
	defer func() { ok = recover() == nil }()
	mux.Handle(pattern, handler)
	return true
}
