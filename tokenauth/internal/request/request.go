// Package request adds missing parts to requests that did not come from an
// [http.Server].
package request

import (
	"net/http"
	"net/url"
)

// Complete returns a request that has a method, a URL, a header and a body, as
// each request of an [http.Server] has. Requests in tests, or from adapters to
// other protocols, may lack some of them. If r lacks nothing, Complete returns
// r itself, and otherwise a copy. A nil request counts as an empty one.
func Complete(r *http.Request) *http.Request {
	if r == nil {
		r = new(http.Request)
	}
	if r.Method != "" && r.URL != nil && r.Header != nil && r.Body != nil {
		return r
	}
	r = r.WithContext(r.Context())
	if r.Method == "" {
		r.Method = http.MethodGet
	}
	if r.URL == nil {
		r.URL = &url.URL{Path: "/"}
	}
	if r.Header == nil {
		r.Header = make(http.Header)
	}
	if r.Body == nil {
		r.Body = http.NoBody
	}
	return r
}
