package tokenauth

import (
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
)

// Endpoints say which endpoints a host mounts, and where. Paths begin with a
// slash. The zero value is the token endpoint at TokenPaths.
type Endpoints struct {
	// Token is where the token endpoint is (RFC 6749 §3.2); TokenPaths if
	// empty. Where there are several, descriptions name the first.
	Token []string
	// Revocation is where clients give a token back (RFC 7009); "" for
	// nowhere.
	Revocation string
	// Introspection is where clients that may ask what a token stands for (RFC
	// 7662); "" for nowhere. It needs Options.Clients.
	Introspection string
	// Issuer is the URL by which clients know this server, and with which
	// those of the endpoints begin: https, or http on a loopback address,
	// without query and fragment. With it metadata (RFC 8414) is served at
	// MetadataPath. Empty means none.
	Issuer string
}

// The well-known URI of RFC 8414 §3.
const metadataPath = "/.well-known/oauth-authorization-server"

// MetadataPath returns where metadata is served: at
// /.well-known/oauth-authorization-server, with the path of the issuer behind
// it (RFC 8414 §3.1), or "" without an issuer.
func (e Endpoints) MetadataPath() string {
	issuer, err := url.Parse(e.Issuer)
	if e.Issuer == "" || err != nil {
		return ""
	}
	return metadataPath + strings.TrimSuffix(issuer.EscapedPath(), "/")
}

// withDefaults returns a copy with the zeros filled in, or an error that names
// the field that is wrong.
func (e Endpoints) withDefaults(o *Options) (Endpoints, error) {
	e.Token = slices.Clone(e.Token)
	if len(e.Token) == 0 {
		e.Token = TokenPaths()
	}
	for _, path := range slices.Concat(e.Token, []string{e.Revocation, e.Introspection}) {
		if path != "" && path[0] != '/' {
			return e, fmt.Errorf("tokenauth: Endpoints has the path %q, which does not begin with a slash", path)
		}
	}
	if slices.Contains(e.Token, "") {
		return e, fmt.Errorf("tokenauth: Endpoints.Token has an empty path")
	}
	if e.Introspection != "" && o.Clients == nil {
		return e, fmt.Errorf("tokenauth: Endpoints.Introspection needs Options.Clients: only a client that proves who it is may introspect")
	}
	if e.Introspection != "" {
		if err := o.checkIntrospection(); err != nil {
			return e, err
		}
	}
	if e.Issuer != "" {
		if u, err := url.Parse(e.Issuer); err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.ForceQuery || strings.Contains(e.Issuer, "#") ||
			u.Scheme != "https" && (u.Scheme != "http" || !isLoopback(u.Hostname())) {
			return e, fmt.Errorf("tokenauth: Endpoints.Issuer is %q, must be an https URL without query and fragment, or http on a loopback address", e.Issuer)
		}
		e.Issuer = strings.TrimSuffix(e.Issuer, "/")
	}
	return e, nil
}

// originOf returns the scheme and host of a URL that was checked.
func originOf(issuer string) string {
	u, err := url.Parse(issuer)
	if err != nil {
		return ""
	}
	return u.Scheme + "://" + u.Host
}

func isLoopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.IsLoopback()
}

// Under returns the endpoints as they are under a prefix, for adapters whose
// routers have one. The issuer stays.
func (e Endpoints) Under(prefix string) Endpoints {
	prefix = strings.TrimSuffix(prefix, "/")
	e.Token = slices.Clone(e.Token)
	for i := range e.Token {
		e.Token[i] = prefix + e.Token[i]
	}
	for _, path := range []*string{&e.Revocation, &e.Introspection} {
		if *path != "" {
			*path = prefix + *path
		}
	}
	return e
}

// Handlers returns the handler of each path, for adapters, and the endpoints
// with their defaults filled in. Prefix is where the adapter's router is
// mounted, or "". Each handler answers every method. The error names the field
// of e that is wrong.
func (s *Service) Handlers(e Endpoints, prefix string) (map[string]http.Handler, Endpoints, error) {
	s.mustNotBeNil()
	e, err := e.withDefaults(&s.options)
	if err != nil {
		return nil, e, err
	}
	mounted := e.Under(prefix)
	handlers := make(map[string]http.Handler)
	type endpoint struct {
		path    string
		handler func() http.Handler
	}
	endpoints := []endpoint{
		{e.Revocation, s.RevocationHandler},
		{e.Introspection, s.IntrospectionHandler},
		{e.MetadataPath(), func() http.Handler { return s.MetadataHandler(mounted) }},
	}
	for _, path := range e.Token {
		endpoints = append(endpoints, endpoint{path, s.TokenHandler})
	}
	for _, endpoint := range endpoints {
		if endpoint.path == "" {
			continue
		}
		if _, taken := handlers[endpoint.path]; taken {
			return nil, e, fmt.Errorf("tokenauth: Endpoints has %q twice", endpoint.path)
		}
		handlers[endpoint.path] = endpoint.handler()
	}
	return handlers, mounted, nil
}

// Mount mounts TokenHandler at the paths, or at TokenPaths if there are none,
// on anything that registers handlers as http.ServeMux does.
func (s *Service) Mount(mux interface{ Handle(string, http.Handler) }, paths ...string) {
	s.MountEndpoints(mux, Endpoints{Token: paths})
}

// MountEndpoints mounts the endpoints that the host asks for, and returns them
// with their defaults filled in, for what describes them. It panics, as the mux
// does at a bad pattern, if a field of e is wrong.
func (s *Service) MountEndpoints(mux interface{ Handle(string, http.Handler) }, e Endpoints) Endpoints {
	handlers, mounted, err := s.Handlers(e, "")
	if err != nil {
		panic(err)
	}
	for path, handler := range handlers {
		mux.Handle(path, handler)
	}
	return mounted
}
