package tokenauth

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"
)

// tokenPaths are the default paths of the token endpoint. Old clients use
// either path, because they were written for ASP.NET Katana, which ignores the
// case of paths.
var tokenPaths = []string{"/Token", "/token"}

// Endpoints lists the endpoints that [Service.Mount] mounts, and their paths. A
// path begins with a slash. The zero value is the token endpoint at "/Token"
// and "/token", and no other endpoint.
type Endpoints struct {
	// Token lists the paths of the token endpoint (RFC 6749 §3.2); empty means
	// "/Token" and "/token". Generated documentation and metadata name the
	// first path. If the [Service] has no [Authenticator], Token must be empty,
	// and there is no token endpoint.
	Token []string
	// Revocation is the path of the revocation endpoint (RFC 7009); "" means no
	// such endpoint. It also revokes refresh tokens, and so their sign-ins.
	Revocation string
	// Introspection is the path of the introspection endpoint (RFC 7662); ""
	// means no such endpoint. It needs [Options.Clients]. It serves clients
	// that have a secret and may introspect ([Client.IntrospectsOwn],
	// [Client.IntrospectsAll]). A refresh token is active only with
	// token_type_hint=refresh_token.
	Introspection string
	// Issuer is the URL by which clients know this server; "" means no
	// metadata. With an Issuer, the server publishes its metadata (RFC 8414) at
	// [Endpoints.MetadataPath], which needs the token endpoint. The URL is
	// https, or http on a loopback address, and has no query or fragment.
	//
	// In the metadata, the URL of an endpoint is the Issuer followed by the
	// path of the endpoint. If that path begins with the end of the Issuer's
	// path, the URL has the common part only once. The host's proxy must remove
	// the rest of the Issuer's path from each request. Examples for an Issuer
	// at https://example.com:
	//
	//   - Issuer path "/auth" and endpoint "/Token": the URL path is
	//     "/auth/Token". The proxy removes "/auth".
	//   - Issuer path "/auth" and endpoint "/auth/Token": the URL path is
	//     "/auth/Token". The proxy removes nothing.
	//   - Issuer path "/v1/auth" and endpoint "/auth/Token": the URL path is
	//     "/v1/auth/Token". The proxy removes "/v1".
	//
	// It is an error if the removed part differs between endpoints, or if a
	// path has a parameter, as in a Gin group "/:tenant".
	Issuer string
}

// metadataPath is the well-known URI of RFC 8414 §3.
const metadataPath = "/.well-known/oauth-authorization-server"

// MetadataPath returns the path of the metadata:
// /.well-known/oauth-authorization-server, followed by the path of the
// [Endpoints.Issuer] (RFC 8414 §3.1). It returns "" without an Issuer.
func (e Endpoints) MetadataPath() string {
	issuer, err := url.Parse(e.Issuer)
	if e.Issuer == "" || err != nil {
		return ""
	}
	return metadataPath + strings.TrimSuffix(issuer.EscapedPath(), "/")
}

// withDefaults returns a copy with defaults in place of empty fields. If a
// field is invalid, it returns an error that names the field. The parameter
// signsIn says whether the [Service] has an [Authenticator].
func (e Endpoints) withDefaults(o *Options, signsIn bool) (Endpoints, error) {
	e.Token = slices.Clone(e.Token)
	switch {
	case !signsIn && (len(e.Token) > 0 || e.Issuer != "" || len(e.paths()) == 0):
		return e, errors.New("tokenauth: the token endpoint and its metadata need an Authenticator, and tokenauth.New got none: mount only Endpoints.Revocation or Endpoints.Introspection")
	case signsIn && len(e.Token) == 0:
		e.Token = slices.Clone(tokenPaths)
	}
	for _, path := range e.paths() {
		if path[0] != '/' {
			return e, fmt.Errorf("tokenauth: Endpoints has the path %q, which must begin with a slash", path)
		}
	}
	if slices.Contains(e.Token, "") {
		return e, fmt.Errorf("tokenauth: Endpoints.Token has an empty path; remove it from the list")
	}
	if e.Introspection != "" && o.Clients == nil {
		return e, fmt.Errorf("tokenauth: Endpoints.Introspection needs Options.Clients: only a client with a secret may introspect")
	}
	if e.Introspection != "" {
		if err := o.checkIntrospection(); err != nil {
			return e, err
		}
	}
	if e.Issuer != "" {
		if u, err := url.Parse(e.Issuer); err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.ForceQuery || strings.Contains(e.Issuer, "#") ||
			u.Scheme != "https" && (u.Scheme != "http" || !isLoopback(u.Hostname())) {
			return e, fmt.Errorf("tokenauth: Endpoints.Issuer is %q, must be an https URL without a query or fragment, or http on a loopback address", e.Issuer)
		}
		e.Issuer = strings.TrimSuffix(e.Issuer, "/")
	}
	return e, nil
}

// base returns the common prefix of the endpoints' URLs. The prefix is the
// issuer. But if the endpoints' paths begin with the last segments of the
// issuer, the prefix omits these segments. See [Endpoints.Issuer].
func (e Endpoints) base() (string, error) {
	issuer, err := url.Parse(e.Issuer)
	if err != nil {
		return "", err
	}
	prefix := issuer.EscapedPath()
	if parameter(issuer.Path) != "" || strings.Contains(prefix+"/", "//") {
		return "", fmt.Errorf("tokenauth: Endpoints.Issuer is %q, must have a path without parameters or empty segments", e.Issuer)
	}
	first := e.Token[0]
	shared := overlap(prefix, first)
	for _, path := range e.paths() {
		if name := parameter(path); name != "" {
			return "", fmt.Errorf("tokenauth: the path %q has the parameter %s, but if Endpoints.Issuer is set, no path may have one, because the metadata lists complete URLs", path, name)
		}
		if overlap(prefix, path) != shared {
			return "", fmt.Errorf("tokenauth: Endpoints.Issuer is %q, but the endpoints %q and %q do not begin with the same part of its path; give them the same prefix", e.Issuer, first, path)
		}
	}
	return strings.TrimSuffix(e.Issuer, shared), nil
}

// paths returns all non-empty paths.
func (e Endpoints) paths() []string {
	return slices.DeleteFunc(slices.Concat(e.Token, []string{e.Revocation, e.Introspection}), func(path string) bool { return path == "" })
}

// overlap returns the longest suffix of prefix with which path begins, or "".
// It compares whole segments. For "/v1/auth" and "/auth/Token", it returns
// "/auth".
func overlap(prefix, path string) string {
	for end := prefix; end != ""; {
		if strings.HasPrefix(path, end+"/") {
			return end
		}
		next := strings.IndexByte(end[1:], '/')
		if next < 0 {
			break
		}
		end = end[1+next:]
	}
	return ""
}

// parameter returns the first segment of a path that a router would treat as a
// parameter, or "". Gin and Echo use ":name" and "*name", and
// [net/http.ServeMux] uses "{name}".
func parameter(path string) string {
	for segment := range strings.SplitSeq(path, "/") {
		if segment != "" && (segment[0] == ':' || segment[0] == '*' || strings.ContainsRune(segment, '{')) {
			return segment
		}
	}
	return ""
}

func isLoopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.IsLoopback()
}

// withPrefix returns a copy in which each path begins with the prefix. The
// issuer is unchanged.
func (e Endpoints) withPrefix(prefix string) Endpoints {
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
