package tokenauth

import (
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"
)

// tokenPaths are the default paths of the token endpoint. Katana compares paths
// without case, and old clients rely on that.
var tokenPaths = []string{"/Token", "/token"}

// Endpoints say which endpoints a host mounts, and where. Paths begin with a
// slash. The zero value is the token endpoint at "/Token" and "/token".
type Endpoints struct {
	// Token are the paths of the token endpoint (RFC 6749 §3.2); empty means
	// "/Token", and "/token" beside it, since the original compares paths without
	// case. Descriptions name the first.
	Token []string
	// Revocation is the path of the revocation endpoint (RFC 7009); "" for none.
	Revocation string
	// Introspection is the path of the introspection endpoint (RFC 7662); "" for
	// none. It needs Options.Clients, and answers confidential clients that may
	// introspect.
	Introspection string
	// Issuer is the URL by which clients know this server: https, or http on a
	// loopback address, without query and fragment. With an issuer, metadata (RFC
	// 8414) is served at MetadataPath; empty means no metadata.
	//
	// The URLs of the endpoints begin with the issuer. A proxy takes off the part of
	// its path that the paths of the endpoints do not begin with: "/auth" for an
	// endpoint "/Token", nothing for "/auth/Token". Of "/v1/auth" it takes off "/v1"
	// for "/auth/Token". It is an error if this part differs between endpoints. A
	// path with a parameter, as of a Gin group "/:tenant", is an error, too.
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
		e.Token = slices.Clone(tokenPaths)
	}
	for _, path := range e.paths() {
		if path[0] != '/' {
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

// base returns what stands before the full paths of the endpoints in their URLs: the
// issuer without the end of its path that they begin with. A proxy takes off what is
// left of it.
func (e Endpoints) base() (string, error) {
	issuer, err := url.Parse(e.Issuer)
	if err != nil {
		return "", err
	}
	prefix := issuer.EscapedPath()
	if parameter(issuer.Path) != "" || strings.Contains(prefix+"/", "//") {
		return "", fmt.Errorf("tokenauth: Endpoints.Issuer is %q, must have a path without parameters and empty segments", e.Issuer)
	}
	first := e.Token[0]
	taken := strings.TrimSuffix(prefix, overlap(prefix, first))
	for _, path := range e.paths() {
		if name := parameter(path); name != "" {
			return "", fmt.Errorf("tokenauth: Endpoints.Issuer needs paths without parameters, to tell clients where the endpoints are; %q has %s", path, name)
		}
		if other := strings.TrimSuffix(prefix, overlap(prefix, path)); other != taken {
			return "", fmt.Errorf("tokenauth: Endpoints.Issuer is %q, so a proxy takes %q off in front of %q, but %q in front of %q; it must be the same for all", e.Issuer, taken, first, other, path)
		}
	}
	return strings.TrimSuffix(e.Issuer, overlap(prefix, first)), nil
}

// paths returns all that are not empty.
func (e Endpoints) paths() []string {
	return slices.DeleteFunc(slices.Concat(e.Token, []string{e.Revocation, e.Introspection}), func(path string) bool { return path == "" })
}

// overlap returns the longest end of a prefix that the path is below, such as "/auth"
// of "/v1/auth" for "/auth/Token", or "".
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

// parameter returns the first segment of a path that is a parameter of a router:
// ":name" and "*name" as Gin and Echo spell them, or "{name}" as net/http does. It
// returns "" if there is none.
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

// withPrefix returns the endpoints with a prefix before each path. The issuer
// stays.
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
