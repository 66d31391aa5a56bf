package tokenauth

import (
	"errors"
	"fmt"
	"net/http"
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
// bad pattern, with the error of Handlers.
func (s *Service) Mount(mux interface{ Handle(string, http.Handler) }, endpoints ...Endpoints) Endpoints {
	handlers, mounted, err := s.Handlers("", endpoints...)
	if err != nil {
		panic(err)
	}
	for path, handler := range handlers {
		mux.Handle(path, handler)
	}
	return mounted
}
