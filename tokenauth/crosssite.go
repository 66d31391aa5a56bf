package tokenauth

import (
	"net/http"
	"net/url"
	"strings"
)

// crossSite reports whether a browser marked the request as coming from another
// site. It uses Sec-Fetch-Site (https://www.w3.org/TR/fetch-metadata/). Without
// that header, it compares Origin (RFC 6454 §7) with the request's host.
// Clients other than browsers usually send neither header.
func crossSite(r *http.Request) bool {
	if sites := r.Header["Sec-Fetch-Site"]; len(sites) > 0 {
		return len(sites) > 1 || sites[0] != "same-origin" && sites[0] != "none"
	}
	origins := r.Header["Origin"]
	if len(origins) == 0 {
		return false
	}
	origin, err := url.Parse(origins[0])
	switch {
	case err != nil, len(origins) > 1, origin.Host == "":
		return true
	case r.TLS != nil && origin.Scheme != "https":
		return true // a page that an attacker on the network can write
	}
	return !strings.EqualFold(withoutPort(origin.Host, origin.Scheme), withoutPort(r.Host, origin.Scheme))
}

// withoutPort removes the port from the host if it is the default port of the
// scheme. Browsers omit that port in Origin.
func withoutPort(host, scheme string) string {
	switch scheme {
	case "http":
		return strings.TrimSuffix(host, ":80")
	case "https":
		return strings.TrimSuffix(host, ":443")
	}
	return host
}
